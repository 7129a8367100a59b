"""Compressed containers and messages, for tiny models."""

import hashlib
import zlib
from functools import cache

import numpy as np
from engine import Target, refused
from models import TEXT, of_bytes
from mutations import mutated_bytes

from streamlstm.tasks import compress
from streamlstm.tasks.compress import CODED, END, RAW
from streamlstm.tasks.message import MessageCoder
from streamlstm.tasks.snapshot import Snapshot

HEAD = 25
IDENTITY_OF = compress.identity


@cache
def models():
    """Without and with a memory. Their identities are kept: to compute one takes longer than a case."""
    predictors = of_bytes(memory=False), of_bytes()
    identities = {id(predictor): IDENTITY_OF(predictor) for predictor in predictors}
    compress.identity = lambda predictor: identities.get(id(predictor)) or IDENTITY_OF(predictor)
    return predictors


def seeds():
    for kind, predictor in enumerate(models()):
        for data in (b"", b"a", TEXT[:20], np.random.default_rng(0).bytes(20)):
            yield bytes([kind]) + compress.compress(data, predictor)


def check(case):
    """The first byte chooses the model."""
    predictor = models()[case[0] & 1 if case else 0]
    try:
        data = compress.decompress(case[1:], predictor)
    except ValueError as error:
        return refused(error)
    if len(data) < 1024:
        assert compress.decompress(compress.compress(data, predictor), predictor) == data
    return [True]


def mutate(rng, case, other):
    if not rng.randrange(10):
        return mutated_bytes(rng, case, other)
    frames, others = frames_of(case), frames_of(other)
    for _ in range(1 << rng.randrange(3)):
        at = rng.randrange(len(frames) + 1)
        kind = rng.randrange(6)
        if kind == 0 and others:
            frames.insert(at, rng.choice(others))
        elif at < len(frames):
            frame_kind, n_symbols, code = frames[at]
            if kind == 1:
                del frames[at]
            elif kind == 2:
                frames[at] = rng.randrange(4), n_symbols, code
            elif kind == 3:
                n_symbols = rng.choice(
                    (0, 1, n_symbols + 1, n_symbols - 1, len(code), rng.randrange(40), 2**21, 2**21 + 1)
                )
                frames[at] = frame_kind, n_symbols, code
            else:
                code = mutated_bytes(rng, code, other)[: 32 if rng.randrange(20) else 256]
                frames[at] = frame_kind, len(code) if frame_kind == RAW and rng.randrange(10) else n_symbols, code
        else:
            code = rng.randbytes(rng.randrange(1, 20))
            frames.append((rng.choice((CODED, RAW)), rng.choice((len(code), 2 * len(code))), code))
    return container(case[:1] or b"\0", frames, decodes=rng.randrange(3) == 0)


def frames_of(case):
    """Kind, number of symbols and code of each frame, as far as they can be read."""
    frames, at = [], 1 + HEAD
    while at + 11 <= len(case) and case[at] != END:
        n_symbols, length = (int.from_bytes(case[at + i : at + i + 3], "little") for i in (1, 4))
        frames.append((case[at], n_symbols, case[at + 11 : at + 11 + length]))
        at += 15 + length
    return frames


def container(first, frames, decodes):
    """A container of these frames, with valid checksums of all that is not coded; of that too if it `decodes`."""
    predictor = models()[first[0] & 1]
    fork = predictor.fork() if decodes else None
    parts, data = [first, compress._header(predictor)], b""
    for kind, n_symbols, code in frames:
        content = code
        if fork is not None and kind == CODED and 0 < n_symbols < 400 and code:
            content = compress._decoded(np.frombuffer(bytearray(code), np.uint8), n_symbols, fork, lambda n: None)
        elif fork is not None:
            fork.observe_many(code)
        data += content
        head = bytes([kind]) + _number(n_symbols, 3) + _number(len(code), 3)
        parts += [head, _number(zlib.crc32(head + code), 4), code, _number(zlib.crc32(data), 4)]
    return b"".join([*parts, bytes([END]), hashlib.sha256(data).digest()[:8]])


def _number(n, size):
    return (n % 256**size).to_bytes(size, "little")


CONTAINER = Target(seeds, mutate, check)


# Messages


@cache
def coder():
    """A coder with a tiny model in place of the bundled one."""
    made = object.__new__(MessageCoder)
    made._predictor = of_bytes().fork()
    made._snapshot = Snapshot(made._predictor)
    return made


def message_seeds():
    for data in (b"", b"a", b"abcd ab", b"\xff\x00\x80", b"\0"):
        yield coder().compress(data)


def check_message(message):
    try:
        data = coder().decompress(message)
    except ValueError as error:
        return refused(error)
    assert len(message) <= len(data) + 1
    if len(data) < 200:
        assert coder().decompress(coder().compress(data)) == data
    return [True]


def mutate_message(rng, case, other):
    if not rng.randrange(5):
        return bytes([rng.randrange(128, 256)]) + rng.randbytes(rng.randrange(6))
    return mutated_bytes(rng, case, other)[: 6 if rng.randrange(99) else 512]


MESSAGE = Target(message_seeds, mutate_message, check_message)
