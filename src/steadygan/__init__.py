"""steadygan: GAN training with consistency regularisation.

import steadygan
steadygan.train("digits")
images = steadygan.load("runs/digits").sample(16, seed=1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["Generator", "UserError", "evaluate", "evaluate_images", "load", "sample", "train"]

if TYPE_CHECKING:
    from steadygan.errors import UserError as UserError
    from steadygan.hub import (
        Generator as Generator,
    )
    from steadygan.hub import (
        evaluate as evaluate,
    )
    from steadygan.hub import (
        evaluate_images as evaluate_images,
    )
    from steadygan.hub import (
        load as load,
    )
    from steadygan.hub import (
        sample as sample,
    )
    from steadygan.hub import (
        train as train,
    )


def __getattr__(name: str) -> Any:
    """Imports torch only when something that needs it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'steadygan' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("steadygan.errors" if name == "UserError" else "steadygan.hub"), name)
