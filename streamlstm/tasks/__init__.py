"""The modules that 1.0 documented in this package, under the names that they had then."""

import sys
from importlib import import_module

for old, new in {
    "score": "text.score",
    "training": "training.trainer",
    "verify": "selftest",
    "warmup": "jit.warmup",
}.items():
    module = import_module(f"streamlstm.{new}")
    sys.modules[f"{__name__}.{old}"] = globals()[old] = module
