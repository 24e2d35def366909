"""The Hub, played by a small server on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting.hub_server import Hub
from exporting.made import checkpoint
from helpers import Run

import steadygan as package
from steadygan.errors import UserError
from steadygan.exporting import hub
from steadygan.runs.shared import CARD, CONFIG, MODEL, NAMES, SHEET

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client, of its own calls


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with one user, whom the token `good` belongs to; the client keeps nothing outside the test's folder."""
    from huggingface_hub import constants

    with Hub() as hub_:
        monkeypatch.setattr(constants, "ENDPOINT", hub_.address)
        monkeypatch.setattr("huggingface_hub.hf_api.ENDPOINT", hub_.address, raising=False)
        for name in ("HF_HUB_CACHE", "HF_HOME", "HF_TOKEN_PATH", "HF_XET_CACHE"):
            monkeypatch.setattr(constants, name, str(tmp_path / "hub" / name), raising=False)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub_.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setenv("HF_TOKEN", "good")
        monkeypatch.setattr(hub, "FIRST_WAIT", 0.0)
        yield hub_


def test_a_generator_goes_up_and_comes_down_the_same(server: Hub, tmp_path: Path, steadygan: Run) -> None:
    path = checkpoint("dcgan", tmp_path)
    result = steadygan("export", path, "--to", "hub:me/digits")
    assert result.status == 0, result.err
    assert server.repositories["me/digits"]["private"] is True
    assert set(server.files("me/digits")) - {".gitattributes"} == {MODEL, CONFIG, CARD, SHEET}
    before, after = (package.load(place, device="cpu").sample(4) for place in (path, "hub:me/digits"))
    assert torch.equal(before, after)
    result = steadygan("sample", "hub:me/digits", "--num", "4")
    assert result.status == 0, result.err
    assert (tmp_path / "digits-samples.png").is_file()


def test_nothing_of_the_run_or_its_images_goes_up(server: Hub, trained: Path) -> None:
    package.export(trained, "hub:me/digits")
    assert set(server.files("me/digits")) <= {*NAMES, ".gitattributes"}
    assert str(trained) not in server.files("me/digits")[CARD].decode()


def test_public_only_on_demand(server: Hub, tmp_path: Path) -> None:
    package.export(checkpoint("dcgan", tmp_path), "hub:me/open", public=True)
    assert server.repositories["me/open"]["private"] is False


def test_a_server_that_fails_for_a_moment_is_asked_again(server: Hub, tmp_path: Path) -> None:
    server.failures = [("POST", "/api/repos/create", 503), ("POST", "/commit/", 429)]
    package.export(checkpoint("dcgan", tmp_path), "hub:me/digits")
    assert server.failures == []
    assert MODEL in server.files("me/digits")


def test_without_a_token_nothing_is_sent(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="hf auth login"):
        package.export(checkpoint("dcgan", tmp_path), "hub:me/digits")
    assert server.asked == []


@pytest.mark.parametrize(("status", "complaint"), [(401, "does not accept the token"), (403, "may not write there")])
def test_a_refusal_is_said_in_words_and_not_repeated(server: Hub, tmp_path: Path, status: int, complaint: str) -> None:
    server.failures = [("POST", "/api/repos/create", status)] * 2
    with pytest.raises(UserError, match=complaint):
        package.export(checkpoint("dcgan", tmp_path), "hub:me/digits")
    assert len(server.failures) == 1


def test_what_is_not_there_or_not_ours_is_said(server: Hub, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hub:me/none cannot be fetched"):
        package.load("hub:me/none")
    server.put("me/other", {"config.json": json.dumps({"architectures": ["Bert"]}).encode(), "run.py": b"bad"})
    with pytest.raises(UserError, match="not a generator that steadygan exported"):
        package.load("hub:me/other")
    assert "run.py" not in [path.name for path in tmp_path.rglob("*")]


@pytest.mark.parametrize("name", ["hub:", "hub:me", "hub:me/a/b", "hub:../../etc", "hub:me/a b"])
def test_an_impossible_name_is_refused_before_anything_is_asked(server: Hub, name: str, tmp_path: Path) -> None:
    path = checkpoint("dcgan", tmp_path)
    for call in (lambda: package.load(name), lambda: package.export(path, name)):
        with pytest.raises(UserError, match="give hub:USER/NAME"):
            call()
    assert server.asked == []


def test_without_huggingface_hub_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint("dcgan", tmp_path)
    monkeypatch.setattr("steadygan.errors.find_spec", lambda name: None)
    calls: list[Any] = [lambda: package.load("hub:me/a"), lambda: package.export(path, "hub:me/a")]
    for call in calls:
        with pytest.raises(UserError, match=r"pip install huggingface_hub. .*extra 'hf'"):
            call()
