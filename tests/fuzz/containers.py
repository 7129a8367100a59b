"""Compressed containers and messages, for tiny models."""

import hashlib
import zlib
from functools import cache

import numpy as np
from engine import Target, refused
from models import TEXT, of_bytes
from mutations import mutated_bytes

from streamlstm.codec import archive as compress
from streamlstm.codec.archive import CODED, END, RAW
from streamlstm.codec.message import MessageCoder
from streamlstm.predictor.snapshot import Snapshot

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
    assert len(data) > 1024 or compress.decompress(compress.compress(data, predictor), predictor) == data
    return [True]


def mutate(rng, case, other):
    """Other frames, with valid checksums of all that is not coded."""
    if not rng.randrange(10):
        return mutated_bytes(rng, case, other)
    frames, others = frames_of(case), frames_of(other)
    for _ in range(1 << rng.randrange(3)):
        at, kind = rng.randrange(len(frames) + 1), rng.randrange(6)
        if at == len(frames) or kind == 0:
            new = rng.choice((CODED, RAW)), rng.randrange(1, 40), rng.randbytes(rng.randrange(1, 20))
            frames.insert(at, rng.choice([new, *others]))
            continue
        frame_kind, n, code = frames.pop(at)
        if kind == 2:
            frame_kind = rng.randrange(4)
        elif kind == 3:
            n = rng.choice((0, 1, n + 1, n - 1, len(code), rng.randrange(40), 2**21, 2**21 + 1))
        elif kind > 3:
            code = mutated_bytes(rng, code, other)[: 32 if rng.randrange(20) else 256]
            n = len(code) if frame_kind == RAW and rng.randrange(10) else n
        if kind != 1:
            frames.insert(at, (frame_kind, n, code))
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


@cache
def coder():
    """A coder with a tiny model in place of the bundled one."""
    made = object.__new__(MessageCoder)
    made._predictor = of_bytes().fork()
    made._snapshot = Snapshot(made._predictor)
    return made


def message_seeds():
    return map(coder().compress, (b"", b"a", b"abcd ab", b"\xff\x00\x80", b"\0"))


def check_message(message):
    try:
        data = coder().decompress(message)
    except ValueError as error:
        return refused(error)
    assert len(message) <= len(data) + 1
    assert len(data) > 200 or coder().decompress(coder().compress(data)) == data
    return [True]


def mutate_message(rng, case, other):
    if not rng.randrange(5):
        return bytes([rng.randrange(128, 256)]) + rng.randbytes(rng.randrange(6))
    return mutated_bytes(rng, case, other)[: 6 if rng.randrange(99) else 512]


CONTAINER = Target(seeds, mutate, check)
MESSAGE = Target(message_seeds, mutate_message, check_message)
