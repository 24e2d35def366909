"""`steadygan studio`: its address and its messages."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from helpers import Run

uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The address it would have listened on; nothing is served."""
    addresses: list[tuple[str, int]] = []

    def run(server: Any, sockets: list[socket.socket]) -> None:
        addresses.extend(each.getsockname()[:2] for each in sockets)
        for each in sockets:
            each.close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    return addresses


def test_it_listens_on_this_machine_alone_and_prints_its_link(
    steadygan: Run, tmp_path: Path, served: list[tuple[str, int]]
) -> None:
    result = steadygan("studio", tmp_path, "--port", "0")
    assert result.status == 0
    ((host, port),) = served
    assert host == "127.0.0.1"
    assert f"http://127.0.0.1:{port}/\n" in result.out
    assert "token" not in result.out
    assert "read-only" in result.out


def test_elsewhere_its_link_has_a_token(steadygan: Run, tmp_path: Path, served: list[tuple[str, int]]) -> None:
    result = steadygan("studio", tmp_path, "--port", "0", "--host", "0.0.0.0", "--control")
    ((host, port),) = served
    assert host == "0.0.0.0"
    link = result.out.split()[1]
    assert link.startswith(f"http://0.0.0.0:{port}/?token=")
    assert len(link.split("=")[1]) >= 32
    assert "read-only" not in result.out


def test_what_cannot_be_shown_or_listened_on_is_said(steadygan: Run, tmp_path: Path) -> None:
    assert "absent is not a directory" in steadygan("studio", tmp_path / "absent").err
    assert "--data" in steadygan("studio", tmp_path, "--data", tmp_path / "absent").err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = steadygan("studio", tmp_path, "--port", taken.getsockname()[1])
    assert result.status == 2
    assert "choose another with --port" in result.err
