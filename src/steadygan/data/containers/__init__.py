"""Where images are kept: one class for each kind of place, chosen by `open_container`."""

from __future__ import annotations

import zipfile
from pathlib import Path

from steadygan.data.containers.base import Container
from steadygan.data.containers.folder import Folder
from steadygan.data.containers.zip import Zip
from steadygan.data.digits import EMBEDDED
from steadygan.errors import UserError

__all__ = ["Container", "open_container"]


def open_container(path: str) -> Container:
    place = Path(path).expanduser()
    if place.is_dir():
        return Folder(place)
    if not place.exists():
        raise UserError(f"{path} does not exist: give a folder or zip of images, or {' or '.join(EMBEDDED)}")
    try:
        return Zip(place)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} is neither a folder nor a sound zip ({error}): give one of them") from None
