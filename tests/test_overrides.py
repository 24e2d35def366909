"""What `key.path=value` means follows from the type of the key."""

from __future__ import annotations

from typing import Any

import pytest

from steadygan import config
from steadygan.config import Config
from steadygan.errors import UserError
from steadygan.overrides import parse


@pytest.mark.parametrize(
    "text",
    ["cats #2", "2024", "2024-05-01", "yes", "[set1]", "photos: summer", "@home", "null", "1e4", "a=b", "{x}", ""],
)
def test_the_text_of_a_string_key_is_taken_as_it_is(text: str) -> None:
    assert config.load("digits", [f"data.path={text}"]).data.path == text


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.steps=1e4", 10_000),
        ("train.steps=10_000", 10_000),
        ("optim.g.lr=2e-4", 2e-4),
        ("train.batch_size=auto", "auto"),
        ("train.batch_size=48", 48),
        ("data.flip=yes", True),
        ("data.flip=False", False),
        ("data.channels=3", 3),
        ("data.channels=null", None),
        ("eval.protocol=null", None),
        ("data.max_images=null", None),
        ("train.phases=D,D,G", ["D", "D", "G"]),
        ("train.phases=[D, G]", ["D", "G"]),
        ("augment.diffaugment.policy=color", ["color"]),
        ("augment.diffaugment.policy=color,cutout", ["color", "cutout"]),
        ("augment.diffaugment.policy=null", []),
        ("augment.diffaugment=null", {}),
        ("objective.terms=null", {}),
        ("objective.terms.bcr=null", None),
        ("objective.terms.r1.gamma=1e-4", 1e-4),
        ("model.critic.width=8", 8),
    ],
)
def test_other_values_are_read_by_their_type(override: str, value: Any) -> None:
    assert parse(Config, override)[1] == value
    config.load("digits", [override])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optim.g.lr=0,0002", r"write optim\.g\.lr=0\.0002 with a point"),
        ("train.steps=10,000", r"write train\.steps=10000"),
        ("train.steps=1.5", "must be a whole number"),
        ("train.steps=many", "must be a whole number"),
        ("train.steps=0,5", r"^train\.steps=0,5: must be a whole number$"),
        ("train.steps=-1", r"^train\.steps: must be above 0, got -1$"),
        ("data.heldout=2", r"^data\.heldout: must be below 1, got 2"),
        ("train.phases=DG", r"^train\.phases\.0: must be 'D' or 'G', got 'DG'$"),
        ("train.collapse=wait", r"^train\.collapse=wait: must be stop or rollback or continue; known: "),
        ("data.flip=maybe", "must be true or false"),
        ("train.precision=half", "must be auto or float32"),
        ("objective.terms.r1=10", r"takes keys of its own .*; write objective\.terms\.r1\.OPTION=…"),
        ("augment.diffaugment=color", r"write augment\.diffaugment\.policy=…"),
        ("train.stepz=3", r"unknown key train\.stepz; did you mean 'steps'"),
        ("data.path.x=3", r"data\.path has no keys of its own"),
        ("train.steps", "not of the form key.path=value"),
        ("model.critic={", "quote tables and lists"),
    ],
)
def test_a_mistake_is_named_with_the_right_spelling(override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        config.load("digits", [override])


@pytest.mark.parametrize("text", ["0", "-4", "2.5", "true", "many"])
def test_a_batch_is_a_number_or_auto(text: str) -> None:
    with pytest.raises(UserError, match=r"train\.batch_size.*(whole number|number above 0)"):
        config.load("digits", [f"train.batch_size={text}"])
