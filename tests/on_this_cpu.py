"""Print, as JSON, what must be the same on every CPU, and what the machine code of each kernel contains.

test_determinism runs it in processes that compile for other CPUs; all is asked of one process, since to compile takes
most of its time.
    python tests/on_this_cpu.py tests/compressed/learning.slz
"""

import hashlib
import json
import re
import sys
from pathlib import Path

from golden import golden, text

from streamlstm import Config, StreamPredictor
from streamlstm.codec.archive import compress, decompress
from streamlstm.jit import decorators
from streamlstm.jit.warmup import entries


def archive(packed: bytes) -> dict[str, str]:
    """Hashes of what comes of an archive of `text(2000)` and of the text, and of what the predictor learns from it."""
    hashes = {}
    for direction, content in ((decompress, packed), (compress, text(2000))):
        predictor = StreamPredictor(config=Config(hidden=12, layers=2, window=5, memory_bits=10), seed=1)
        predictor.fork = lambda predictor=predictor: predictor  # to see what it learns
        result = direction(content, predictor)
        weights = b"".join(weight.tobytes() for _, weight in sorted(predictor.weights().items()))
        hashes[direction.__name__] = hashlib.sha256(result).hexdigest()
        hashes[f"{direction.__name__}: learned"] = hashlib.sha256(weights).hexdigest()
    return hashes


def forbidden(code: str) -> list[str]:
    """The instructions that fuse a multiplication and an addition, and the functions of libm, in assembly."""
    fused = re.findall(r"\bv?fn?m(?:add|sub)\w*", code)
    called = re.findall(r"call\w*\s+\*?(\S*(?:exp|log|tanh|pow|sqrt|fma|sin|cos)\w*)", code)
    symbols = re.findall(r"\b(?:expf?|exp2f?|logf?|log2f?|tanhf?|powf?|sqrtf?|fmaf?)\b", code)
    return sorted({*fused, *called, *symbols})


if __name__ == "__main__":
    for entry in entries():  # in this process: the code of what a second process compiled is in the cache only
        entry.compile(entry.arguments)
    assembly = {entry.py_func.__name__: entry.inspect_asm(entry.signatures[0]) for entry in entries()}
    result = {
        "golden": golden(),
        "archive": archive(Path(sys.argv[1]).read_bytes()),
        "forbidden": {name: forbidden(code) for name, code in assembly.items()},
        "shortest assembly": min(map(len, assembly.values()), default=0),
        "library": decorators.LIBRARY and decorators.LIBRARY.path.name,
    }
    print(json.dumps(result))
