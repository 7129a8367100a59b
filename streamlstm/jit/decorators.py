"""The decorators of kernels, `kernel`, `inlined` and `entry`, and their machine code, which `native` gives.

Entries are the kernels that Python calls; all others are compiled as parts of them. The machine code comes with the
package if it has a library for this CPU, see `precompiled`. The kernels' source is then never compiled, and numba not
even imported. Otherwise numba compiles each entry when it is first needed, see `compiler`.
"""

from functools import cache
from typing import Any

from . import precompiled

__all__ = ["LIBRARY", "entry", "inlined", "kernel", "native", "plain"]

LIBRARY = precompiled.library()
"""The machine code that comes with the package; None if numba compiles the kernels."""

if LIBRARY is None:
    from .compiler import compiled, entry, inlined, kernel
else:

    def kernel(function: Any) -> Any:
        """A function that only kernels may call."""
        return function

    inlined = entry = kernel


@cache
def native(function: Any) -> Any:
    """The compiled function of an entry. It trusts the types of its arguments, so that a call takes half the time."""
    if LIBRARY is not None:
        return LIBRARY.function(function)
    return compiled(function)


def plain(function: Any) -> Any:
    """The Python function of a kernel, which takes NumPy's arrays where the kernel takes numbers."""
    return getattr(function, "py_func", function)
