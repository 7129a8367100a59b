"""The intrinsics of kernels: `lanes`, `atomics` and `words`. They exist while numba compiles, and need it.

If the package has the machine code (`precompiled`), the source of the kernels is imported for its constants only, and
each intrinsic is None.
"""

from .jit import LIBRARY

__all__ = [
    "WIDE",
    "acquire",
    "address_of",
    "bits_float",
    "exchange",
    "exponent",
    "float_bits",
    "flush",
    "lane_maximum",
    "lane_sum",
    "load",
    "load_tile",
    "mantissa",
    "maximum",
    "minimum",
    "pause",
    "prefetch",
    "reciprocal_root_guess",
    "release",
    "repeat",
    "root",
    "row_sums",
    "set_word",
    "splat",
    "spread",
    "store",
    "store_tile",
    "times_power_of_two",
    "word",
    "yield_core",
]

if LIBRARY is None:
    from .atomics import acquire, exchange, pause, release, yield_core
    from .lanes import (
        WIDE,
        bits_float,
        exponent,
        float_bits,
        flush,
        lane_maximum,
        lane_sum,
        load,
        load_tile,
        mantissa,
        maximum,
        minimum,
        prefetch,
        reciprocal_root_guess,
        repeat,
        root,
        row_sums,
        splat,
        spread,
        store,
        store_tile,
        times_power_of_two,
    )
    from .words import address_of, set_word, word
else:

    def __getattr__(name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
