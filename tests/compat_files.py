"""Write archives, messages, models, a snapshot and a store that every later 1.x must read.

    python tests/compat_files.py

writes them to a folder of `tests/compat` that is named after the version, with `expected.json`: what must come of them.
The files of a release are not written again: a change that needs it breaks a promise. `tests/compat/before` has files
of 0.1 and of development versions of 0.2.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from golden import text

import streamlstm
from streamlstm import SGD, Adam, Config, MessageCoder, RMSprop, StreamPool, StreamPredictor, Vocabulary, compress
from streamlstm.codec import archive as module
from streamlstm.codec.coder import ARITHMETIC

ALL = Path(__file__).parent / "compat"
VERSION = ".".join(streamlstm.__version__.split(".")[:2])
FOLDER = ALL / VERSION
RECORDS = b"name,\tage\nAnn, 17 (Rome)\nBob, 41 [Paris]\n" * 3 + b'</x><a><b c="d e">{f(x[1], "y)z")}</b> 1 < 2</a>)\n'
PAST = text(703) + RECORDS * 2
"""What the models have read."""
DATA = (Path(__file__).parent / "samples" / "lighthouse.txt").read_bytes()[:300] + RECORDS
"""What is compressed, and what the models go on with."""
NOISE = bytes(n * n % 251 for n in range(200))
FRAMES, FRAME_CODE = DATA[:200] + NOISE + DATA[200:], 60
"""What an archive with several frames holds, coded and raw ones, and how long their code is at least."""
BUNDLED = "large", "small"
TEXTS = ["", "a", "See you at ten.", "Größe: 5 µm – naïve façade, 日本語 🙂", '{"id": 1, "name": "x"}\n', "ab" * 40]


def models() -> dict[str, StreamPredictor]:
    """Models of several kinds that have read something."""
    letters = Vocabulary.from_text((PAST + DATA).decode(errors="ignore") + "\ufffd", unknown="\ufffd")
    adaptive = RMSprop(pull_back=0.05, repetition=4.0)
    found = {
        "memory": StreamPredictor(None, Config(4, 2, 10, memory_bits=10), adaptive, seed=1),
        "network": StreamPredictor(None, Config(5, 2, 6, "stacked", memory=False), Adam(lr=0.01, l2=1e-4), seed=2),
        "counts": StreamPredictor(None, Config(3, 1, 8, memory_bits=10), SGD(momentum=0.9), seed=3),
        "letters": StreamPredictor(letters, Config(40, 1, 7, memory_bits=10), SGD(l2=1e-3), seed=4),
    }
    for predictor in found.values():
        predictor.observe_many(decoded(predictor, PAST))
    found["counts"].learn = "memory"
    found["letters"].learn = "nothing"
    return found


def decoded(predictor: StreamPredictor, data: bytes) -> str | bytes:
    """Data as a model takes it: one of characters would refuse a character that is cut."""
    return data.decode(errors="replace") if predictor.vocabulary.characters else data


def continued(predictor: StreamPredictor) -> str:
    """A hash of all that comes of a model when it goes on."""
    bits = predictor.observe_many(decoded(predictor, DATA))
    arrays = [array for _, array in sorted(predictor.to_checkpoint(whole=True)[0].items())]
    parts = [np.ascontiguousarray(array).tobytes() for array in (bits, predictor.predict(), *arrays)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def pool_of(model: StreamPredictor) -> StreamPool:
    return StreamPool(model, learn="all")


def store_of(model: StreamPredictor, path: Path) -> StreamPool:
    """The streams in a store; their network does not learn, so that they take little space."""
    return StreamPool(model, learn="memory", store=path)


def expected_of(folder: Path) -> dict[str, Any]:
    """What must come of the files in a folder."""
    found: dict[str, Any] = json.loads((folder / "expected.json").read_text("utf-8"))
    return found


def write() -> None:
    """Write all files, unless they are there and those of a release."""
    if (FOLDER / "expected.json").exists() and expected_of(FOLDER)["written by"].startswith(VERSION):
        raise SystemExit(f"{FOLDER} has the files of a release, which must be read for ever")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    found, coder = models(), MessageCoder()
    for name, predictor in found.items():
        predictor.save(FOLDER / f"{name}.safetensors")
        if predictor.vocabulary.characters is None:
            (FOLDER / f"{name}.slz").write_bytes(compress(DATA, predictor))
    for name in BUNDLED:
        (FOLDER / f"{name}.slz").write_bytes(compress(DATA, StreamPredictor.pretrained(name)))
    module.FRAME_CODE = FRAME_CODE
    (FOLDER / "frames.slz").write_bytes(compress(FRAMES, found["network"]))
    with pool_of(found["memory"]) as pool:
        pool.observe("key", text(500))
        (FOLDER / "memory.snapshot").write_bytes(pool.snapshot("key"))
        bits = pool.observe("key", DATA)
    with store_of(found["memory"], FOLDER / "memory.db") as pool:
        pool.observe("key", text(500))
        pool.observe(b"key", text(20))
        pool.save()
        stored_bits = pool.observe("key", DATA)
    expected = {
        "written by": streamlstm.__version__,
        "arithmetic": ARITHMETIC,
        "models": {name: continued(predictor) for name, predictor in found.items()},
        "messages": {content: coder.compress(content).hex() for content in TEXTS},
        "snapshot": hashlib.sha256(bits.tobytes()).hexdigest(),
        "store": hashlib.sha256(stored_bits.tobytes()).hexdigest(),
    }
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    write()
