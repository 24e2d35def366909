"""Import of other programs' weights, without executing anything in them, as steadygan checkpoints."""

from steadygan.importing.convert import import_files
from steadygan.importing.layouts.common import Imported
from steadygan.importing.values import Refused

__all__ = ["Imported", "Refused", "import_files"]
