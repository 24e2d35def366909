"""Only code compiled by this user, and verified, is loaded; otherwise torch's operators run."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from steadygan.kernels import compiled
from steadygan.kernels.compiled import BuildError, building, library
from steadygan.kernels.winograd import native
from steadygan.kernels.winograd.forms import cut
from steadygan.kernels.winograd.stencils import Stencil

BLUR = Stencil(1, (((0, 0, 2.0), (-1, 0, 1.0), (1, 0, 1.0)),))
SEVEN = "int seven(void) { return 7; }"
with building():
    OBSTACLE = native.obstacle()
needs_code = pytest.mark.skipif(OBSTACLE is not None, reason=f"no compiled kernels: {OBSTACLE}")


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new process, as far as code goes, with an empty cache."""
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    restart(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "code"


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The processes started from here on."""
    seen: list[list[str]] = []
    really = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        seen.append(command)
        return really(command, **options)

    monkeypatch.setattr(compiled.subprocess, "run", run)
    return seen


def restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_loaded", {})
    monkeypatch.setattr(native, "_KNOWN", {})


def blurred_as_by_torch() -> bool:
    image, found, expected = cut(torch.randn(1, 4, 4, 16), 1), *(torch.empty(1, 4, 4, 1, 1, 16) for _ in "ab")
    native.run(BLUR, image, found)
    BLUR(image, expected)
    return torch.allclose(found, expected, atol=1e-5)


@needs_code
def test_a_warm_cache_starts_no_process(starts: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert library(SEVEN).seven() == 7
    assert len(starts) == 2
    restart(monkeypatch)
    assert library(SEVEN).seven() == 7
    assert len(starts) == 2


@needs_code
def test_nothing_is_compiled_but_where_building(starts: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    token = compiled._building.set(False)
    try:
        with pytest.raises(BuildError, match="not compiled yet"):
            library(SEVEN)
        assert blurred_as_by_torch()
        assert "not compiled yet" in str(native.obstacle())
        assert starts == []
        with building():
            assert native.obstacle() is None
        restart(monkeypatch)
        assert native.obstacle() is None
    finally:
        compiled._building.reset(token)


@needs_code
def test_building_is_of_one_thread() -> None:
    seen: list[bool] = []
    with building():
        thread = threading.Thread(target=lambda: seen.append(compiled.is_building()))
        thread.start()
        thread.join()
        assert compiled.is_building()
    assert seen == [False]


def shortened(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def changed(path: Path) -> None:
    code = bytearray(path.read_bytes())
    code[len(code) // 2] ^= 1
    path.write_bytes(code)


def writable(path: Path) -> None:
    path.chmod(0o666)


def linked(path: Path) -> None:
    real = path.rename(path.with_name("elsewhere"))
    path.symlink_to(real)


def piped(path: Path) -> None:
    """A pipe of that name: who opens one to read waits for a writer."""
    path.unlink()
    os.mkfifo(path)


@needs_code
@pytest.mark.parametrize("harm", [shortened, emptied, changed, writable, linked, piped])
def test_a_harmed_library_is_not_loaded_but_made_again(
    harm: Callable[[Path], None], folder: Path, starts: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    library(SEVEN)
    (kept,) = folder.glob("*.so")
    harm(kept)
    restart(monkeypatch)
    assert library(SEVEN).seven() == 7
    assert len(starts) == 4
    (kept,) = folder.glob("*.so")
    assert stat.S_IMODE(kept.lstat().st_mode) == 0o600


@needs_code
def test_harm_after_loading_reaches_nobody(folder: Path) -> None:
    code = library(SEVEN)
    (kept,) = folder.glob("*.so")
    emptied(kept)
    assert code.seven() == 7


@needs_code
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_that_others_can_write_is_neither_read_nor_written(
    mode: int, folder: Path, starts: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    library(SEVEN)
    before = sorted(folder.iterdir())
    folder.chmod(mode)
    restart(monkeypatch)
    assert library(SEVEN).seven() == 7
    assert len(starts) == 4
    assert sorted(folder.iterdir()) == before


@needs_code
def test_a_library_of_another_user_is_not_loaded(starts: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    library(SEVEN)
    restart(monkeypatch)
    someone = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: someone)
    assert library(SEVEN).seven() == 7
    assert len(starts) == 4


@needs_code
def test_two_libraries_are_two() -> None:
    assert (library(SEVEN).seven(), library(SEVEN.replace("7", "8")).seven()) == (7, 8)


@needs_code
@pytest.mark.parametrize("place", ["a file", "no home"])
def test_code_works_where_nothing_can_be_kept(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if place == "a file":
        (tmp_path / "file").touch()
        monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "file"))
    else:

        def nowhere() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(compiled, "cache_root", nowhere)
    assert library(SEVEN).seven() == 7


@needs_code
def test_the_least_used_libraries_and_old_leftovers_are_cleared_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "MOST", 2)
    folder.mkdir(mode=0o700, parents=True)
    old, young = folder / ".build-old", folder / ".build-young"
    old.mkdir()
    young.mkdir()
    os.utime(old, (0, 0))
    for k in range(3):
        (folder / f"{k}-x.so").touch()
        os.utime(folder / f"{k}-x.so", (k, k))
    library(SEVEN)
    assert {path.name for path in folder.iterdir()} & {"0-x.so", "1-x.so", "2-x.so"} == {"2-x.so"}
    assert young.exists()
    assert not old.exists()


@pytest.mark.parametrize(
    ("command", "reason"),
    [("no-such-compiler", "no C compiler (no-such-compiler)"), ("", "CC is empty"), ("false", "false failed")],
)
@pytest.mark.skipif(sys.platform != "linux", reason="compiles on Linux alone")
def test_without_a_compiler_the_operators_do_it_and_the_reason_is_given(
    command: str, reason: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", command)
    assert reason in str(native.obstacle())
    assert blurred_as_by_torch()
    assert not list(folder.glob("*"))
    assert native.execution() == {"compiled": False, "functions": 0, "reason": native.obstacle()}


def test_it_can_be_switched_off(starts: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_COMPILED", "0")
    assert blurred_as_by_torch()
    assert native.obstacle() == "switched off by STEADYGAN_COMPILED=0"
    assert starts == []


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes the compiler miscompile some code."""
    really = library

    def change(old: str, new: str) -> None:
        def other(source: str) -> ctypes.CDLL:
            return really(source.replace(old, new))

        monkeypatch.setattr(compiled, "library", other)

    return change


@needs_code
def test_code_that_computes_something_else_is_noticed_at_first_use(wrong: Callable[[str, str], None]) -> None:
    wrong("2.0f *", "2.01f *")
    with pytest.warns(UserWarning, match=r"torch's operators: compiled code is wrong by .* CC names another"):
        assert blurred_as_by_torch()
    assert blurred_as_by_torch()  # and said once


@needs_code
def test_code_without_its_function_is_noticed(wrong: Callable[[str, str], None]) -> None:
    wrong("void stencil(", "void stensil(")
    with pytest.warns(UserWarning, match="torch's operators: the compiled code has no function stencil"):
        assert blurred_as_by_torch()


@needs_code
def test_code_that_alone_cannot_be_built_is_warned_of(wrong: Callable[[str, str], None]) -> None:
    wrong("void stencil(", "this is not C (")
    with pytest.warns(UserWarning, match=r"slower, as they use torch's operators: .*failed: .*error"):
        assert blurred_as_by_torch()
    assert native.obstacle() is None


@needs_code
def test_a_process_says_how_it_computes() -> None:
    assert blurred_as_by_torch()
    assert native.execution() == {"compiled": True, "functions": 2, "reason": None}
