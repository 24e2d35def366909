"""The update step, the loop around it and what it leaves; called as a function, `steadygan.train(…)`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """Importing a submodule makes `steadygan.train` this package, which would hide the public function of that name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from steadygan.hub import train

        return train(*args, **options)


sys.modules[__name__].__class__ = _Callable
