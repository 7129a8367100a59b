"""Watch lines as they arrive: which lines are unusual, and which characters in them are surprising.

Each line is read, judged, and then learned from. A line's score is its mean surprisal in bits per character, including
its newline. Its z is a robust z-score: how far the score lies above those of recent lines; see `lines`. After the
warm-up, a line is flagged if its z exceeds the threshold.

The watcher does not learn from a flagged line: its predictions are the same as if the line had never been there. See
`line_reader` for how a line is undone.

If BURST_LINES more of the recent lines were flagged than were not, the stream has changed: the watcher then learns from
flagged lines too, until lines are no longer flagged. Otherwise a burst of a new kind of line would be flagged for ever.

With keys there is a model per key (`keyed_streams`), and the least recently used one is dropped when there are too
many. A key that comes back gets a new model, which gives higher scores until it has learned. So its first lines, as
many as the warm-up, are compared with the scores that earlier models of the key gave at about the same age. The
baselines for this are kept for all keys, on disk.

A familiar line (`familiar`) is one in which everything was read before. The model neither reads it nor learns from it,
and its score is that of earlier lines like it. It is read in full, however, if it would be flagged although lines like
it were not, or the other way round; and one in a thousand is read in full anyway. Of two lines with the same score, the
one with something new in it is more unusual. So the z of a familiar line, read in full or not, counts less, and that of
any other line is positive. On five training logs in which one token of 1 % of the lines was replaced, this raises the
AUC by up to 0.02.

A reader may say that a kind of line is normal, is to be watched, or is muted (`verdicts`). Lines of a normal kind are
learned from, however unusual they are; the other verdicts only change what is raised.

With a budget of alarms (`budget`), the threshold adapts to the z of recent lines, and each kind of line is raised once
per period: further lines of it are flagged, but not raised. A line that is about to be raised is read in full first.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..checkpoint import read_checkpoint
from ..kernels.arrays import F64
from ..predictor import Learn, StreamPredictor
from ..ranges import Maybe, Whole, check_count, check_number, check_values
from ..streams.pool import MEMORY_BUDGET
from ..system.files import check_target
from ..text.units import byte_widths, code_points, readable
from ..vocabulary import Tokens
from .budget import ALARM, NEW_KIND, SILENT, USUAL, Budget, BudgetKeeper, Judgement, RecentScores
from .exact_bits import exp_of
from .familiar import Familiar
from .keyed_streams import MAX_KEY_LENGTH, KeyedStreams, KeyPattern
from .kinds import Kinds
from .lines import SPAN_MARGIN, Baseline, LineStream, is_noted, surprising_spans
from .log_clock import LogClock, check_source, checked_seconds
from .single_stream import SingleStream
from .templates import kind_of
from .verdicts import Verdict, Verdicts, alarm_id

if TYPE_CHECKING:
    from typing_extensions import Self

THRESHOLD = 7.0
"""The default threshold without a budget.

It was chosen on nine public logs (Loghub, 2,000 lines each) in which 1 % of the lines were replaced by lines of another
log. After the first 500 lines, z exceeds 6, 7 and 9 for 99, 98 and 98 % of the replaced lines, and for 2.2, 1.9 and
0.3 % of the others. Those others are the first lines of a kind and, in two logs, lines of a kind that appears now and
then and is never learned because it is flagged. Compared with 6, a threshold of 7 misses one more of 135 replaced
lines. 9 misses no more than 7, but replaced lines differ more than most lines that matter. `demos/log_anomalies.py`
measures all this.
"""

WARMUP = 100
MAX_KEYS = 10_000

MAX_LINE_BYTES = 16384
"""Longer lines are truncated; container runtimes split their records at the same size."""

FAMILIAR_WEIGHT = 0.25
"""The factor for the positive z of a familiar line that was not flagged; see `_adjusted`."""

RECENT_LINES = 10_000
"""The probability of a score is estimated from at least this many recent lines, once there are that many."""

DESCRIBED = {
    "scores": dict,
    "counts": [Whole()],
    "truncated": Whole(),
    "position": object,
    "budget": Maybe(dict),
    "clock?": dict,
    "verdicts?": object,
    "kinds?": Maybe(dict),
}
"""What `Watcher.save` saves, beside the streams; see `ranges`."""


class Counts(NamedTuple):
    """How many lines a watcher has observed, and how it judged them.

    lines, characters  observed
    flagged            unusual lines
    raised             alarms
    repeated           unusual lines that were not raised because their kind was raised recently
    held               unusual lines that were not raised because the budget was spent
    familiar           lines that were not read in full, because everything in them was read before
    silenced           unusual lines that were not raised because of a verdict
    """

    lines: int = 0
    characters: int = 0
    flagged: int = 0
    raised: int = 0
    repeated: int = 0
    held: int = 0
    familiar: int = 0
    silenced: int = 0


class BaseWatcher:
    """What watchers of lines and of sessions have in common: which of them are unusual, and which of those are raised.

    predictor      used and modified
    threshold      what z must exceed; with a budget the least threshold. Default: THRESHOLD, and 0 with a budget
    warmup         how many are observed before any is flagged
    learn_flagged  whether flagged ones are learned from, too
    alarms         the budget, as a text or a `Budget`; None: all that is unusual is raised

    Raises ValueError for a threshold that is not finite, an impossible warm-up, and what is not a budget.
    """

    def __init__(
        self,
        predictor: StreamPredictor,
        threshold: float | None,
        warmup: int,
        learn_flagged: bool,
        alarms: str | Budget | None,
    ) -> None:
        if threshold is None:
            threshold = THRESHOLD if alarms is None else 0.0
        threshold = check_number("threshold", threshold)
        budget = Budget.parse(alarms) if isinstance(alarms, str) else alarms
        if budget is not None and not isinstance(budget, Budget):
            raise ValueError(f"alarms must be a text such as '5/hour' or '10/10000', or a Budget, not {alarms!r}")
        self._predictor, self._threshold, self._learn_flagged = predictor, threshold, learn_flagged
        self._warmup = check_count("warmup", warmup, 0, floats=True)
        self._clock = LogClock()
        self._other: tuple[str, str] | None = None  # a file that was loaded, and what of it was not
        self._keeper = None if budget is None else BudgetKeeper(budget, floor=threshold)
        self._scores = RecentScores(RECENT_LINES)
        self._verdicts = Verdicts()
        self._counts = Counts()
        self.position: Any = None

    @property
    def budget(self) -> Budget | None:
        """The budget of alarms; None if there is none."""
        return None if self._keeper is None else self._keeper.budget

    @property
    def threshold(self) -> float:
        """What z must exceed to be unusual; with a budget, the value of the moment."""
        return self._threshold if self._keeper is None else self._keeper.threshold

    @property
    def counts(self) -> Counts:
        """The lines observed so far, and how they or their sessions were judged, including those before a restart."""
        return self._counts

    def repeated(self, n: int = 5) -> list[tuple[str, int]]:
        """With a budget, the n kinds of which most were not raised since their last alarm, and how many.

        The kind of a session is its first reason.
        """
        n = check_count("n", n, 0)
        if self._keeper is None:
            return []
        pairs = self._keeper.repeated(n + len(self._verdicts))
        return [pair for pair in pairs if self._verdicts.decision(pair[0], "") not in SILENT][:n]

    @property
    def verdicts(self) -> list[Verdict]:
        """What was said of kinds of lines or sessions, in the order in which it was said; saved with the watcher."""
        return self._verdicts.all()

    def verdict(self, id: str, decision: str | None, *, until: str = "", comment: str = "") -> None:
        """Say of a kind that it is normal, to be watched, or muted, from the next line on.

        id        that of an alarm or, without what follows its dot, for all keys
        decision  "normal": never raise the kind, and learn from it; "watch": always raise it, whatever its z; "mute":
                  do not raise it until a time; None: remove what was said
        until     for "mute", an end in ISO 8601, local time unless it has a time zone, by the clock of the system
        comment   for people, one line

        Raises ValueError, with nothing changed, for what is not a verdict.
        """
        if decision is None:
            self._verdicts.remove(id)
        else:
            self._verdicts.put(Verdict(decision, id, until, comment))

    def replace_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Let these be all verdicts, for example those of a file; of several with one id, the last counts."""
        self._verdicts.replace(verdicts)

    def _judge(self, z: float, kind: str, key: str = "", *, is_warm: bool = True, must: bool = False) -> Judgement:
        """What the threshold or the budget says of the next line or session, and then a reader's verdict.

        must  whether it is to be raised whatever its z, if the budget allows it, because its kind is new
        """
        decision = self._verdicts.decision(kind, key)
        if not is_warm:
            judged = USUAL
        elif self._keeper is None:
            is_unusual = z > self._threshold
            judged = ALARM if is_unusual else NEW_KIND if must else USUAL
        else:
            judged = self._keeper.judge(z, kind, is_silenced=decision in SILENT, is_new=must)
        if not decision:
            return judged
        is_raised = decision == "watch" or (judged.is_raised and decision not in SILENT)
        return judged._replace(is_raised=is_raised, decision=decision)

    def _count(self, judged: Judgement, lines: int = 0, characters: int = 0, familiar: int = 0) -> None:
        """Count what was judged, and lines with their characters."""
        counts, keeper = self._counts, self._keeper
        self._counts = Counts(
            counts.lines + lines,
            counts.characters + characters,
            counts.flagged + judged.is_flagged,
            counts.raised + judged.is_raised,
            0 if keeper is None else keeper.n_repeated,
            0 if keeper is None else keeper.n_held,
            counts.familiar + familiar,
            counts.silenced + judged.is_silenced,
        )

    def _state(self) -> dict[str, Any]:
        """What both kinds of watchers save, as JSON values."""
        return {
            "scores": self._scores.describe(),
            "counts": list(self._counts),
            "position": self.position,
            "budget": self._keeper and self._keeper.describe(),
            "clock": self._clock.describe(),
            "verdicts": self._verdicts.describe(),
        }

    def _restore_state(self, saved: dict[str, Any], clock: LogClock | None) -> None:
        """Continue from what `_state` returned.

        clock  that of the budget; None: neither is to be continued

        Raises ValueError, TypeError or KeyError, with nothing changed, if something is not what was saved.
        """
        verdicts = Verdicts()
        verdicts.restore(saved.get("verdicts", []))
        scores, counts, budget = RecentScores(RECENT_LINES, saved["scores"]), Counts(*saved["counts"]), saved["budget"]
        if clock is not None:
            if self._keeper is not None and budget is not None:
                if "clock" not in saved:  # version 1.0, where the account had the time of a line
                    budget = {**budget, "account": [*budget["account"][:4], clock.now]}
                self._keeper.restore(budget)
            self._clock = clock
        self._scores, self._counts, self.position = scores, counts, saved["position"]
        self._verdicts = verdicts

    def _note_other(self, path: str | os.PathLike[str], what: str) -> None:
        """Take that the file `path` is that of another kind of watcher, of which it has `what`: do not erase that."""
        self._other = os.path.realpath(path), what

    def _check_other(self, path: str | os.PathLike[str]) -> None:
        """Raise ValueError if saving to `path` would erase what another kind of watcher has saved there."""
        if self._other is not None and self._other[0] == os.path.realpath(path):
            raise ValueError(f"{path} has {self._other[1]}, which would be lost; save to another file")


@dataclass(frozen=True)
class WatchedLine:
    """A line that a `Watcher` has observed.

    text           the line without its newline; a byte that is not valid UTF-8 appears as Python's `surrogateescape`
                   decodes it
    bits_per_char  the mean surprisal of its characters, its newline included
    z              robust standard deviations above the median of recent lines, adjusted by what is known of the line
                   unless all lines are read in full; 0 for the first line
    flagged        whether the line is unusual: its z exceeds the threshold, and the warm-up is over
    spans          for a flagged line, its surprising parts as (start, end) in characters of `text`
    key            the key of the line; "" if it has none
    notes          messages for the user, for example that the line was truncated
    raised         whether it is an alarm: it is flagged and, with a budget, the budget allows it
    n_before       for an alarm, how many lines of its kind were flagged but not raised since the last alarm of its kind
    probability    for a flagged line, the fraction of recent lines with a z about as high or higher, itself included
    is_familiar    whether the line was not read in full, because everything in it was read before; it has no spans
    verdict        what a reader has said of lines of this kind and key: "normal", "watch", "mute", or "" for nothing
    reason         why it is flagged: "score"; "new kind", a line of a kind that was never seen, which its z alone would
                   not have flagged; "watched", by a verdict; "" if it is not flagged
    """

    text: str
    bits_per_char: float
    z: float
    flagged: bool
    spans: list[tuple[int, int]]
    key: str
    notes: list[str]
    raised: bool = False
    n_before: int = 0
    probability: float | None = None
    is_familiar: bool = False
    verdict: str = ""
    reason: str = ""

    @property
    def kind(self) -> str:
        """The kind of the line: its text with everything that varies, such as numbers and addresses, as `#`."""
        return kind_of(self.text)

    @property
    def id(self) -> str:
        """The id by which a verdict names the alarms of this kind and key, the same in all runs and versions."""
        return alarm_id(self.kind, self.key)


@dataclass
class _Line:
    """A line on its way through `Watcher.observe`.

    text      with its newline
    tokens    of the text
    key       "" if there is none
    stream    to which the line belongs
    baseline  the scores that it is compared with
    is_warm   whether the warm-up is over
    kind      as that of `WatchedLine`; "" if nothing asks for it
    notes     messages for the user
    is_first  whether it is the first of its kind in the inventory, if there is one

    The rest is what reading it has found:

    bits         the surprisal of each token; none of a line that was not read in full
    score        bits per character
    median, z    the score compared with the baseline
    is_familiar  whether it was not read in full
    is_new       whether its template was never seen, as far as that is known
    """

    text: str
    tokens: Tokens
    key: str
    stream: LineStream
    baseline: Baseline
    is_warm: bool
    kind: str
    notes: list[str]
    bits: F64 | None = None
    score: float = 0.0
    median: float = 0.0
    z: float = 0.0
    is_familiar: bool = False
    is_first: bool = False
    is_new: bool = False


class Watcher(BaseWatcher):
    """Read a stream line by line, and flag lines that are unusual compared with recent ones.

    predictor      used and modified by the watcher
    threshold      lines with a larger z are flagged
    warmup         lines to read, per key, before any is flagged; "auto": at least 100, and until new kinds of lines
                   have become rare, at most 6,400. The budget is not spent before.
    key_regex      keep a separate model per match of this regular expression (per match of its first group, if it has
                   one); each begins as a fork of the predictor. Default: one model for all lines.
    keyed          keep a separate model per key that is passed to `observe`; implied by key_regex
    max_keys       the most models; the least recently used is dropped, and only the baselines of its key are kept
    memory_budget  about how many bytes of models to keep in memory. The others are on disk: in a temporary file or,
                   after the first `save`, beside the file that it writes
    learn          what learns, as the attribute of a predictor; default: what the predictor does, but with keys only
                   the memory: then a key takes kilobytes, not megabytes
    learn_flagged  also learn from flagged lines
    alarms         a budget, for example "5/hour" or "10/10000" (lines): raise about that many lines, those with the
                   largest z, and each kind of line once per period, or more often if there are too few kinds to use the
                   budget. `threshold` is then the least z; if one is given, the budget is only a limit.
    thorough       read every line in full, and let the network learn from all of them; by default familiar lines are
                   not read in full, and after 2,000 lines only the memory learns
    kinds          keep an inventory of the kinds of lines, as the attribute `kinds`
    new_kinds      raise the first line of each kind after the warm-up, whatever its z, if the budget allows it
    new_weight     by what the z of a line whose template was never seen is multiplied before it is judged: 2 flags it
                   at half the threshold. Only without keys, and not with `thorough`.

    `position` is JSON-serialisable, and saved and restored with the watcher: for the caller's position in its input.

    Memory is bounded. The scores of a key's lines do not depend on other keys, or on where its model is kept.
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
        threshold: float | None = None,
        warmup: int | Literal["auto"] = WARMUP,
        key_regex: str | None = None,
        keyed: bool = False,
        max_keys: int = MAX_KEYS,
        memory_budget: int = MEMORY_BUDGET,
        learn: Learn | None = None,
        learn_flagged: bool = False,
        alarms: str | Budget | None = None,
        thorough: bool = False,
        kinds: bool = False,
        new_kinds: bool = False,
        new_weight: float = 1.0,
    ) -> None:
        self._adapts = warmup == "auto"
        super().__init__(predictor, threshold, WARMUP if warmup == "auto" else warmup, learn_flagged, alarms)
        if self._adapts and thorough:
            raise ValueError("warmup='auto' counts the kinds of familiar lines, of which there are none with thorough")
        self._new_weight = check_number("new_weight", new_weight, 0, 100, above=True)
        self._kinds, self._raises_new = Kinds() if kinds or new_kinds else None, new_kinds
        max_keys = check_count("max_keys", max_keys, 1, floats=True)
        memory_budget = check_count("memory_budget", memory_budget, 1, floats=True)
        self._pattern = None if key_regex is None else KeyPattern(key_regex)
        self._vocabulary = predictor.vocabulary
        self._needs_time = self._keeper is not None and self._keeper.budget.seconds is not None
        self._streams: SingleStream | KeyedStreams
        if keyed or key_regex is not None:
            learn = learn or _learn_of_keys(predictor)
            self._streams = KeyedStreams(predictor, learn, max_keys, memory_budget, thorough)
        else:
            predictor.learn = learn or predictor.learn
            self._streams = SingleStream(predictor, thorough)
        self._n_truncated = 0

    def __repr__(self) -> str:
        counts = f"{self._counts.lines:,} lines, {self._counts.flagged:,} flagged"
        return f"<{type(self).__name__}: {counts}, {len(self._streams)} models of {self._predictor!r}>"

    @property
    def kinds(self) -> Kinds | None:
        """The inventory of the kinds of lines; None without one. It is saved, and goes on after `load`."""
        return self._kinds

    def observe(
        self,
        line: str | bytes | bytearray | memoryview,
        *,
        key: str | None = None,
        seconds: float | None = None,
        source: str = "",
        time: str = "",
    ) -> WatchedLine:
        """Score the next line, compare it with recent ones, and learn from it unless it is flagged.

        line     with its newline; only the first MAX_LINE_BYTES bytes of a longer line are read
        key      the key of the line, if the caller knows it; default: what `key_regex` finds
        seconds  the time of the line, for a budget per time, None if it is not known; only differences between lines
                 of a source matter
        source   where the line comes from, such as a file or a host: sources may have different clocks
        time     its time stamp as it is shown, for the inventory of kinds

        Raises, with nothing changed: ValueError if the vocabulary lacks a symbol or `seconds` is not a time, and
        TypeError for a line or a source of another type.
        """
        checked = None if seconds is None else checked_seconds(seconds)
        check_source(source)
        received = self._received(line, key)
        if self._needs_time:
            self._clock.observe(checked, source)
        is_judged = received.is_warm and not (self._adapts and not received.stream.start.is_over)
        if is_judged and self._keeper is not None:
            self._keeper.receive(self._clock.now)
        self._read(received)
        if self._kinds is not None:
            received.is_first = self._kinds.add(
                received.kind, received.text.removesuffix("\n"), received.score, key=received.key, time=time
            )
        must = received.is_first and self._raises_new
        weight = self._new_weight if received.is_new and received.z > 0 else 1.0
        limit = self.threshold if weight > 1 else -math.inf  # what z alone would have to exceed
        judged = self._judge(received.z * weight, received.kind, received.key, is_warm=is_judged, must=must)
        self._learn(received, judged)
        flagged = judged.is_flagged
        spans, probability = self._explained(received) if flagged else ([], None)
        text, score, z = received.text.removesuffix("\n"), received.score, received.z
        reason = "new kind" if judged.reason == "score" and received.z <= limit else judged.reason
        found = flagged, spans, received.key, received.notes, judged.is_raised, judged.n_before, probability
        return WatchedLine(text, score, z, *found, received.is_familiar, judged.decision, reason)

    def _received(self, line: str | bytes | bytearray | memoryview, key: str | None) -> _Line:
        """The line with the stream that it belongs to. Raises ValueError if the vocabulary lacks a symbol."""
        data = line.encode("utf-8", "surrogateescape") if isinstance(line, str) else bytes(memoryview(line))
        notes: list[str] = []
        is_truncated = len(data) > MAX_LINE_BYTES and len(data.removesuffix(b"\n")) > MAX_LINE_BYTES
        data = data[:MAX_LINE_BYTES] if is_truncated else data
        text = data.decode("utf-8", "surrogateescape")
        vocabulary = self._vocabulary  # of bytes: then the bytes are the tokens, whatever they mean
        tokens = vocabulary.encode(data if vocabulary.characters is None else readable(text, vocabulary))
        if is_truncated:
            self._note_truncated(notes)
        if key is None:
            key = "" if self._pattern is None else self._pattern.key_of(text)
        key = key[:MAX_KEY_LENGTH]
        stream = self._streams.get(key if self._streams.keyed else "", notes)
        baseline = stream.reference(self._warmup)
        needs_kind = self._keeper is not None or self._kinds is not None or len(self._verdicts) > 0
        kind = kind_of(text.removesuffix("\n")) if needs_kind else ""
        return _Line(text, tokens, key, stream, baseline, baseline.n_scores >= self._warmup, kind, notes)

    def _read(self, line: _Line) -> None:
        """Find the score of a line and its z: of a familiar one by what is known of it, else by reading it in full."""
        known = line.stream.familiar if line.is_warm else None
        familiar = None if known is None else known.find(line.tokens)
        if familiar is not None:
            line.score = familiar.score
            line.median, z = line.baseline.compare(line.score, len(line.text))
            line.z = _adjusted(z, familiar)
            line.is_familiar = self._can_skip(familiar, line)
        if not line.is_familiar:
            line.bits = self._streams.read(line.tokens, undoable=line.is_warm and not self._learn_flagged)
            line.score = float(line.bits.sum()) / max(len(line.text), 1)
            line.median, z = line.baseline.compare(line.score, len(line.text))
            line.z = z if known is None else _adjusted(z, familiar)
            line.is_new = known is not None and known.has_found_new and not self._streams.keyed

    def _learn(self, line: _Line, judged: Judgement) -> None:
        """Learn from a line, or let the model be as if the line had never been there."""
        stream, length = line.stream, len(line.text)
        is_unusual = judged.is_unusual and judged.decision != "normal"
        is_learned = not is_unusual or self._learn_flagged or stream.history.is_burst
        if is_learned:
            stream.add_score(line.score, length, self._warmup)
        elif not line.is_familiar:
            self._streams.undo()
        is_new = False
        if stream.familiar is not None and not line.is_familiar:
            is_new = stream.familiar.learn(line.tokens, line.score, flagged=not is_learned)
        if self._adapts:
            stream.start.count(is_new)
        stream.history.count(is_unusual)
        self._count(judged, 1, length, line.is_familiar)
        if line.is_warm:
            self._scores.add(line.z)

    def _explained(self, line: _Line) -> tuple[list[tuple[int, int]], float]:
        """The surprising parts of an unusual line, and the fraction of recent lines with a z about as high."""
        spans = [] if line.bits is None else self._spans(line.text, line.bits, line.median)
        return spans, self._scores.count_from(line.z) / max(self._scores.n_lines, 1)

    def _can_skip(self, familiar: Familiar, line: _Line) -> bool:
        """Whether a familiar line need not be read in full.

        A line that would be flagged although lines like it were not is read in full, and so is one that would not be
        flagged although lines like it were: the model may have learned since. With a budget, a line that would be
        raised is read in full; one of a kind that was raised recently is not.
        """
        if familiar.must_reread:
            return False
        is_unusual = line.z > self._threshold and line.z > self.threshold
        keeper = self._keeper
        if is_unusual and keeper is not None:
            if keeper.may_raise(line.kind):
                return False
            if keeper.is_repeated(line.kind):
                return True
        return is_unusual == familiar.was_flagged and not (is_unusual and line.stream.history.is_burst)

    def _note_truncated(self, notes: list[str]) -> None:
        self._n_truncated += 1
        if is_noted(self._n_truncated):
            count = f" ({self._n_truncated:,} such lines so far)" if self._n_truncated > 1 else ""
            notes.append(
                f"line {self._counts.lines + 1:,} has more than {MAX_LINE_BYTES:,} bytes and was truncated{count}"
            )

    def _spans(self, text: str, bits: F64, median: float) -> list[tuple[int, int]]:
        """The surprising parts of a line, in characters; its newline is never one of them."""
        if self._predictor.vocabulary.characters is None and len(bits) != len(text):
            widths = byte_widths(code_points(text))
            bits = np.add.reduceat(bits, np.cumsum(widths) - widths)
        return surprising_spans(bits[: len(text.removesuffix("\n"))] - median - SPAN_MARGIN)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to continue to a file, atomically.

        `StreamPredictor.load` can read the file too: as the model of all lines or, with keys, that of a new key. With
        keys, their models and all else are in a store beside the file, which names the store: keep both together. From
        the first `save` on, no other watcher may save to the file until `close`.
        Raises OSError if `path` cannot be written, or if another process uses its store; ValueError if this was loaded
        from the file of a `SessionWatcher`, whose sessions it would erase there.
        """
        check_target(path)
        self._check_other(path)
        kinds = {} if self._kinds is None else {"kinds": self._kinds.describe()}
        self._streams.save(path, {**self._state(), "truncated": self._n_truncated, **kinds})

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, exclusive: bool = False, **options: Any) -> Watcher:
        """The watcher that `save` wrote, which continues to the last bit; for any other model, a new watcher.

        exclusive  with keys: whether `save` will write to the same file. Then no other watcher may write to it until
                   `close`, and even the first `save` writes only what has changed. Otherwise the keys are copied, and
                   others may use the file meanwhile.
        options    those of `Watcher`, which are not saved

        Raises OSError if the file cannot be read; ValueError if it is not a complete, valid checkpoint, or if it has a
        model per key and no `key_regex` is given.
        """
        watcher = cls(StreamPredictor.load(path), **options)
        watcher.restore(path, exclusive=exclusive)
        return watcher

    def restore(self, path: str | os.PathLike[str], *, exclusive: bool = False) -> None:
        """Continue with the streams that `save` wrote to `path`; do nothing if the file is another kind of model.

        exclusive  as for `load`

        The watcher must be new, and its predictor loaded from the same file. Raises OSError and ValueError as `load`
        does, with nothing changed.
        """
        arrays, values = read_checkpoint(path)
        if "watch" not in values:
            if "sessions" in values:
                self._note_other(path, "the sessions of a SessionWatcher")
            return
        saved, streams = values["watch"], self._streams
        if not streams.keyed and isinstance(saved, dict) and saved.get("keyed"):
            raise ValueError(f"{path} has a model per key; give the regular expression of the key (key_regex) again")
        try:
            is_match = bool(saved["keyed"]) == streams.keyed
            if is_match:
                streams, saved = streams.restored(path, saved, arrays, exclusive=exclusive)
            check_values(saved, DESCRIBED, "the watcher")
            kinds = self._kinds
            if saved.get("kinds") is not None:
                kinds = Kinds()
                kinds.restore(saved["kinds"])
            self._restore_state(saved, _clock_of(saved) if is_match else None)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
            if streams is not self._streams:
                streams.close()
            raise ValueError(f"{path} is not a usable model: its watched lines are inconsistent: {error!r}") from None
        if streams is not self._streams:
            self._streams.close()
        self._streams, self._n_truncated, self._kinds = streams, saved["truncated"], kinds

    def close(self) -> None:
        """Close the store of the keys, if there is one, so that others can use it; what was not saved is lost."""
        self._streams.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _learn_of_keys(predictor: StreamPredictor) -> Learn:
    """What the models of keys learn by default."""
    return "memory" if predictor.learn == "all" and predictor.config.memory else predictor.learn


def _adjusted(z: float, familiar: Familiar | None) -> float:
    """The z of a line by what is known of it, so that lines with something new come before familiar ones.

    A positive z of a familiar line that is usual counts FAMILIAR_WEIGHT. That of any other line is positive: what would
    be below 1 becomes e^(z - 1), which continues z smoothly.
    """
    if familiar is not None and not familiar.was_flagged:
        return z * FAMILIAR_WEIGHT if z > 0 else z
    return z if z >= 1 else exp_of(max(z, -100.0) - 1)


def _clock_of(saved: dict[str, Any]) -> LogClock:
    """The clock that was saved. Raises ValueError, TypeError or KeyError if it is not one."""
    if "clock" in saved:
        return LogClock.from_description(saved["clock"])
    budget = saved["budget"]
    return LogClock.of_version_1_0(None if budget is None else budget["account"][4], 0.0)
