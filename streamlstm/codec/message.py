"""Messages: short texts compressed without a container, with one model that both sides have.

A message is nothing but code: no length, identity or checksum. Whatever carries it must know its length in bytes.

    version   v bits    v - 1 zeros and a one; 1: coded with the bundled model `small` of streamlstm 1.0
    code                the output of the range coder, with decisions whether the text ends: see `coder`

A raw message is a byte 0 and the data, for data that coding would enlarge. An empty message is an empty text. Each text
has one message, the shortest that has room for it. It takes one byte more than the surprisals of usual text on average.

The model learns from the text of a message, and forgets it afterwards: this pays from the first hundred characters on.
"""

from itertools import count

import numpy as np
import numpy.typing as npt

from ..jit.decorators import native
from ..predictor import StreamPredictor
from ..predictor.snapshot import Snapshot
from . import coder
from .archive import Bytes, Decoding

MODEL = "small"
VERSION = 1
"""Incremented when a new version of streamlstm changes a bit of any of MODEL's distributions."""

RAW = b"\0"
"""What a raw message begins with."""

MAX_BYTES = 1 << 16
"""The longest text of a message."""


class MessageCoder:
    """Compresses short messages and restores them, with the model loaded once. Use it from one thread at a time.

    The messages are independent: the model learns from each text while it reads it, and then forgets it.

    >>> coder = MessageCoder()
    >>> texts = ["the train is late", "the train is here", ""]
    >>> messages = [coder.compress(text) for text in texts]
    >>> [coder.decompress(message).decode() for message in messages] == texts
    True
    """

    def __init__(self) -> None:
        self._predictor = StreamPredictor.pretrained(MODEL)
        self._snapshot = Snapshot(self._predictor)

    def compress(self, data: Bytes | str) -> bytes:
        """The message of bytes, or of text as UTF-8; see `compress_message`."""
        content = data.encode() if isinstance(data, str) else memoryview(data).tobytes()
        if len(content) > MAX_BYTES:
            raise ValueError(f"a message holds at most {MAX_BYTES:,} bytes; use a container for more")
        if not content:
            return b""
        coded = _message(self._parts(content))
        return coded if len(coded) <= len(content) else RAW + content

    def decompress(self, message: Bytes) -> bytes:
        """The data of a message; see `decompress_message`."""
        message = memoryview(message).tobytes()
        if not message:
            return b""
        is_raw, version = message[:1] == RAW, 9 - message[0].bit_length()
        if not is_raw and version != VERSION:
            raise ValueError(f"the message has version {version}; this version of streamlstm reads version {VERSION}")
        content = message[1:] if is_raw else self._decoded(np.frombuffer(message, dtype=np.uint8))
        is_whole = 0 < len(content) <= MAX_BYTES and len(message) <= len(content) + is_raw
        if not is_whole or (is_raw and self.compress(content) != message):
            raise ValueError("it is not a message of streamlstm 1.0 or later, or it is damaged; 0.2 reads those of 0.2")
        return content

    def _parts(self, content: bytes) -> npt.NDArray[np.int64]:
        """The part of the interval that each byte takes, three numbers each: see `coder`."""
        self._snapshot.restore()
        tokens = self._predictor.vocabulary.encode(content)
        parts = np.empty(3 * len(tokens), dtype=np.int64)
        for step in self._predictor.steps(tokens):
            start, end = step.start, step.start + step.count
            native(coder.record_parts)(step.stream, step.first, tokens[start:end], parts[3 * start : 3 * end])
        return parts

    def _decoded(self, code: npt.NDArray[np.uint8]) -> bytes:
        """The text of a coded message; empty if it is not the message of any text."""
        self._snapshot.restore()
        source = Decoding(code, coder.message_coder(VERSION, len(code), code), len(self._predictor.vocabulary))
        decoded = bytearray()
        try:
            for step in self._predictor.steps(source, MAX_BYTES + 1):
                decoded += step.tokens.astype(np.uint8).tobytes()
        except FloatingPointError:  # learning diverged, which it did not when this was compressed
            return b""
        return bytes(decoded) if source.is_whole_message else b""


def compress_message(data: Bytes | str) -> bytes:
    """Compress a short text, or up to 65,536 bytes of any kind, without a container.

    The message takes about one byte more than the surprisals of the text (repetitive text: up to four), and never more
    than one byte more than the text. `decompress_message` must be given exactly its bytes, by a version of streamlstm
    that reads the same version of messages. Each call loads the model; `MessageCoder` loads it once for many messages.
    Raises ValueError for a longer text.

    >>> message = compress_message("Where shall we meet tomorrow?")
    >>> len(message) < 16, decompress_message(message)
    (True, b'Where shall we meet tomorrow?')
    """
    return MessageCoder().compress(data)


def decompress_message(message: Bytes) -> bytes:
    """Restore the data of a message.

    Raises ValueError with one line for a message of another version, and for most damaged ones. It cannot notice all
    damage: there is no checksum.
    """
    return MessageCoder().decompress(message)


def _message(parts: npt.NDArray[np.int64]) -> bytes:
    """The shortest code that has room for all parts and for the end."""
    code = np.empty(coder.PER_SYMBOL * len(parts), dtype=np.uint8)

    def length(n_bytes: int) -> int:
        code[:] = 0
        n: int = native(coder.encode_message)(parts, code, coder.message_coder(VERSION, n_bytes, code[:0]))
        return n

    shortest = next(n_bytes for n_bytes in count(length(0)) if length(n_bytes) <= n_bytes)
    return code[:shortest].tobytes()
