"""Watch lines as they arrive: which lines are unusual, and which characters in them are surprising.

A line's score is its mean surprisal in bits per character, its newline included. Its z says how far the score lies
above those of recent lines; see `baseline`. Once the warm-up is over, a line is flagged if its z exceeds the threshold.

THRESHOLD was chosen on nine public logs (Loghub, 2,000 lines each) in which 1 % of the lines were replaced by lines of
another log. After the first 500 lines, z exceeds 6, 7 and 9 for 99, 98 and 98 % of the replaced lines, and for 2.2, 1.9
and 0.3 % of the others. Those others are the first lines of a kind and, in two logs, lines of a kind that appears now
and then and is never learned because it is flagged. Compared with 6, a threshold of 7 misses one more of 135 replaced
lines. 9 misses no more than 7, but replaced lines differ more than most lines that matter. `demos/log_anomalies.py`
measures all this.

The watcher does not learn from a flagged line: its predictions are the same as if the line had never been there. See
`line_reader` for how a line is undone.

If recently BURST_LINES more lines were flagged than were not, the stream has changed: the watcher then learns from
flagged lines too, until lines pass again. Otherwise a burst of a new kind of line would be flagged for ever.

With a key there is a model per key, and the least recently used one is dropped when there are too many. A key that
comes back gets a new model, which gives higher scores until it has learned. So its first lines, as many as the warm-up,
are compared with those that earlier models of the key read at about the same age; the baselines for that are kept.
"""

from __future__ import annotations

import math
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checkpoint import Arrays, check_target, read_checkpoint, write_checkpoint
from ..predictor import StreamPredictor
from .baseline import Baseline, BaselinesByAge
from .line_reader import LineReader
from .units import F64, byte_widths, code_points, readable

THRESHOLD = 7.0
WARMUP = 100
MAX_KEYS = 8

MAX_LINE_BYTES = 16384
"""Longer lines are truncated; container runtimes split their records at the same size."""

MAX_KEY_LENGTH = 256
"""Of a longer key at most this many characters count."""

MAX_DROPPED_KEYS = 5_000
"""The number of keys whose baselines are kept after their model was dropped."""

BURST_LINES = 3
"""If this many more lines were flagged than were not, flagged lines are learned from."""

SPAN_MARGIN, MIN_SPAN_BITS = 2.0, 8.0
"""A span is a run of characters whose surprisals exceed the median score plus SPAN_MARGIN by MIN_SPAN_BITS in all."""


@dataclass(frozen=True)
class WatchedLine:
    """A line that a `Watcher` has observed.

    text           the line without its newline; a byte that is not valid UTF-8 appears as Python's `surrogateescape`
                   decodes it
    bits_per_char  the mean surprisal of its characters, its newline included
    z              robust standard deviations above the median of recent lines; 0 for the first line
    flagged        whether z exceeds the threshold and the warm-up is over
    spans          for a flagged line, its surprising parts as (start, end) in characters of `text`
    key            the key of the line; "" if it has none
    notes          messages for the user, for example that the line was truncated
    """

    text: str
    bits_per_char: float
    z: float
    flagged: bool
    spans: list[tuple[int, int]]
    key: str
    notes: list[str]


@dataclass
class _History:
    """What is kept of a key when its model is dropped.

    early   the scores of the first lines that each of its models read
    excess  recently flagged lines minus lines not flagged, from 0 to BURST_LINES
    """

    early: BaselinesByAge = field(default_factory=BaselinesByAge)
    excess: int = 0

    def describe(self, key: str) -> dict[str, Any]:
        return {"key": key, "alarms": self.excess, "early": self.early.describe()}

    @classmethod
    def from_description(cls, values: dict[str, Any]) -> _History:
        excess = values["alarms"]  # the key of version 0.1
        if excess not in range(BURST_LINES + 1):
            raise ValueError(f"alarms must be from 0 to {BURST_LINES}, not {excess!r}")
        return cls(BaselinesByAge(values.get("early", ())), excess)  # version 0.1 wrote no "early"


@dataclass
class _Stream:
    """The lines of one key: the model that reads them, and their scores."""

    reader: LineReader
    baseline: Baseline = field(default_factory=Baseline)
    history: _History = field(default_factory=_History)

    def reference(self, warmup: int) -> Baseline:
        """The baseline that the next line is compared with."""
        age = self.baseline.n_scores
        early = self.history.early.latest(age, warmup) if age < warmup else None
        return early or self.baseline

    def add_score(self, score: float, length: int, warmup: int) -> None:
        """Add the score of a line to the baselines."""
        age = self.baseline.n_scores
        if age < warmup:
            self.history.early.add(score, length, age)
        self.baseline.add(score, length)


class Watcher:
    """Read a stream line by line, and flag lines that are unusual compared with recent ones.

    predictor      used and modified by the watcher
    threshold      lines with a larger z are flagged
    warmup         lines to read, per key, before any is flagged
    key_regex      keep a separate model per match of this regular expression (per match of its first group, if it has
                   one); each begins as a fork of the predictor. Default: one model for all lines.
    max_keys       the number of models to keep; the least recently used is dropped. Each takes about 90 MB if it
                   learns, with a predictor of the default size.
    learn_flagged  also learn from flagged lines

    Memory is bounded: when a model is dropped, baselines of at most 8 kB are kept, for the last MAX_DROPPED_KEYS keys.
    Raises ValueError for an option that is out of range or not a valid regular expression.

    >>> from streamlstm import Config, StreamPredictor
    >>> watcher = Watcher(StreamPredictor(config=Config(hidden=32, layers=1)))
    >>> usual = [watcher.observe(f"job {n % 7} done\\n") for n in range(400)]
    >>> any(line.flagged for line in usual), watcher.observe("KERNEL PANIC at 0xc0ffee\\n").flagged
    (False, True)
    """

    def __init__(
        self,
        predictor: StreamPredictor,
        *,
        threshold: float = THRESHOLD,
        warmup: int = WARMUP,
        key_regex: str | None = None,
        max_keys: int = MAX_KEYS,
        learn_flagged: bool = False,
    ) -> None:
        if not math.isfinite(threshold):
            raise ValueError(f"threshold must be a finite number, not {threshold}")
        if warmup < 0:
            raise ValueError(f"warmup must be at least 0, not {warmup}")
        if max_keys < 1:
            raise ValueError(f"max_keys must be at least 1, not {max_keys}")
        try:
            self._key_regex = None if key_regex is None else re.compile(key_regex)
        except re.error as error:
            raise ValueError(f"{key_regex!r} is not a valid regular expression: {error}") from None
        self._threshold, self._warmup, self._max_keys = threshold, warmup, max_keys
        self._learn_flagged = learn_flagged
        self._predictor = predictor
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._dropped: OrderedDict[str, _History] = OrderedDict()
        self._n_lines, self._n_flagged, self._n_dropped, self._n_truncated = 0, 0, 0, 0

    def __repr__(self) -> str:
        counts = f"{self._n_lines:,} lines, {self._n_flagged:,} flagged"
        return f"<{type(self).__name__}: {counts}, {len(self._streams)} models of {self._predictor!r}>"

    def observe(self, line: str | bytes | bytearray | memoryview) -> WatchedLine:
        """Score the next line, compare it with recent ones, and learn from it unless it is flagged.

        line  with its newline; only the first MAX_LINE_BYTES bytes of a longer line are read

        Raises ValueError, with nothing changed, for a symbol that the vocabulary does not have.
        """
        notes: list[str] = []
        data = line.encode("utf-8", "surrogateescape") if isinstance(line, str) else bytes(line)
        is_truncated = len(data.removesuffix(b"\n")) > MAX_LINE_BYTES
        text = (data[:MAX_LINE_BYTES] if is_truncated else data).decode("utf-8", "surrogateescape")
        tokens = self._predictor.vocabulary.encode(readable(text, self._predictor.vocabulary))
        self._n_lines += 1
        if is_truncated:
            self._note_truncated(notes)
        key = self._key_of(text)
        stream = self._stream(key, notes)
        baseline = stream.reference(self._warmup)
        is_warm = baseline.n_scores >= self._warmup
        bits = stream.reader.read(tokens, undoable=is_warm and not self._learn_flagged)
        score = float(bits.sum()) / max(len(text), 1)
        median, z = baseline.compare(score, len(text))
        flagged = is_warm and z > self._threshold
        if flagged and not self._learn_flagged and stream.history.excess < BURST_LINES:
            stream.reader.undo()
        else:
            stream.add_score(score, len(text), self._warmup)
        self._count(stream.history, flagged)
        spans = self._spans(text, bits, median) if flagged else []
        return WatchedLine(text.removesuffix("\n"), score, z, flagged, spans, key, notes)

    def _count(self, history: _History, flagged: bool) -> None:
        self._n_flagged += flagged
        history.excess = min(max(history.excess + (1 if flagged else -1), 0), BURST_LINES)

    def _note_truncated(self, notes: list[str]) -> None:
        self._n_truncated += 1
        if _is_power_of_2(self._n_truncated):
            count = f" ({self._n_truncated:,} such lines so far)" if self._n_truncated > 1 else ""
            notes.append(f"line {self._n_lines:,} has more than {MAX_LINE_BYTES:,} bytes and was truncated{count}")

    def _key_of(self, text: str) -> str:
        match = self._key_regex.search(text) if self._key_regex else None
        if match is None:
            return ""
        return ((match[1] if match.re.groups else match[0]) or "")[:MAX_KEY_LENGTH]

    def _stream(self, key: str, notes: list[str]) -> _Stream:
        """The stream of a key; if it is new, the least recently used one may be dropped."""
        if key in self._streams:
            self._streams.move_to_end(key)
            return self._streams[key]
        if len(self._streams) == self._max_keys:
            self._drop_stream(key, notes)
        predictor = self._predictor.fork() if self._key_regex else self._predictor
        stream = self._streams[key] = _Stream(LineReader(predictor), history=self._dropped.pop(key, _History()))
        return stream

    def _drop_stream(self, new_key: str, notes: list[str]) -> None:
        key, stream = self._streams.popitem(last=False)
        self._keep_history(key, stream.history)
        self._n_dropped += 1
        if _is_power_of_2(self._n_dropped):
            notes.append(
                f"dropped the model of key {key!r} to make one for {new_key!r}: max_keys is {self._max_keys} "
                f"({self._n_dropped:,} dropped so far); a new model misses more until it has read enough lines"
            )

    def _keep_history(self, key: str, history: _History) -> None:
        self._dropped[key] = history
        if len(self._dropped) > MAX_DROPPED_KEYS:
            self._dropped.popitem(last=False)

    def _spans(self, text: str, bits: F64, median: float) -> list[tuple[int, int]]:
        """The surprising parts of a line, in characters; its newline is never one of them."""
        if self._predictor.vocabulary.characters is None and len(bits) != len(text):
            widths = byte_widths(code_points(text))
            bits = np.add.reduceat(bits, np.cumsum(widths) - widths)
        return surprising_spans(bits[: len(text.removesuffix("\n"))] - median - SPAN_MARGIN)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to continue to one file, atomically.

        The file is also a model that `StreamPredictor.load` reads: that of all lines or, with keys, that of a new key.
        Raises OSError if `path` cannot be written.
        """
        check_target(path)
        for stream in self._streams.values():
            stream.reader.finish_undo()
        arrays, values = self._predictor.to_checkpoint()
        keyed = self._key_regex is not None
        streams = []
        for index, (key, stream) in enumerate(self._streams.items()):
            streams.append({**stream.history.describe(key), "baseline": stream.baseline.describe()})
            if keyed:
                own, streams[-1]["predictor"] = stream.reader.predictor.to_checkpoint()
                arrays |= {_prefix(index) + name: array for name, array in own.items()}
        dropped = [history.describe(key) for key, history in self._dropped.items()]
        write_checkpoint(path, arrays, {**values, "watch": {"keyed": keyed, "streams": streams, "dropped": dropped}})

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> Watcher:
        """The watcher that `save` wrote, which continues to the last bit; for any other model, a new watcher.

        options  those of `Watcher`, which are not saved

        Raises OSError if the file cannot be read, ValueError with one line if it is not a whole, valid checkpoint or
        has models by key and no `key_regex` is given.
        """
        watcher = cls(StreamPredictor.load(path), **options)
        watcher.restore(path)
        return watcher

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Continue with the streams that `save` wrote to `path`; do nothing if it is any other model.

        The watcher must be new, and its predictor loaded from the same file. Raises OSError and ValueError as `load`
        does, with nothing changed.
        """
        arrays, values = read_checkpoint(path)
        if "watch" not in values:
            return
        try:
            is_match = bool(values["watch"]["keyed"]) == (self._key_regex is not None)
            streams, dropped = self._parsed(values["watch"], arrays) if is_match else ({}, {})
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"{path} is not a usable model: its watched lines are inconsistent: {error!r}") from None
        if not is_match and self._key_regex is None:
            raise ValueError(f"{path} has a model per key; give the regular expression of the key (key_regex) again")
        self._streams.update(streams)
        for key, history in dropped.items():
            self._keep_history(key, history)

    def _parsed(self, saved: dict[str, Any], arrays: Arrays) -> tuple[dict[str, _Stream], dict[str, _History]]:
        """The most recent streams of a checkpoint, and the histories of all other keys."""
        dropped = {str(values["key"]): _History.from_description(values) for values in saved.get("dropped", ())}
        streams: dict[str, _Stream] = {}
        first = max(len(saved["streams"]) - self._max_keys, 0)
        for index, values in enumerate(saved["streams"]):
            key, history = str(values["key"]), _History.from_description(values)
            if index < first:
                dropped[key] = history
                continue
            predictor = self._predictor
            if self._key_regex is not None:
                prefix = _prefix(index)
                own = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
                predictor = StreamPredictor.from_checkpoint(own, values["predictor"])
                predictor.learning = self._predictor.learning
            streams[key] = _Stream(LineReader(predictor), Baseline(**values["baseline"]), history)
        return streams, dropped


class LineSplitter:
    """Split blocks of bytes into lines. Of a line longer than MAX_LINE_BYTES it keeps just enough to tell that.

    >>> splitter = LineSplitter()
    >>> list(splitter.feed(b"one\\ntw")), list(splitter.feed(b"o\\nthr")), splitter.rest()
    ([b'one\\n'], [b'two\\n'], b'thr')
    """

    def __init__(self) -> None:
        self._unfinished = bytearray()

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The lines that end in this block, with their newlines."""
        start = 0
        while (end := block.find(b"\n", start) + 1) > 0:
            self._append(block[start:end])
            line = bytes(self._unfinished)
            self._unfinished.clear()
            yield line
            start = end
        self._append(block[start:])

    def rest(self) -> bytes:
        """What follows the last newline."""
        return bytes(self._unfinished)

    def _append(self, part: bytes) -> None:
        self._unfinished += part[: MAX_LINE_BYTES + 1 - len(self._unfinished)]


def surprising_spans(excess: F64) -> list[tuple[int, int]]:
    """The parts (start, end) of a line that sum to at least MIN_SPAN_BITS.

    excess  float64 [n], the surprisal of each character minus what is usual

    The part with the largest sum is found first, then those to its left and right in the same way.

    >>> surprising_spans(np.array([-1.0, 5, 6, -2, 7, -1, -1, 1]))
    [(1, 5)]
    """
    spans: list[tuple[int, int]] = []
    remaining = [(0, len(excess))]
    while remaining:
        first, last = remaining.pop()
        sums = np.concatenate([[0.0], np.cumsum(excess[first:last])])
        gains = sums - np.minimum.accumulate(sums)
        end = int(np.argmax(gains))
        if gains[end] < MIN_SPAN_BITS:
            continue
        start = end - 1 - int(np.argmin(sums[:end][::-1]))
        spans.append((first + start, first + end))
        remaining += [(first, first + start), (first + end, last)]
    return sorted(spans)


def _prefix(index: int) -> str:
    """What the names of a stream's arrays begin with in a checkpoint."""
    return f"stream.{index}."


def _is_power_of_2(n: int) -> bool:
    return n & (n - 1) == 0
