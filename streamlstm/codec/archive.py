"""Lossless compression: probable symbols take few bits, and any machine restores the same bytes.

Encoder and decoder feed the same symbols to forks of the same predictor, which learns from them if its `learning` is
on. `coder` encodes each symbol with the distribution held before it. A container consists of

    magic      4 bytes    89 53 4C 5A ("\\x89SLZ")
    version    1 byte     2
    identity  16 bytes    of the predictor, see `identity`
    checksum   4 bytes    CRC-32 of the 21 bytes before
    frames                any number
    end        1 byte     0
    digest     8 bytes    the first 8 bytes of the SHA-256 of all the data

Integers are little-endian. A frame holds 1 … 2**21 symbols and at most 86 kB:

    kind       1 byte     1: coded, 2: raw, for data that coding would make longer
    n_symbols  3 bytes    bytes of data in the frame
    length     3 bytes    bytes of `code`
    checksum   4 bytes    CRC-32 of the 7 bytes before and of `code`: detects damage before the model runs
    code                  the output of the range coder, which starts afresh in each frame; raw: the data
    checksum   4 bytes    CRC-32 of all the data so far: detects wrong arithmetic and frames out of order

A frame ends where its code reaches 64 KiB, so its overhead of 15 bytes is at most 0.03 %. No data of a frame is output
before its checksums have been verified.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ..jit.decorators import native
from ..memory.memory import NO_MEMORY, Memory
from ..model import MAX_WINDOW
from ..modelfile import Learn, bundled_models
from ..predictor import Step, StreamPredictor
from ..predictor.tape import Tape
from ..predictor.weights import Weights
from ..vocabulary import Tokens
from . import coder
from .coder import identity

MAGIC, VERSION, OLDEST = b"\x89SLZ", 2, 2
"""What a container begins with; the version that is written, and the oldest that is read: that of version 1.0."""

END, CODED, RAW = range(3)
FRAME_SYMBOLS = 1 << 21
FRAME_CODE = 1 << 16
"""A frame ends at this many symbols, or after the step in which its code reaches this many bytes."""
MAX_FRAME_CODE = FRAME_CODE + coder.PER_SYMBOL * MAX_WINDOW
"""The longest code of a frame: a step is no longer than a window."""
BLOCK = 8192
"""Bytes read at once."""

Bytes = bytes | bytearray | memoryview
OnProgress = Callable[[int, int], None]
"""Called with the numbers of bytes read and written so far."""


def compress(data: Bytes | str, predictor: StreamPredictor) -> bytes:
    """Compress bytes, or text as UTF-8, into a container.

    It is decompressed with a predictor equal to `predictor`, which does not change. Raises ValueError for a predictor
    whose vocabulary is not that of bytes.

    >>> from streamlstm import Config, StreamPredictor
    >>> predictor = StreamPredictor(config=Config(hidden=32, layers=1))
    >>> packed = compress(b"to be or not to be, " * 50, predictor)
    >>> len(packed) < 500, decompress(packed, predictor) == b"to be or not to be, " * 50
    (True, True)
    """
    target = io.BytesIO()
    content = data.encode() if isinstance(data, str) else data
    compress_file(io.BytesIO(content), target, predictor)
    return target.getvalue()


def decompress(blob: Bytes, predictor: StreamPredictor | None = None) -> bytes:
    """Restore the data of a container.

    predictor  equal to the one that compressed it; does not change. None: the bundled model that the container names,
               with what it learned and whether it had a memory

    Raises ValueError with one line for a container that is foreign, newer, made with another model, truncated,
    corrupt, or followed by other bytes.
    """
    target = io.BytesIO()
    decompress_file(io.BytesIO(blob), target, predictor)
    return target.getvalue()


def compress_file(
    source: BinaryIO, target: BinaryIO, predictor: StreamPredictor, report: OnProgress = lambda n_read, n_written: None
) -> tuple[int, int]:
    """Compress everything read from `source` into `target`, with bounded memory; see `compress`.

    Returns the numbers of bytes read and written.
    """
    n_read = n_written = 0
    frame = _FrameWriter()

    def blocks() -> Iterator[bytes]:
        nonlocal n_read
        while block := source.read(BLOCK):
            yield block
            n_read += len(block)
            report(n_read, n_written + frame.n_bytes)

    for part in _container(blocks(), _fork(predictor), frame):
        target.write(part)
        n_written += len(part)
    return n_read, n_written


def decompress_file(
    source: BinaryIO,
    target: BinaryIO,
    predictor: StreamPredictor | None = None,
    report: OnProgress = lambda n_read, n_written: None,
) -> tuple[int, int]:
    """Decompress the container read from `source` into `target`, with bounded memory; see `decompress`.

    Returns the numbers of bytes read and written. If ValueError is raised, `target` holds the frames whose checksums
    were right.
    """
    reader, n_written = _Reader(source), 0

    def report_frame(n_decoded: int) -> None:
        report(reader.n_read, n_written + n_decoded)

    for data in _content(reader, predictor and _fork(predictor), report_frame):
        target.write(data)
        n_written += len(data)
    return reader.n_read, n_written


def _fork(predictor: StreamPredictor) -> StreamPredictor:
    if predictor.vocabulary.characters is not None:
        raise ValueError("compression needs a model of bytes; this one has a vocabulary of characters")
    return predictor.fork()


def _header(predictor: StreamPredictor) -> bytes:
    """The container up to its first frame."""
    head = MAGIC + bytes([VERSION]) + identity(predictor)
    return head + _number(zlib.crc32(head), 4)


def _number(n: int, size: int) -> bytes:
    return n.to_bytes(size, "little")


# Writing


def _container(blocks: Iterable[bytes], predictor: StreamPredictor, frame: _FrameWriter) -> Iterator[bytes]:
    """The parts of a container, in order; the predictor observes all the data."""
    yield _header(predictor)
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
        tokens = predictor.vocabulary.encode(block)
        for step in predictor.steps(tokens):
            last = step.start + step.count
            frame.add(block[step.start : last], tokens[step.start : last], step)
            if frame.is_full:
                yield frame.close()
    if frame.data:
        yield frame.close()
    yield bytes([END]) + digest.digest()[:8]


class _FrameWriter:
    """The frame that is being written, and the checksum of the data before it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._checksum = 0
        self._code = np.zeros(MAX_FRAME_CODE, dtype=np.uint8)
        self._coder = coder.initial_coder(self._code[:0])

    def add(self, data: bytes, tokens: Tokens, step: Step) -> None:
        """Code the symbols of a step by the distributions held before them."""
        self.data += data
        native(coder.encode)(step.stream, step.first, tokens, self._code, self._coder)

    @property
    def n_bytes(self) -> int:
        """The length of the code so far."""
        return int(self._coder[coder.POSITION])

    @property
    def is_full(self) -> bool:
        """Whether another step could exceed the limits."""
        return len(self.data) > FRAME_SYMBOLS - MAX_WINDOW or self.n_bytes >= FRAME_CODE

    def close(self) -> bytes:
        """Finish the frame, return its bytes, and begin the next one."""
        length = native(coder.finish)(self._code, self._coder)
        kind, code = CODED, self._code[:length].tobytes()
        if length >= len(self.data):
            kind, code = RAW, bytes(self.data)
        head = bytes([kind]) + _number(len(self.data), 3) + _number(len(code), 3)
        self._checksum = zlib.crc32(self.data, self._checksum)
        self.data.clear()
        self._coder = coder.initial_coder(self._code[:0])
        return head + _number(zlib.crc32(head + code), 4) + code + _number(self._checksum, 4)


# Reading


class _Reader:
    """Reads exactly as many bytes as asked, and counts them."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.n_read = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes; ValueError if there are fewer."""
        parts, missing = [], size
        while missing and (part := self._source.read(missing)):
            parts.append(part)
            missing -= len(part)
        self.n_read += size - missing
        if missing:
            raise ValueError(f"it is truncated: it ends after {self.n_read:,} bytes, without an end marker")
        return b"".join(parts)

    def expect_end(self) -> None:
        """Raise ValueError if there are more bytes."""
        if self._source.read(1):
            raise ValueError(f"other bytes follow the end of the container, which is {self.n_read:,} bytes long")


def _content(reader: _Reader, given: StreamPredictor | None, report: Callable[[int], None]) -> Iterator[bytes]:
    """The data, frame by frame, each once its checksums are verified.

    report: called with the number of bytes decoded so far of the current frame.
    """
    predictor = _named(_identity_in_head(reader), given)
    digest, checksum, index = hashlib.sha256(), 0, 1
    while (kind := reader.read(1)[0]) != END:
        head = bytes([kind]) + reader.read(6)
        n_symbols, length = int.from_bytes(head[1:4], "little"), int.from_bytes(head[4:], "little")
        damaged = ValueError(f"it is corrupt: frame {index}, which starts at byte {reader.n_read - len(head):,}")
        if kind > RAW or not 1 <= n_symbols <= FRAME_SYMBOLS or not 1 <= length <= MAX_FRAME_CODE:
            raise damaged
        expected, code = reader.read(4), reader.read(length)
        if expected != _number(zlib.crc32(head + code), 4) or (kind == RAW and length != n_symbols):
            raise damaged
        try:
            if kind == RAW:
                data = code
                predictor.observe_many(data)
            else:
                data = _decoded(np.frombuffer(bytearray(code), dtype=np.uint8), n_symbols, predictor, report)
        except FloatingPointError:  # learning diverged, which it did not when this was compressed
            raise damaged from None
        checksum = zlib.crc32(data, checksum)
        if reader.read(4) != _number(checksum, 4) or len(data) != n_symbols:
            raise damaged
        digest.update(data)
        index += 1
        yield data
    if reader.read(8) != digest.digest()[:8]:
        raise ValueError("it is corrupt: the digest of all the data does not match")
    reader.expect_end()


def _identity_in_head(reader: _Reader) -> bytes:
    """The identity of the predictor that wrote the container, from its header."""
    magic = reader.read(len(MAGIC))
    if magic != MAGIC:
        raise ValueError("it is not a container written by streamlstm compress")
    version = reader.read(1)[0]
    if version < OLDEST:
        raise ValueError("it was compressed before version 1.0; streamlstm 0.1 or 0.2, whichever wrote it, reads it")
    if version > VERSION:
        raise ValueError(f"it has format {version} of a newer streamlstm; this one reads formats up to {VERSION}")
    named = reader.read(16)
    if reader.read(4) != _number(zlib.crc32(magic + bytes([version]) + named), 4):
        raise ValueError("it is corrupt: its header")
    return named


def _named(named: bytes, given: StreamPredictor | None) -> StreamPredictor:
    """The given predictor if the identity is its own; if none is given, the bundled model whose identity it is."""
    theirs = named[:4].hex()
    if given is None:
        for predictor in _bundled():
            if identity(predictor) == named:
                return predictor
        raise ValueError(
            f"it was compressed with another model ({theirs}…) than the bundled ones; "
            "decompress with the same --model and options of a fresh network"
        )
    if (own := identity(given)) != named:
        raise ValueError(
            f"it was compressed with another model ({theirs}…), not with this one ({own[:4].hex()}…); "
            "decompress with the same --model, --freeze and options of a fresh network"
        )
    return given


def _bundled() -> Iterator[StreamPredictor]:
    """Forks of the bundled models, the most usual ones first, in each way that they can learn."""
    ways: list[tuple[Learn, bool]] = [
        ("all", True),
        ("memory", True),
        ("nothing", True),
        ("all", False),
        ("nothing", False),
    ]
    for name in sorted(bundled_models(), key=lambda name: name != "small"):
        for learn, memory in ways:
            predictor = StreamPredictor.pretrained(name, memory)
            predictor.learn = learn
            yield predictor


def _decoded(
    code: npt.NDArray[np.uint8],
    n_symbols: int,
    predictor: StreamPredictor,
    report: Callable[[int], None],
) -> bytes:
    """Decode n_symbols symbols, which the predictor observes; returns fewer if the code does not fit the model."""
    source = Decoding(code, coder.initial_coder(code), len(predictor.vocabulary))
    decoded = np.empty(n_symbols, dtype=np.uint8)
    for step in predictor.steps(source, n_symbols):
        last = step.start + step.count
        decoded[step.start : last] = step.tokens
        report(last)
    return decoded.tobytes() if source.n_read == len(code) else b""


class Decoding:
    """A `TokenSource` that decodes each token by the distribution held before it.

    code       uint8 [n], a frame or a message
    state      the initial `coder`: see the module `coder`
    n_symbols  of the vocabulary
    """

    def __init__(self, code: npt.NDArray[np.uint8], state: npt.NDArray[np.int64], n_symbols: int) -> None:
        groups = -(-n_symbols // coder.GROUP)
        self._decoder = coder.Decoder(code, state, np.zeros(groups * coder.GROUP, dtype=np.int32))
        self._peeked = -1

    @property
    def n_read(self) -> int:
        """How many bytes of the code were needed to decode the symbols so far."""
        return int(self._decoder.coder[coder.POSITION]) - coder.BITS // 8 + 1

    @property
    def is_whole_message(self) -> bool:
        """Whether the message has ended, and its code is what the encoder writes: the first number in the interval."""
        state = self._decoder.coder
        is_first = state[coder.LOW] < coder.SMALLEST and not self._decoder.code[self.n_read :].any()
        return bool(state[coder.N_BYTES] == coder.ENDED and self.n_read <= len(self._decoder.code) and is_first)

    def peek(self, weights: Weights, tape: Tape) -> int:
        """See `TokenSource`."""
        self._peeked = self._decode(weights, None, tape, tape.window, 0)
        return self._peeked

    def prepare(self, weights: Weights, tape: Tape, first: int, count: int) -> None:
        """See `TokenSource`."""

    def feed(self, weights: Weights, memory: Memory | None, tape: Tape, first: int, count: int) -> int:
        """See `TokenSource`."""
        tape.stream.tokens[first], self._peeked = self._peeked, -1
        n = self._decode(weights, memory, tape, first, count)
        while n < count and memory is not None and memory.make_space():
            if n:
                tape.stream.tokens[first + n] = -1
            n += self._decode(weights, memory, tape, first + n, count - n)
        return n

    def _decode(self, weights: Weights, memory: Memory | None, tape: Tape, first: int, count: int) -> int:
        arrays, learn = (NO_MEMORY, False) if memory is None else (memory.arrays(), memory.learning)
        n: int = native(coder.decode)(weights.theta, arrays, tape.stream, self._decoder, first, count, learn)
        return n
