"""Every command that runs a network has `--device`."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from helpers import Run, tiny_run

from steadygan.cli import app
from steadygan.generators.generator import Generator

GOLDEN = Path(__file__).parents[1] / "golden" / "version-0.1.0"
RUN = str(GOLDEN / "synthesis")

WITHOUT_NETWORKS = {
    "branch",
    "compare",
    "diagnose",
    "doctor",
    "export",
    "import",
    "pause",
    "presets",
    "report",
    "resume",
    "settings",
    "stop",
}
"""They read records, configurations or this machine, or write files of weights, for which a CPU will do."""

CALLS = {
    "train": ["digits", *(setting for setting in tiny_run() if "train.device" not in setting)],
    "plan": ["digits"],
    "sample": [RUN],
    "interpolate": [RUN],
    "neighbours": [RUN],
    "curve": [RUN],
    "evaluate": [RUN],
    "translate": [str(GOLDEN / "translation"), "--input", str(GOLDEN / "pairs"), "--out", "made"],
}


def test_all_others_have_the_option() -> None:
    with_it = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback is not None and "device" in inspect.signature(command.callback).parameters
    }
    names = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    assert names - with_it == WITHOUT_NETWORKS
    assert with_it == {*CALLS, "remake", "studio", "sweep"}


@pytest.mark.parametrize("name", CALLS)
def test_the_device_is_the_one_that_was_named(steadygan: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", "cache")
    result = steadygan(name, *CALLS[name], "--device", "cuda:77")
    assert result.status == 2
    assert "device cuda:77: " in result.err


def test_an_image_is_made_again_on_the_device_that_was_named(steadygan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steadygan("sample", RUN, "--num", "1", "--out", "one.png", "--device", "cpu").status == 0
    seen: list[str] = []
    sample = Generator.sample

    def watched(self: Generator, *arguments: object, **options: object) -> object:
        seen.append(str(self.device))
        return sample(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Generator, "sample", watched)
    assert steadygan("remake", "one.png", "--runs", str(GOLDEN), "--device", "cpu").status == 0
    assert seen == ["cpu"]
    assert "device cuda:77: " in steadygan("remake", "one.png", "--runs", str(GOLDEN), "--device", "cuda:77").err
