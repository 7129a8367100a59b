"""Tiny predictors for the targets, and what an accepted one reads."""

import random
import sys
import tempfile
import zlib
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the folder of `nets`
from nets import random_predictor

from streamlstm import Adam, Config, RMSprop, Vocabulary

SHAPE = Config(hidden=4, layers=1, window=16, memory_bits=10)
TEXT = b"abcd abcd, (aab) 12.5\nabcd abcd, (aac) 12.6\nabcd abcd, (aab) 12.5\nabcd abcd"

N_SYMBOLS = 5_000
_PARTS = [b"\n", b"([{<", b">}])", b"\"'`", b"<a><b c='d'>e</b></a>", b"0123456789 12.5,\t", b"ab", b"x y\n  (z)\n"]
_PARTS += [b"\x00", bytes(range(256)), random.Random(0).randbytes(700), "é€🙂\u0301".encode(), b'{"a": [1, "b"]}\r\n']


def mixed_text(case):
    """What an accepted case reads, N_SYMBOLS bytes or a few more: runs of a part each and one of all, in any order."""
    rng = random.Random(zlib.crc32(case))
    size, all_parts = N_SYMBOLS // 10 + 1, b"".join(part[:40] for part in rng.choices(_PARTS, k=100))
    runs = [part * 700 for part in (b"\n", *rng.sample(_PARTS, 8))] + [all_parts]
    rng.shuffle(runs)
    return b"".join(run[:size] for run in runs)


@cache
def folder():
    """A folder for the files of cases, in memory if the system has a file system there."""
    kept = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    folder.kept = kept  # deleted with the process
    return Path(kept.name)


@cache
def of_bytes(memory=True):
    """A predictor of bytes."""
    return random_predictor(SHAPE, Vocabulary.bytes(), memory=memory)


@cache
def of_text(layers=1, memory=True, adam=False, characters=None):
    """A predictor of these characters; of those of TEXT if none are named."""
    shape = Config(hidden=3, layers=layers, window=16, connections="stacked" if layers > 1 else "skip", memory_bits=10)
    optimizer = Adam(lr=0.01) if adam else RMSprop(pull_back=0.01, repetition=4.0)
    return random_predictor(
        shape, Vocabulary.from_text(characters or TEXT.decode(), unknown="?"), optimizer, memory=memory
    )
