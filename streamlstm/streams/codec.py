"""The stream of a key as bytes: for snapshots, for stores, and for the temporary file of a process."""

from __future__ import annotations

from ..checkpoint import dump_checkpoint, parse_checkpoint
from ..predictor.parked import ParkedStream
from ..predictor.stream_reader import StreamReader


class StreamCodec:
    """Turns streams over one model into bytes and back; see `cache.Codec`.

    reader    a reader of the model
    identity  identifies the model
    """

    def __init__(self, reader: StreamReader, identity: bytes) -> None:
        self._reader, self._identity = reader, identity.hex()

    def nbytes(self, parked: ParkedStream) -> int:
        """How many bytes a stream takes, without the model."""
        return self._reader.nbytes(parked)

    def dump(self, parked: ParkedStream) -> bytes:
        """The bytes of a stream."""
        arrays, values = self._reader.to_arrays(parked)
        return dump_checkpoint(arrays, values | {"model": self._identity}, "crc32")

    def parse(self, content: bytes, name: str) -> ParkedStream:
        """The stream of these bytes, called `name` in errors. Raises ValueError if they are not valid."""
        arrays, values = parse_checkpoint(content, name, "crc32")
        if values.get("model") != self._identity:
            raise ValueError(f"{name} is of another model, or of a pool with other options")
        try:
            return self._reader.from_arrays(arrays, values)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{name} cannot be used: {what}") from None

    def pack(self, parked: ParkedStream) -> bytes:
        """The bytes of a stream, for this process."""
        return self._reader.pack(parked)

    def unpack(self, content: bytes) -> ParkedStream:
        """The stream that `pack` packed."""
        return self._reader.unpack(content)
