"""`key.path=value` is parsed by the key's type."""

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
        ("train.collapse=wait", r"^train\.collapse=wait: must be stop or rollback or continue$"),
        ("data.flip=maybe", "must be true or false"),
        ("train.precision=half", "must be auto or float32"),
        ("objective.terms.r1=10", r"takes keys of its own .*; write objective\.terms\.r1\.OPTION=…"),
        ("augment.diffaugment=color", r"write augment\.diffaugment\.policy=…"),
        ("train.stepz=3", r"unknown key train\.stepz; did you mean 'steps'"),
        ("lr=1e-4", r"unknown key lr; did you mean 'optim\.g\.lr' or 'optim\.d\.lr'\?"),
        ("batch_size=8", r"did you mean 'train\.batch_size'\?"),
        ("optim.lr=1e-4", r"did you mean 'optim\.g\.lr' or 'optim\.d\.lr'\?"),
        ("optim.g.betas=0,0.9", r"did you mean 'optim\.g\.beta1' or 'optim\.g\.beta2'\?"),
        ("TRAIN.STEPS=100", r"did you mean 'train\.steps'\?"),
        ("train-steps=100", r"did you mean 'train\.steps'\?"),
        ("trian.steps=100", r"did you mean 'train\.steps'\?"),
        ("terms.r1=on", r"did you mean 'objective\.terms\.r1'\?"),
        ("terms=[r1]", r"did you mean 'objective\.terms'\?"),
        ("diffaugment=true", r"did you mean 'augment\.diffaugment'\?"),
        ("epochs=3", r"did you mean 'train\.steps'\?"),
        ("a.b.c.d=10", r"^unknown key a; known: "),
        (".steps=10", r"^unknown key \.steps; did you mean 'train\.steps'"),
        ("train.steps = 100", r"leave out the spaces around the equals sign: train\.steps=100$"),
        ("train.steps:100", r"e\.g\. train\.steps=100$"),
        ("train.steps=1k", r"must be a whole number; write train\.steps=1000$"),
        ("train.steps=2.5M", r"write train\.steps=2500000$"),
        ("train.steps=1 000", r"write train\.steps=1000$"),
        ("train.steps=1.000", r"write train\.steps=1000, or train\.steps=1$"),
        ("train.steps=0x10", r"must be a whole number$"),
        ("train.steps=1e30", r"^train\.steps: must be below 9223372036854775808, got 1e30$"),
        ("data.max_images=1e30", r"^data\.max_images: must be below 9223372036854775808, got 1e30$"),
        ("data.max_images=all", r"must be a whole number or null$"),
        ("data.heldout=10%", r"must be a number; write data\.heldout=0\.1$"),
        ("augment.ada.p=50%", r"write augment\.ada\.p=0\.5$"),
        ("data.size=64x64", r"write data\.size=64, the side of a square$"),
        ("data.size=64x48", r"write data\.size=48, the side of a square$"),
        ("data.size=64px", r"write data\.size=64$"),
        ("train.hours=30m", r"write train\.hours=0\.5, in hours$"),
        ("train.hours=1:30", r"write train\.hours=1\.5, in hours$"),
        ("train.batch_size=Auto", r"must be a whole number or auto$"),
        ("train.threads=None", r"no value is written train\.threads=null$"),
        ("data.domains=none", r"no value is written data\.domains=null$"),
        ("eval.protocol=None", r"no value is written eval\.protocol=null \(a file of that name is \./None\)$"),
        ("train.report=none", r"an empty list is written train\.report=null$"),
        ("augment.diffaugment.policy=color+cutout", r"write augment\.diffaugment\.policy=color,cutout$"),
        ("augment.diffaugment.policy=Color", r"write augment\.diffaugment\.policy=color$"),
        ("train.phases=d d g", r"write train\.phases=D,D,G$"),
        ("augment=diffaugment", r"write augment\.diffaugment\.policy=…"),
        ("augment.ada=true", r"write augment\.ada=\{\} to switch it on .*, augment\.ada=null to switch it off$"),
        ("objective.terms.r1=on", r"objective\.terms\.r1=\{\} to switch it on .*=null to switch it off$"),
        ("objective.terms.r1=10", r"=\{\} for its defaults, objective\.terms\.r1=null to switch it off$"),
        ("objective.terms=[r1, bcr]", r"write objective\.terms\.r1=\{\} objective\.terms\.bcr=\{\}, or"),
        ("optim.g.lr={start:1, end: 0}", r"write a space after each colon, as in \{start: 1\}"),
        ("data.path.x=3", r"data\.path has no keys of its own"),
        ("train.steps", "not of the form key.path=value"),
        ("model.critic={", "quote tables and lists"),
        ("model.critic={sn_gain: 1, sn_gain: 2}", "sn_gain is given twice: keep one of them"),
    ],
)
def test_a_mistake_is_named_with_the_right_spelling(override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        config.load("digits", [override])


@pytest.mark.parametrize("text", ["0", "-4", "2.5", "true", "many"])
def test_a_batch_is_a_number_or_auto(text: str) -> None:
    with pytest.raises(UserError, match=r"train\.batch_size.*(whole number|number above 0)"):
        config.load("digits", [f"train.batch_size={text}"])


@pytest.mark.parametrize(
    "words", [["train.steps", "100"], ["train.steps", "=", "100"], ["train.steps=", "100"], ["train.steps", "=100"]]
)
def test_spaces_within_an_override_are_one_mistake(words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        config.load("digits", ["data.flip=yes", *words, "train.seed=1"])
    assert str(caught.value) == (
        f"{' '.join(words)!r}: a key and its value are one word, without spaces; write train.steps=100"
    )
