"""Keyed streams in Kafka, through Quix Streams: how surprising each message is, given the earlier ones with its key.

    sdf = sdf.apply(StreamSurprisal(on="line"), stateful=True)

What a stream has learned lies in the state that Quix Streams keeps for each message key, and in the changelog topic of
that state. Nothing else is kept between messages: after a crash or a rebalance, a stream continues in another process
as if nothing had happened, and a message that is processed again gets the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..kernels.arrays import F32
from ..predictor import Learn, StreamPredictor
from ..streams.pool import MAX_PAGES, StreamPool
from ..text.score import check_choice
from ..watch.lines import Baseline
from .extras import missing_extra
from .records import Record, features, prefixed, text_of

try:
    from quixstreams import State
except ModuleNotFoundError as error:
    raise missing_extra(error, "quix") from None

LEARN = ("memory", "nothing")

STREAM, BASELINE = "streamlstm", "streamlstm.baseline"
"""The keys of the two values in the state of a message key."""


class StreamSurprisal:
    """A function for `sdf.apply(…, stateful=True)`, which adds to each message how surprising it is.

    on         the field that holds the text; None: all fields of the message, or the message is the text itself
    predictor  the model with which each key begins, which does not change; None: the bundled model `small`
    learn      what the streams learn: "memory" (counts; the network stays as it is) or "nothing"
    max_pages  the most pages of 64 bytes in which a stream keeps counts, from 64 to 8192. With 8192 a stream takes up
               to 780 kB in the state; the changelog carries it in one message, of which Kafka's limit is 1 MB

    The values are `bits`, `bits_per_character`, `max_bits` (of the most surprising symbol), and `z`: by how many robust
    standard deviations the bits per character exceed those of recent messages with the same key, as `streamlstm watch`
    measures it. With `on`, the field's name and an underscore come before them. A message that is a text becomes a dict
    with the text as `text`. Raises ValueError for an option out of its range.
    """

    def __init__(
        self,
        on: str | None = None,
        predictor: StreamPredictor | None = None,
        learn: Learn = "memory",
        max_pages: int = MAX_PAGES,
    ) -> None:
        check_choice("learn", learn, LEARN)  # with a network of its own a stream would not fit into a message
        if max_pages > MAX_PAGES:
            raise ValueError(f"max_pages must be at most {MAX_PAGES}, so that a stream fits into a Kafka message")
        model = StreamPredictor.pretrained() if predictor is None else predictor
        self._on, self._pool = on, StreamPool(model, learn, max_pages=max_pages)

    def __call__(self, value: Record, state: State[Any, Any]) -> dict[str, Any]:
        """The message with its surprisal. Raises ValueError for a state that another model has left."""
        text = text_of(value, self._on)
        found = features(self._observed(text, state), len(text))
        baseline = Baseline(**state.get(BASELINE, {}))
        bits = found["bits_per_character"]
        found["z"] = baseline.compare(bits, len(text))[1]
        baseline.add(bits, len(text))
        state.set(BASELINE, baseline.describe())
        return _as_dict(value) | prefixed(found, self._on)

    def _observed(self, text: str, state: State[Any, Any]) -> F32:
        """The surprisals of the text's symbols; the stream lies in the state before and after it."""
        content = state.get_bytes(STREAM)
        if content is not None:
            self._pool.restore(STREAM, content)
        elif STREAM in self._pool:  # it is that of another message key
            self._pool.forget(STREAM)
        bits = self._pool.observe(STREAM, text)
        state.set_bytes(STREAM, self._pool.snapshot(STREAM))
        return bits


def _as_dict(value: Record) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    return {"text": value if isinstance(value, str) else value.decode("utf-8", "replace")}
