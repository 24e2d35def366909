"""Weights of other programs, read without running anything in them, as checkpoints of ours."""

from steadygan.importing.convert import import_files
from steadygan.importing.layouts.common import Imported
from steadygan.importing.values import Refused

__all__ = ["Imported", "Refused", "import_files"]
