"""Print, as JSON, what comes of all compiled kernels with tiny nets: `test_aarch64` runs this here and on another CPU.

python tests/on_aarch64.py
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from compat_files import DATA, FOLDER, continued, pool_of
from golden import golden, text
from on_this_cpu import archive

from streamlstm import Config, MessageCoder, StreamPool, StreamPredictor, Vocabulary, complete, decompress
from streamlstm.jit import decorators
from streamlstm.search.generate import generate
from streamlstm.training.trainer import Trainer, TrainingPlan
from streamlstm.watch.familiar import FamiliarLines

ARCHIVE = Path(__file__).parent / "compressed" / "learning.slz"
NETWORKS = (
    *("skip 1 1 sgd", "skip 2 3 adam", "skip 3 2 rmsprop"),
    *("stacked 1 2 rmsprop", "stacked 2 0 sgd", "stacked 3 3 adam"),
)
MEMORIES = ("memory 256 10", "memory 18 12", "then learns all", "then learns memory", "then learns nothing")
GOLDEN = (*NETWORKS, *MEMORIES)
"""The golden values that are computed: each number of layers, rule, kind of connections and way of learning."""


def hashed(*parts: Any) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def model(name: str) -> StreamPredictor:
    return StreamPredictor.load(FOLDER / f"{name}.safetensors")


def of_all_other_entries() -> dict[str, Any]:
    """What comes of the entries that neither golden values nor archives need."""
    small = StreamPredictor(None, Config(12, 2, 5, memory_bits=10), seed=1)
    steps = [small.observe(byte) for byte in text(60)]
    trace = small.trace(text(60), 3)
    known = FamiliarLines(Vocabulary.bytes())
    lines = [np.frombuffer(f"job {n} of user bob took {n % 7} s\n".encode(), np.uint8) for n in range(100, 140)]
    found = []
    for tokens in lines:
        found.append(known.find(tokens.astype(np.int32)))
        known.learn(tokens.astype(np.int32), 1.0, False)
    with pool_of(model("memory")) as pool:
        surprisals = pool.observe("key", text(200))
        snapshot = pool.snapshot("key")
        pool.restore("again", (FOLDER / "memory.snapshot").read_bytes())
        again = pool.observe("again", DATA)
    with StreamPool(model("memory"), learn="memory") as pool:
        many = pool.observe_many({"key": text(50), "new": text(100)})
    tokens = np.frombuffer(text(300), dtype=np.uint8)
    plan = TrainingPlan(epochs=1, batch=4, window=10, warmup=2)
    trainer = Trainer(tokens, Vocabulary.bytes(), Config(12, 2, 10, memory=False), plan, threads=2)
    losses = [progress.bits for progress in trainer.run()]
    return {
        "training": hashed(np.array(losses), trainer.theta),
        "generated": repr(list(generate(trainer.predictor(), 50, "the ", temperature=0.8, seed=3))),
        "steps": hashed(np.array(steps)),
        "trace": hashed(trace.bits, trace.ranks, trace.next_tokens, trace.next_probabilities),
        "completions": repr(complete(small, 3, length=4)),
        "familiar": repr(found),
        "pool": [hashed(surprisals), hashlib.sha256(snapshot).hexdigest(), hashed(again, many["key"], many["new"])],
        "message": MessageCoder().compress("See you at ten.").hex(),
    }


def results() -> dict[str, Any]:
    models = {"network": "network", "memory": "memory", "frames": "network"}
    readers = {"small": StreamPredictor.pretrained("small"), **{name: model(of) for name, of in models.items()}}
    return {
        "golden": golden(GOLDEN),
        "archive": archive(ARCHIVE.read_bytes()),
        "models": {name: continued(model(name)) for name in ("counts", "letters", "memory", "network")},
        "archives": {
            name: decompress((FOLDER / f"{name}.slz").read_bytes(), reader).hex() for name, reader in readers.items()
        },
        "others": of_all_other_entries(),
    }


def record_calls(library: Any) -> set[str]:
    """The names of the entries of a library that are called from now on."""
    called: set[str] = set()
    function_of = library.function

    def function(entry: Any) -> Any:
        machine_code = function_of(entry)

        def recorded(*arguments: Any) -> Any:
            called.add(entry.__name__)
            return machine_code(*arguments)

        return recorded

    library.function = function
    return called


if __name__ == "__main__":
    called = record_calls(decorators.LIBRARY)
    result = results()
    print(json.dumps({"results": result, "called": sorted(called), "numba": "numba" in sys.modules}))
