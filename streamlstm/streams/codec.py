"""The stream of a key as bytes: for snapshots, for stores, and for the process itself."""

from __future__ import annotations

from ..checkpoint import dump_checkpoint, parse_checkpoint
from ..predictor.lane import Lane
from ..predictor.parked import ParkedStream


class StreamCodec:
    """Turns streams over one model into bytes and back; see `cache.Codec`.

    lane      of the model
    identity  identifies the model
    """

    def __init__(self, lane: Lane, identity: bytes) -> None:
        self._lane, self._identity = lane, identity.hex()

    def nbytes(self, parked: ParkedStream) -> int:
        """How many bytes a stream takes beside the model."""
        return self._lane.nbytes(parked)

    def dump(self, parked: ParkedStream) -> bytes:
        """The bytes of a stream."""
        arrays, values = self._lane.to_arrays(parked)
        return dump_checkpoint(arrays, values | {"model": self._identity}, "crc32")

    def parse(self, content: bytes, name: str) -> ParkedStream:
        """The stream of these bytes, called `name` in errors. Raises ValueError if they are not valid."""
        arrays, values = parse_checkpoint(content, name, "crc32")
        if values.get("model") != self._identity:
            raise ValueError(f"{name} is of another model, or of a pool with other options")
        try:
            return self._lane.from_arrays(arrays, values)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{name} cannot be used: {what}") from None

    def pack(self, parked: ParkedStream) -> bytes:
        """The bytes of a stream, for this process."""
        return self._lane.pack(parked)

    def unpack(self, content: bytes) -> ParkedStream:
        """The stream that `pack` has packed."""
        return self._lane.unpack(content)
