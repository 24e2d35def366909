"""Animations: GIF and WebP by Pillow, MP4 by imageio-ffmpeg if installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from steadygan.errors import UserError
from steadygan.files import write_whole
from steadygan.pictures.stamp import Stamp, as_text, saving

ANIMATED = (".gif", ".webp", ".mp4")


def save_animation(
    frames: Sequence[Image.Image], path: str | Path, *, fps: float = 12, stamp: Stamp | None = None
) -> Path:
    """Writes an animation in the format of the path's suffix, looped (GIF, WebP); atomically.

    GIF has 256 colours a frame and 1/100 s of resolution; WebP is lossless; MP4 is H.264, padded with white to even
    sides.

    Args:
        frames: images of equal size.
        path: a .gif, .webp or .mp4.
        fps: frames per second, above 0 and up to 50.
        stamp: provenance, written into the file.

    Returns:
        The path.

    Raises:
        UserError: the suffix or frame rate is not supported, or imageio-ffmpeg is missing for MP4.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in ANIMATED:
        raise UserError(f"{path}: an animation must be {', '.join(ANIMATED)}")
    if not 0 < fps <= 50:
        raise UserError(f"{fps} frames per second: choose a rate above 0 and up to 50")
    if suffix == ".mp4":
        encoder = _encoder()
        write_whole(path, lambda temporary: _write_mp4(encoder, frames, temporary, fps, stamp))
    else:
        first, *rest = frames
        options: dict[str, Any] = {"save_all": True, "append_images": rest, "duration": round(1000 / fps), "loop": 0}
        if suffix == ".webp":
            options["lossless"] = True
        if stamp is not None:
            options |= saving(stamp, suffix[1:].upper())
        write_whole(path, lambda temporary: first.save(temporary, format=suffix[1:].upper(), **options))
    return path


def _encoder() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise UserError(
            "MP4 needs imageio-ffmpeg: `pip install imageio-ffmpeg` (steadygan's extra 'video'), or "
            "choose .gif or .webp, which need no package"
        ) from None
    return imageio_ffmpeg


def _write_mp4(encoder: Any, frames: Sequence[Image.Image], path: Path, fps: float, stamp: Stamp | None) -> None:
    width, height = (side + side % 2 for side in frames[0].size)  # H.264 stores colour at half the resolution
    metadata = [] if stamp is None else ["-metadata", f"comment={as_text(stamp)}"]
    writer = encoder.write_frames(
        str(path), (width, height), fps=fps, macro_block_size=1, quality=8, output_params=metadata
    )
    writer.send(None)
    try:
        for frame in frames:
            padded = Image.new("RGB", (width, height), "white")
            padded.paste(frame)
            writer.send(np.asarray(padded).tobytes())
    finally:
        writer.close()
