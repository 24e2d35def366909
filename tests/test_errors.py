"""Messages for people: commands that can be copied, and names that are known."""

from __future__ import annotations

import sys

import pytest

from steadygan.errors import command_line, nearest


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/steadygan", "train"])


def test_a_command_is_quoted_for_the_shell() -> None:
    assert command_line("train", "my run", "data.path=cats #2") == "steadygan train 'my run' 'data.path=cats #2'"


def test_a_command_is_written_as_the_program_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/lib/steadygan/__main__.py"])
    monkeypatch.setattr(sys, "executable", "/opt/some where/python")
    assert command_line("doctor") == "'/opt/some where/python' -m steadygan doctor"

    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert command_line("doctor") == "uv run steadygan doctor"


def test_of_many_known_names_a_message_gives_some() -> None:
    many = [f"name{number:03}" for number in range(140)]
    assert nearest("qqqqqq", many).endswith(", … (140 in all)")
    assert len(nearest("qqqqqq", many)) < 300
    assert nearest("name007x", many) == "did you mean 'name007'?"
    assert nearest("q", ["b", "a"]) == "known: a, b"
