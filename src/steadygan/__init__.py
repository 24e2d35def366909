"""steadygan: GAN training with consistency regularisation.

import steadygan
steadygan.train("digits")
images = steadygan.load("runs/digits").sample(16, seed=1)
"""

import sys

if (
    sys.argv[:1] == ["-m"]
    and not sys.flags.safe_path
    and any(
        flag == "-m" and module.split(".")[0] == "steadygan"
        for flag, module in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    )
):
    # `python -m steadygan` puts the current directory first on sys.path; do not import a yaml.py from there.
    sys.path.pop(0)

from typing import TYPE_CHECKING, Any

from steadygan._version import __version__ as __version__

if TYPE_CHECKING:
    from steadygan.api import train as train
    from steadygan.errors import UserError as UserError
    from steadygan.evaluation.images import evaluate_images as evaluate_images
    from steadygan.evaluation.run import evaluate as evaluate
    from steadygan.exporting.targets import export as export
    from steadygan.generators.generator import Generator as Generator
    from steadygan.generators.loading import load as load
    from steadygan.generators.loading import load_translator as load_translator
    from steadygan.generators.loading import sample as sample
    from steadygan.generators.translator import Translator as Translator

_HOMES = {
    "Generator": "generators.generator",
    "Translator": "generators.translator",
    "UserError": "errors",
    "evaluate": "evaluation.run",
    "evaluate_images": "evaluation.images",
    "export": "exporting.targets",
    "load": "generators.loading",
    "load_translator": "generators.loading",
    "sample": "generators.loading",
    "train": "api",
}

__all__ = sorted([*_HOMES, "__version__"])


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Imports submodules, and with them torch, on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'steadygan' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"steadygan.{_HOMES[name]}"), name)
