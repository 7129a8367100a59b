"""One run of `watch`: every event goes through the watcher to the outputs, and what was done is saved.

`InputNotes` decides when the user is told that reading falls behind, lines cannot be parsed, or time goes back.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ..logs import assembler, follow, output
from ..logs.formats import Event
from ..logs.metrics import Values, write_metrics
from ..logs.output import AlertCommand, OutputFile
from ..logs.source import Lag, Source
from ..ranges import Maybe, Named, Real, Text, Whole, check_values
from ..render import lines
from ..render.escape import counted, terminal_text
from ..render.kinds import ORDERS, kinds_table
from ..render.lines import LinePrinter, SessionPrinter, StatusLine, format_json, format_session_json
from ..system.files import write_atomically
from ..vocabulary import UnknownSymbolError
from ..watch.lines import is_noted
from ..watch.log_clock import MAX_SECONDS
from ..watch.sessions import EndedSession, SessionWatcher
from ..watch.verdicts import Verdict, VerdictFile, Verdicts
from ..watch.watcher import Counts, WatchedLine, Watcher
from .command import note_all

BEHIND_SECONDS = 10.0
"""From this lag on there is a note, and again each time the lag has doubled."""

BACK_SECONDS = 60.0
"""If a time stamp is this much earlier than the one before, there is a note, where time matters."""


class InputNotes:
    """Decides which notes about the input of a run are due: something is noted again when it has doubled.

    source  the input
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lag = self._busy = BEHIND_SECONDS / 2  # when these were noted last
        self._n_invalid = self._n_back = 0

    def lag(self, lag: Lag | None) -> list[str]:
        """That reading is behind or has caught up, and that there is always more to read."""
        notes = []
        if lag is not None and lag.seconds >= 2 * self._lag:
            self._lag = lag.seconds
            notes.append(
                f"behind by about {counted(lag.n_lines, 'line')} ({counted(lag.n_bytes, 'byte')}), {lag.seconds:.0f} s"
            )
        elif lag is not None and lag.seconds < 1 and self._lag >= BEHIND_SECONDS:
            self._lag = BEHIND_SECONDS / 2
            notes.append("caught up with the input")
        busy = self._source.busy_seconds()
        if busy >= 2 * self._busy:
            self._busy = busy
            notes.append(f"there was always more to read for {busy:.0f} s: what writes to the pipe probably waits")
        elif busy < 1:
            self._busy = BEHIND_SECONDS / 2
        return notes

    def invalid(self, is_end: bool = False) -> list[str]:
        """How many lines were not in the format of the input.

        is_end  whether this is the end of the run: then any further line is noted
        """
        n = self._source.n_invalid
        if n <= (self._n_invalid if is_end else 2 * self._n_invalid):
            return []
        self._n_invalid = n
        return [
            f"{counted(n, 'line')} {'was' if n == 1 else 'were'} not in the format of the input, and read as plain text"
        ]

    def time(self, event: Event, before: Event) -> list[str]:
        """That the time stamp of an event is much earlier than that of the event before."""
        if event.seconds is None or before.seconds is None or before.seconds - event.seconds <= BACK_SECONDS:
            return []
        self._n_back += 1
        if not is_noted(self._n_back):
            return []
        count = f"; such lines so far: {self._n_back:,}" if self._n_back > 1 else ""
        return [f"time went back by {before.seconds - event.seconds:,.0f} s, to {event.time}{count}"]


TICK_SECONDS = 1.0
"""How often the lag is measured."""

KINDS_SECONDS = 60.0
"""How often the file of --kinds is written between two saves."""

METRICS_SECONDS = 5.0
"""How often the file of --metrics is written."""

AnyWatcher = Watcher | SessionWatcher

POSITION = {
    "source?": Maybe(Named({**assembler.DESCRIBED, "place": follow.DESCRIBED})),
    "output?": Maybe(output.DESCRIBED),
    "alerts?": Maybe([Text()]),
    "event?": Maybe((Whole(), Text(), Whole(), Whole(), Text())),
    "times?": Maybe(Named(Real(-MAX_SECONDS / 2, MAX_SECONDS / 2))),
}
"""What a run saves with its watcher, beside what the printer describes; see `ranges`."""


@dataclass
class Outputs:
    """Where the records of a run go.

    printer   prints them
    status    the status line
    output    the file that the printer writes to; None for stdout
    alerts    the command that is run for each alarm
    metrics   the file of metrics
    """

    printer: LinePrinter | SessionPrinter
    status: StatusLine
    output: OutputFile | None = None
    alerts: AlertCommand | None = None
    metrics: str | None = None


@dataclass
class WatchRun:
    """Passes the events of a source to a watcher, and its results to the outputs.

    watcher, source, outputs  what it connects
    verdicts, kinds           the files of --verdicts and of --kinds, if there are such

    `values` are the metrics: a new dict every TICK_SECONDS.
    """

    watcher: AnyWatcher
    source: Source
    outputs: Outputs
    verdicts: VerdictFile | None = None
    kinds: Path | None = None
    values: Values = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._before = self.watcher.counts
        self._started = self._ticked = time.monotonic()
        self._written = 0.0
        self._kinds_written = self._started
        self._notes = InputNotes(self.source)
        self._saved = 0.0
        self._saved_state: Any = None
        self._is_amid_event = False
        budget = self.watcher.budget
        self._has_sessions = isinstance(self.watcher, SessionWatcher)
        self._needs_time = self._has_sessions or (budget is not None and budget.seconds is not None)
        self._n_skipped = 0  # lines that the model cannot read
        self._is_dated = False
        self._event = _event_of(part_of(self.watcher.position, "event"))
        times = part_of(self.watcher.position, "times") or {}
        if not times and self._event.seconds is not None:  # what version 1.0 saved
            times = {self._event.path: self._event.seconds}
        self._latest = {path: (seconds, self._started) for path, seconds in times.items()}  # of each source: its last
        # time, and when that came
        self._lag: Lag | None = None
        if self.verdicts is not None:
            self._take_verdicts(self.verdicts, self.verdicts.read())
        self._tick(self._started)

    def take(self, event: Event | None) -> None:
        """Watch an event, and write the records and notes that result; None if there is no event for the moment."""
        now, self._is_amid_event = time.monotonic(), True
        if event is None:
            self._pass_time(now, list(self._latest))
            self._show()
        else:
            seconds = self._seconds(event, now) if self._needs_time else None
            self._event = event
            if isinstance(self.watcher, SessionWatcher):
                if seconds is not None:
                    self._latest[event.path] = seconds, now
                for session in self.watcher.observe(event.text, seconds=seconds, source=event.path):
                    self._write_session(session)
            else:
                line = self.watcher.observe(
                    event.text + "\n", key=event.key, seconds=seconds, source=event.path, time=event.time
                )
                self._write_line(line, event)
        if now - self._ticked >= TICK_SECONDS:
            self._pass_time(now, self.source.read_paths)
            self._tick(now)
        if self.outputs.status.is_due:
            self._show()
        self._is_amid_event = False

    def _pass_time(self, now: float, paths: list[str]) -> None:
        """End the sessions that have been idle for too long, while no line comes from these files."""
        if isinstance(self.watcher, SessionWatcher):
            for path in filter(self._latest.__contains__, paths):
                seconds, when = self._latest[path]
                for session in self.watcher.pass_time(seconds + now - when, source=path):
                    self._write_session(session)

    def _seconds(self, event: Event, now: float) -> float | None:
        """The time of an event; if no event has had a time stamp, that of the clock."""
        self._write_notes(self._notes.time(event, self._event))
        self._is_dated = self._is_dated or event.seconds is not None
        return event.seconds if self._is_dated else now

    def _write_line(self, line: WatchedLine, event: Event) -> None:
        lag = self.source.lag() if line.raised else self._lag
        cast(LinePrinter, self.outputs.printer).write(line, event, lag)
        if line.raised:
            self._raise(format_json(line, event, lag))
        self._write_notes([*line.notes])

    def _write_session(self, session: EndedSession) -> None:
        lag = self.source.lag() if session.raised else self._lag
        cast(SessionPrinter, self.outputs.printer).write(session, self._event, lag)
        if session.raised:
            self._raise(format_session_json(session, self._event, lag))

    def skip(self, error: UnknownSymbolError) -> None:
        """Count a line that the model cannot read, after `take` has raised this; nothing has changed."""
        self._n_skipped += 1
        self._is_amid_event = False
        if is_noted(self._n_skipped):
            self._write_notes([f"a line was not read: {error} (such lines so far: {self._n_skipped:,})"])
        now = time.monotonic()
        if now - self._ticked >= TICK_SECONDS:
            self._tick(now)

    def _raise(self, record: str) -> None:
        """Pass the record of an alarm to the command of --exec, after it was written."""
        self.outputs.printer.flush()
        if self.outputs.alerts is not None:
            self.outputs.alerts(record)

    def _write_notes(self, notes: list[str]) -> None:
        note_all(notes, self.outputs.status)

    def _show(self) -> None:
        """Show the status, after all that was printed so far: it could otherwise be written behind the status."""
        self.outputs.printer.flush()
        self._write_notes(self.source.notes)
        self.outputs.status.show(self.summary())

    def _tick(self, now: float) -> None:
        """Measure the lag, write the notes that are due, and update the metrics."""
        self._lag = self.source.lag()
        self._write_notes(self.source.notes)
        self._write_notes([*self._notes.lag(self._lag), *self._notes.invalid()])
        if self.verdicts is not None:
            self._take_verdicts(self.verdicts, self.verdicts.changed())
        counts, seconds = self.watcher.counts, max(now - self._ticked, 1e-9)
        speed = (counts.characters - self.values.get("characters_total", counts.characters)) / seconds
        self.values = self._measured_values(counts, speed)
        self._ticked = now
        if now - self._kinds_written >= KINDS_SECONDS:
            self.write_kinds()
        if self.outputs.metrics is not None and now - self._written >= METRICS_SECONDS:
            self.write_metrics()

    def _take_verdicts(self, file: VerdictFile, verdicts: list[Verdict] | None) -> None:
        """Let the verdicts of the file be those of the watcher; None if it has none to take."""
        if verdicts is not None and verdicts != self.watcher.verdicts:
            self.watcher.replace_verdicts(verdicts)
        self._write_notes(file.notes)

    def write_kinds(self) -> None:
        """Write the file of --kinds, whole, or log a warning if that fails."""
        self._kinds_written = time.monotonic()
        if self.kinds is None or not isinstance(self.watcher, Watcher) or self.watcher.kinds is None:
            return
        said = Verdicts()
        said.replace(self.watcher.verdicts)
        rows = sorted(self.watcher.kinds, key=ORDERS["newest"])
        format = "jsonl" if self.kinds.suffix == ".jsonl" else "tsv"
        table = kinds_table(rows, format, lambda kind: said.decision(kind, ""))
        try:
            write_atomically(self.kinds, table.encode("utf-8", "surrogateescape"))
        except OSError as error:
            logging.getLogger("streamlstm").warning("%s: %s", self.kinds, error.strerror or error)

    def write_metrics(self) -> None:
        """Write the file of --metrics, or log a warning if that fails."""
        self._written = time.monotonic()
        if self.outputs.metrics is not None:
            try:
                write_metrics(self.outputs.metrics, self._measured_values(self.watcher.counts))
            except OSError as error:
                logging.getLogger("streamlstm").warning("%s: %s", self.outputs.metrics, error.strerror or error)

    def _measured_values(self, counts: Counts, speed: float | None = None) -> Values:
        values: Values = {f"{name}_total": value for name, value in counts._asdict().items()}
        values["alarms_total"] = values.pop("raised_total")
        values |= {"threshold": self.watcher.threshold}
        values["invalid_total"] = self.source.n_invalid + self._n_skipped
        if isinstance(self.watcher, SessionWatcher):
            values |= {"sessions_total": self.watcher.n_sessions, "open_sessions": self.watcher.n_open}
        values["characters_per_second"] = self.values.get("characters_per_second", 0.0) if speed is None else speed
        if self._lag is not None:
            values |= {"lag_bytes": self._lag.n_bytes, "lag_lines": self._lag.n_lines}
            values["lag_seconds"] = self._lag.seconds
        if self.outputs.alerts is not None:
            values |= {"dropped_total": self.outputs.alerts.n_dropped, "failed_total": self.outputs.alerts.n_failed}
        return values | ({"saved_seconds": self._saved} if self._saved else {})

    def finish(self, is_end: bool = True) -> None:
        """Write all records and notes, and wait for the command of --exec, before the state is saved for the last time.

        is_end  whether the open sessions have ended too
        """
        self._is_amid_event = True
        if isinstance(self.watcher, SessionWatcher) and is_end:
            for session in self.watcher.finish():
                self._write_session(session)
        self.outputs.printer.flush()
        self.outputs.status.clear()
        self._write_notes(self.source.notes)
        self._write_notes(self._notes.invalid(is_end=True))
        if self.outputs.alerts is not None:
            self.outputs.alerts.close()
        self._is_amid_event = False

    def summary(self) -> str:
        """The number of lines, of flagged and familiar ones, and of lines per second, since the start."""
        counts = Counts(*(now - before for now, before in zip(self.watcher.counts, self._before, strict=True)))
        parts = [counted(counts.lines, "line"), *self._sessions(), f"{counts.flagged:,} flagged"]
        if counts.flagged != counts.raised:
            parts += [f"{counts.raised:,} raised", f"{counts.repeated:,} of a kind raised before"]
            parts += [f"{counts.held:,} over the budget"] if counts.held else []
        parts += [f"{counts.silenced:,} silenced by a verdict"] if counts.silenced else []
        parts += [f"{counts.familiar:,} familiar"] if counts.familiar else []
        rate = counts.lines / max(time.monotonic() - self._started, 1e-9)
        parts.append(f"{rate:,.0f} lines/s")
        if self._lag is not None and self._lag.seconds >= 1:
            parts.append(f"behind by {counted(self._lag.n_lines, 'line')}, {self._lag.seconds:.0f} s")
        return ", ".join(parts)

    def _sessions(self) -> list[str]:
        """The number of sessions, including those before a restart; nothing if lines are watched."""
        if not isinstance(self.watcher, SessionWatcher):
            return []
        watcher = self.watcher
        open_ones = f" and {watcher.n_open:,} open" if watcher.n_open else ""
        outside = [f"{counted(watcher.n_outside, 'line')} without a session"] if watcher.n_outside else []
        return [f"{counted(watcher.n_sessions, 'session')}{open_ones}", *outside]

    def final_summary(self) -> str:
        """The summary, and the kinds with the most lines that were not raised."""
        what = "sessions like" if self._has_sessions else "lines like"
        kinds = [(terminal_text(kind) or "(no single reason)", n) for kind, n in self.watcher.repeated()]
        rows = [f"{n:>9,} more {what}: {kind}" for kind, n in kinds]
        return "\n".join([self.summary(), *rows])

    @property
    def has_raised(self) -> bool:
        """Whether there was an alarm since the start."""
        return self.watcher.counts.raised > self._before.raised

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all records, and then save the watcher with the position in the input and in the output.

        If a record of the last event could not be written to an output file, nothing is saved. The next run continues
        from the last save, and writes all records since then.
        """
        outputs = self.outputs
        if self._is_amid_event and outputs.output is not None:
            return
        outputs.printer.flush()
        position: dict[str, Any] = {
            "source": self.source.describe(),
            "printer": outputs.printer.describe(),
            "output": outputs.output and outputs.output.describe(),
            "alerts": outputs.alerts.waiting() if outputs.alerts else [],
        }
        if self._has_sessions:
            event = self._event
            position["event"] = [event.number, event.path, event.rotation, event.offset, event.time]
            position["times"] = {path: seconds for path, (seconds, _) in self._latest.items()}
        state = (position, self.watcher.counts, self.watcher.verdicts)
        if state != self._saved_state:  # otherwise nothing has happened
            self.watcher.position = position
            self.watcher.save(path)
            self._saved_state, self._saved = state, time.time()
            self.write_kinds()


def _event_of(described: Any) -> Event:
    """The last event before `save`, without its text; an empty event if there was none."""
    if not described:
        return Event("")
    number, path, rotation, offset, stamp = described
    return Event("", (0, 0), number, path, rotation, offset, None, stamp)


def check_position(watcher: AnyWatcher, path: str | os.PathLike[str]) -> None:
    """Raise ValueError if the position of a watcher from a file is not what `WatchRun.save` saves there."""
    if isinstance(watcher.position, dict):  # any other is that of another program
        printer = {} if isinstance(watcher, SessionWatcher) else lines.DESCRIBED
        shape = {**POSITION, "printer?": Maybe(printer)}
        check_values(watcher.position, shape, f"{path} is not a usable model: its position")


def part_of(position: Any, name: str) -> Any:
    """A part of the position that `save` saved; None if there is none."""
    return position.get(name) if isinstance(position, dict) else None
