"""A second decoder of archives, in plain NumPy: slow, and nothing but what the pages on file formats say.

It imports nothing of the rest of the package.
"""

import hashlib
import io
import zlib
from collections.abc import Iterator

from .coder import RangeDecoder, frequencies
from .model import identity, read_model
from .stream import ReferenceStream

HEAD = b"\x89SLZ\x02"
END, CODED, RAW = b"\0", b"\1", b"\2"


def decompress(archive: bytes, model: bytes) -> bytes:
    """Decode an archive with the content of a model file. Raises ValueError if it is damaged or of another model."""
    source, predictor = io.BytesIO(archive), read_model(model)
    head = source.read(21)
    _require(head[:5] == HEAD and source.read(4) == _checksum(head), "it is not an archive, or its header is damaged")
    _require(head[5:] == identity(predictor), "it was compressed with another model")
    data = b"".join(_frames(source, ReferenceStream(predictor)))
    _require(source.read() == hashlib.sha256(data).digest()[:8], "the digest of all the data does not match")
    return data


def _frames(source: io.BytesIO, stream: ReferenceStream) -> Iterator[bytes]:
    """The data of each frame."""
    crc = 0
    while (kind := source.read(1)) != END:
        head = kind + source.read(6)
        n_symbols, length = int.from_bytes(head[1:4], "little"), int.from_bytes(head[4:], "little")
        checksum, code = source.read(4), source.read(length)
        _require(kind in (CODED, RAW) and checksum == _checksum(head + code), "a frame is damaged")
        data = raw(code, stream) if kind == RAW else decoded(code, n_symbols, stream)
        crc = zlib.crc32(data, crc)
        _require(len(data) == n_symbols and source.read(4) == crc.to_bytes(4, "little"), "the data is not what it was")
        yield data


def raw(code: bytes, stream: ReferenceStream) -> bytes:
    """The data of a raw frame, which the stream observes."""
    for token in code:
        stream.observe(token)
    return code


def decoded(code: bytes, n_symbols: int, stream: ReferenceStream) -> bytes:
    """The data of a coded frame, which the stream observes; empty if the code has another length than it needs."""
    decoder, data = RangeDecoder(code), bytearray()
    for _ in range(n_symbols):
        data.append(decoder.decode(frequencies(stream.p)))
        stream.observe(data[-1])
    return bytes(data) if decoder.n_written + 1 == len(code) else b""


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, "little")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
