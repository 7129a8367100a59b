"""Watching lines as they arrive: which of them does not belong here, and where in it the surprise is.

A line's score is its mean surprisal in bits per character, its newline included. Its z is how far that lies above the
median of the recent lines, in robust standard deviations: 1.4826 times their median absolute deviation (MAD), at least
FLOOR, for where nearly all lines are alike the deviation says little. A line of fewer than SHORT characters is weak
evidence, so its z shrinks by that share; and since the mean of few characters varies more than that of many, also by
the root of its share of the mean length, or of LONG where that is less. Lines of a z above the threshold are flagged.

THRESHOLD was chosen on nine public logs (Loghub, 2,000 lines each) of which 1 % of the lines came from another log. Of
the scores after 500 lines 99, 98, 98 % of the strange lines exceed a z of 6, 7, 9, and 2.2, 1.9, 0.3 % of the others:
the first of their kind, and in two logs a kind that comes between others, is flagged, and so is never learned. At 7
one strange line of 135 is missed that 6 would flag; 9 misses no more of these, but they differ more than most that
matter. `demos/log_anomalies.py` measures the whole.

A flagged line is not learned from: it is as if it had never been read. A line can be judged only when it has been
read, and reading it first with frozen weights and then again to learn would cost a third more. So the watcher learns
from each line as it is read, keeps a backup that lags a few lines behind, and after a flagged line goes back to it
and reads the lines since then again, to the same bits. The backup is renewed after as many lines as the root of
their number since the last flagged one, which costs least for lines that come at random; at most FARTHEST. But where
GIVE_IN more lines of late were flagged than passed, this is how the stream is now: then it learns from flagged lines
too, until lines pass again. Otherwise a burst of a new kind of line would never end.
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

from ..checkpoint import check_target, read_checkpoint, write_checkpoint
from ..predictor import StreamPredictor
from ..vocabulary import Tokens
from .baseline import Baseline
from .snapshot import Snapshot
from .units import F64, byte_widths, code_points, readable

THRESHOLD = 7.0
WARMUP = 100
FLOOR = 0.3
SHORT, LONG = 16, 96
LONGEST = 16384
"""Of a longer line so many bytes are read, as many as container runtimes put into one record."""
GIVE_IN = 3
"""So many more flagged lines than others, and flagged lines are learned from."""
FARTHEST = 32
"""After so many lines at most the backup to go back to is renewed."""
MARGIN, SPAN = 2.0, 8.0
"""A span is a stretch whose characters cost MARGIN bits more than usual on average, and more by SPAN bits in all."""


@dataclass(frozen=True)
class Line:
    """A line that was watched.

    text           without its newline; a byte that is no UTF-8 stands as Python's `surrogateescape` writes it
    bits_per_char  the mean surprisal of its characters and its newline
    z              robust standard deviations above the median of the recent lines; 0 for the first
    flagged        whether z exceeds the threshold, after the warm-up
    spans          of a flagged line: where the surprise is, as (start, end) in characters of `text`
    key            of the stream that it belongs to
    notes          what happened besides, for people
    """

    text: str
    bits_per_char: float
    z: float
    flagged: bool
    spans: list[tuple[int, int]]
    key: str
    notes: list[str]


@dataclass
class _Stream:
    """The lines of one key: who reads them, what their scores were; for going back, a backup and the lines since."""

    predictor: StreamPredictor
    baseline: Baseline = field(default_factory=Baseline)
    alarms: int = 0  # how many more were flagged of late than passed
    backup: Snapshot | None = None
    since: list[Tokens] = field(default_factory=list)
    calm: int = 0  # lines since the last that was flagged

    def read(self, tokens: Tokens) -> F64:
        """Observe a line, so that `go_back` can undo it."""
        if self.backup is None:
            self.backup = Snapshot(self.predictor)
        elif len(self.since) >= min(math.sqrt(self.calm), FARTHEST):
            self.backup.update()
            self.since = []
        bits = self.predictor.observe_many(tokens).astype(np.float64)
        self.since.append(tokens)
        self.calm += 1
        return bits

    def go_back(self) -> None:
        """Be as if the last line had not been read."""
        assert self.backup is not None
        self.backup.restore()
        for tokens in self.since[:-1]:
            self.predictor.observe_many(tokens)
        self.backup.update()
        self.since, self.calm = [], 0


class Watcher:
    """Reads a stream line by line, and says of each how strange it is among the recent ones.

    predictor      who reads; the watcher takes it over
    threshold      z above which a line is flagged
    warmup         how many lines of a stream pass before one can be flagged
    key            a regular expression; lines that it finds the same text in (its first group, if it has one) are a
                   stream of their own, read by a fork of the predictor
    max_keys       how many streams are kept; the least recently used is dropped. Each that learns holds two models.
    learn_flagged  learn from flagged lines too

    Raises ValueError for a value out of its range.

    >>> from streamlstm import Config, StreamPredictor
    >>> watcher = Watcher(StreamPredictor(config=Config(hidden=32, layers=1)))
    >>> calm = [watcher.observe(f"job {n % 7} done\\n") for n in range(400)]
    >>> any(line.flagged for line in calm), watcher.observe("KERNEL PANIC at 0xc0ffee\\n").flagged
    (False, True)
    """

    def __init__(
        self,
        predictor: StreamPredictor,
        *,
        threshold: float = THRESHOLD,
        warmup: int = WARMUP,
        key: str | None = None,
        max_keys: int = 8,
        learn_flagged: bool = False,
    ) -> None:
        if not math.isfinite(threshold):
            raise ValueError(f"threshold must be a finite number, not {threshold}")
        if warmup < 0:
            raise ValueError(f"warmup must be at least 0, not {warmup}")
        if max_keys < 1:
            raise ValueError(f"max_keys must be at least 1, not {max_keys}")
        try:
            self._key = None if key is None else re.compile(key)
        except re.error as error:
            raise ValueError(f"{key!r} is no regular expression: {error}") from None
        self._threshold, self._warmup, self._max_keys = threshold, warmup, max_keys
        self._learn_flagged = learn_flagged
        self._root = predictor
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._n_lines, self._n_dropped, self._n_cut = 0, 0, 0

    def observe(self, line: str | bytes) -> Line:
        """Take the next line, with its newline: score it, compare it with the recent ones, learn unless it is flagged.

        Raises ValueError, with nothing changed, for a symbol that the vocabulary does not have.
        """
        notes: list[str] = []
        data = line.encode("utf-8", "surrogateescape") if isinstance(line, str) else line
        is_whole = len(data.removesuffix(b"\n")) <= LONGEST
        text = (data if is_whole else data[:LONGEST]).decode("utf-8", "surrogateescape")
        key, tokens = self._key_of(text), self._root.vocabulary.encode(readable(text, self._root.vocabulary))
        self._n_lines += 1
        if not is_whole:
            self._note_cut(notes)
        stream = self._stream(key, notes)
        if stream.baseline.n_scores < self._warmup or self._learn_flagged:
            bits = stream.predictor.observe_many(tokens).astype(np.float64)
            stream.backup = None
        else:
            bits = stream.read(tokens)
        score = float(bits.sum()) / max(len(text), 1)
        median, z = self._compare(stream, score, len(text))
        flagged = stream.baseline.n_scores >= self._warmup and z > self._threshold
        if flagged and not self._learn_flagged and stream.alarms < GIVE_IN:
            stream.go_back()
        else:
            stream.baseline.add(score, len(text))
        stream.alarms = min(stream.alarms + 1, GIVE_IN) if flagged else max(stream.alarms - 1, 0)
        spans = self._spans(text, bits, median) if flagged else []
        return Line(text.removesuffix("\n"), score, z, flagged, spans, key, notes)

    def _note_cut(self, notes: list[str]) -> None:
        self._n_cut += 1
        if _is_power_of_2(self._n_cut):
            count = f" ({self._n_cut:,} such lines so far)" if self._n_cut > 1 else ""
            notes.append(f"line {self._n_lines:,} has more than {LONGEST:,} bytes; the rest is left out{count}")

    def _key_of(self, text: str) -> str:
        match = self._key.search(text) if self._key else None
        if match is None:
            return ""
        return (match[1] if match.re.groups else match[0]) or ""

    def _stream(self, key: str, notes: list[str]) -> _Stream:
        if key in self._streams:
            self._streams.move_to_end(key)
            return self._streams[key]
        if len(self._streams) == self._max_keys:
            dropped, _ = self._streams.popitem(last=False)
            self._n_dropped += 1
            if _is_power_of_2(self._n_dropped):
                notes.append(
                    f"key {key!r} takes the place of {dropped!r}, the least recently used of {self._max_keys} "
                    f"({self._n_dropped:,} dropped so far)"
                )
        self._streams[key] = _Stream(self._root.fork() if self._key else self._root)
        return self._streams[key]

    @staticmethod
    def _compare(stream: _Stream, score: float, n_chars: int) -> tuple[float, float]:
        """The median of the recent lines, and the z of a score."""
        if not stream.baseline.recent:
            return score, 0.0
        median, mad = stream.baseline.median_and_mad()
        evidence = min(n_chars / SHORT, 1.0) * math.sqrt(min(n_chars / min(stream.baseline.mean_length, LONG), 1.0))
        return median, (score - median) / max(1.4826 * mad, FLOOR) * evidence

    def _spans(self, text: str, bits: F64, median: float) -> list[tuple[int, int]]:
        """Where the surprise of a line is, in characters without the newline."""
        if self._root.vocabulary.characters is None and len(bits) != len(text):
            widths = byte_widths(code_points(text))
            bits = np.add.reduceat(bits, np.cumsum(widths) - widths)
        return surprising_spans(bits[: len(text.removesuffix("\n"))] - median - MARGIN)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that going on needs to one file, atomically. The file is also a model, the one that new keys get.

        Raises OSError where `path` cannot be written.
        """
        check_target(path)
        keyed = self._key is not None
        streams = self._streams if keyed else {}
        plain = self._root if keyed or not self._streams else self._streams[""].predictor
        about = [
            {"key": key, "alarms": s.alarms, "baseline": s.baseline.describe()} for key, s in self._streams.items()
        ]
        arrays, values = plain.to_checkpoint()
        for index, stream in enumerate(streams.values()):
            theirs, about[index]["predictor"] = stream.predictor.to_checkpoint()
            arrays |= {f"stream.{index}.{name}": array for name, array in theirs.items()}
        write_checkpoint(path, arrays, {**values, "watch": {"keyed": keyed, "streams": about}})

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> Watcher:
        """The watcher that `save` wrote, which goes on to the last bit; of any other model a fresh one.

        The options are those of a watcher. Raises OSError and ValueError as `StreamPredictor.load` does.
        """
        watcher = cls(StreamPredictor.load(path), **options)
        watcher.restore(path)
        return watcher

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Take up the streams that `save` wrote, if it did, in a watcher whose predictor is loaded from the file."""
        arrays, values = read_checkpoint(path)
        keyed = self._key is not None
        saved = values.get("watch", {"keyed": keyed, "streams": []})
        if saved["keyed"] and not keyed:
            raise ValueError(f"{path} holds streams by key; give the regular expression for the key again")
        if saved["keyed"] != keyed:
            return
        for index, about in list(enumerate(saved["streams"]))[-self._max_keys :]:
            predictor = self._root
            if keyed:
                prefix = f"stream.{index}."
                theirs = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
                predictor = StreamPredictor.from_checkpoint(theirs, about["predictor"])
                predictor.learning = self._root.learning
            baseline = Baseline(**about["baseline"])
            self._streams[about["key"]] = _Stream(predictor, baseline, about["alarms"])


class LineSplitter:
    """Blocks of bytes cut into lines with their newlines; of a line that a watcher would cut anyway no more is kept."""

    def __init__(self) -> None:
        self._open = bytearray()

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The lines that are complete with this block."""
        start = 0
        while (end := block.find(b"\n", start) + 1) > 0:
            self._keep(block[start:end])
            line = bytes(self._open)
            self._open.clear()
            yield line
            start = end
        self._keep(block[start:])

    def rest(self) -> bytes:
        """The last line, if no newline ends it."""
        return bytes(self._open)

    def _keep(self, part: bytes) -> None:
        self._open += part[: LONGEST + 1 - len(self._open)]


def surprising_spans(excess: F64) -> list[tuple[int, int]]:
    """Stretches (start, end) that sum to at least SPAN: the largest sum first, then what lies left and right of it.

    excess  float64 [n], by how much each character surprises more than is usual

    >>> surprising_spans(np.array([-1.0, 5, 6, -2, 7, -1, -1, 1]))
    [(1, 5)]
    """
    spans: list[tuple[int, int]] = []
    rest = [(0, len(excess))]
    while rest:
        first, last = rest.pop()
        sums = np.concatenate([[0.0], np.cumsum(excess[first:last])])
        gains = sums - np.minimum.accumulate(sums)
        end = int(np.argmax(gains))
        if gains[end] < SPAN:
            continue
        start = end - 1 - int(np.argmin(sums[:end][::-1]))
        spans.append((first + start, first + end))
        rest += [(first, first + start), (first + end, last)]
    return sorted(spans)


def _is_power_of_2(n: int) -> bool:
    return n & (n - 1) == 0
