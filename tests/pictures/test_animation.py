"""GIF, WebP and MP4: every frame, in order, at its rate."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steadygan.errors import UserError
from steadygan.pictures.animation import save_animation

LEVELS = (10, 60, 110, 160, 210)


def frames(mode: str = "L") -> list[Image.Image]:
    """Five frames of 7×5, each of one grey level."""
    return [Image.new("L", (7, 5), level).convert(mode) for level in LEVELS]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_every_frame_is_there_in_order_at_its_rate(tmp_path: Path, suffix: str, mode: str) -> None:
    path = save_animation(frames(mode), tmp_path / f"a{suffix}", fps=10)
    with Image.open(path) as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (len(LEVELS), (7, 5), 0)
        levels = []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            assert image.info["duration"] == 100
            levels.append(int(np.asarray(image.convert("L")).mean().round()))
    assert levels == pytest.approx(list(LEVELS), abs=3)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


# imageio-ffmpeg leaves the closing of its pipes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_mp4_shows_the_frames_padded_to_even_sides(tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="the extra [video] is not installed")
    path = save_animation(frames(), tmp_path / "a.mp4", fps=5)
    reader = ffmpeg.read_frames(str(path))
    facts = next(reader)
    assert (facts["size"], facts["fps"], facts["codec"]) == ((8, 6), 5, "h264")
    shown = [np.frombuffer(frame, np.uint8).reshape(6, 8, 3) for frame in reader]
    assert [frame[1:4, 1:6].mean() for frame in shown] == pytest.approx(list(LEVELS), abs=12)


def test_mp4_without_its_library_says_what_to_install_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match=r"pip install imageio-ffmpeg.*\.gif"):
        save_animation(frames(), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "fps", "message"), [("a.avi", 12, r"\.gif, \.webp, \.mp4"), ("a.gif", 0, "0 frames")])
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str, fps: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        save_animation(frames(), tmp_path / name, fps=fps)
