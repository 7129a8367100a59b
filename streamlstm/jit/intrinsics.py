"""The intrinsics of kernels, see `lanes`. They exist while numba compiles, and need it.

If the package has the machine code (`precompiled`), the source of the kernels is imported for its constants only, and
each intrinsic is None.
"""

from importlib import import_module
from typing import Any

from .decorators import LIBRARY


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return None if LIBRARY is not None else getattr(import_module(f"{__package__}.lanes"), name)
