"""One run of `watch`: every event goes through the watcher to the outputs, and what was done is saved."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from typing import Any, cast

import typer

from ..logs.alerts import AlertCommand
from ..logs.event import Event
from ..logs.lag import Lag
from ..logs.metrics import Values, write_metrics
from ..logs.output import OutputFile
from ..logs.source import Source
from ..render.escape import terminal_text
from ..render.lines import LinePrinter, StatusLine, format_json
from ..render.session_lines import SessionPrinter, format_session_json
from ..watch.notes import is_power_of_2
from ..watch.sessions import EndedSession, SessionWatcher
from ..watch.watcher import Counts, WatchedLine, Watcher

TICK_SECONDS = 1.0
"""How often the lag is measured."""

METRICS_SECONDS = 5.0
"""How often the file of --metrics is written."""

BACK_SECONDS = 60.0
"""If a time stamp is so much before that of the line before, it is told, where time matters."""

BEHIND_SECONDS = 10.0
"""From this lag on it is told, and again each time it has doubled."""


AnyWatcher = Watcher | SessionWatcher


@dataclass
class Outputs:
    """Where records go.

    printer   prints them
    output    the file that the printer writes to; None for stdout
    alerts    the command that is run for each alarm
    metrics   the file of metrics
    status    the status line
    """

    printer: LinePrinter | SessionPrinter
    status: StatusLine
    output: OutputFile | None = None
    alerts: AlertCommand | None = None
    metrics: str | None = None


@dataclass
class WatchRun:
    """The events of a source, watched.

    watcher, source, outputs  what it connects

    values  the metrics, a new table every TICK_SECONDS
    """

    watcher: AnyWatcher
    source: Source
    outputs: Outputs
    values: Values = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._before = self.watcher.counts
        self._started = self._ticked = time.monotonic()
        self._measured, self._written = self._started, 0.0
        self._told_lag, self._told_busy = BEHIND_SECONDS / 2, BEHIND_SECONDS / 2
        self._n_invalid, self._n_back, self._saved = 0, 0, 0.0
        self._saved_state: Any = None
        budget = self.watcher.budget
        self._has_sessions = isinstance(self.watcher, SessionWatcher)
        self._needs_time = self._has_sessions or (budget is not None and budget.seconds is not None)
        self._is_dated = False
        self._event, self._event_time = _event_of(part_of(self.watcher.position, "event")), self._started
        self._lag: Lag | None = None
        self._tick(self._started)

    def take(self, event: Event | None) -> None:
        """Watch an event and tell what is to be told; None when there is none for the moment."""
        now = time.monotonic()
        if event is None:
            self._pass_time(now)
            self._show()
        else:
            seconds = self._seconds(event, now) if self._needs_time else None
            self._event, self._event_time = event, now
            if isinstance(self.watcher, SessionWatcher):
                for session in self.watcher.observe(event.text, seconds=seconds):
                    self._tell_session(session)
            else:
                self._tell(self.watcher.observe(event.text + "\n", key=event.key, seconds=seconds), event)
        if now - self._ticked >= TICK_SECONDS:
            self._tick(now)
        if self.outputs.status.is_due:
            self._show()

    def _pass_time(self, now: float) -> None:
        """End the sessions that have been idle for too long, while no line comes."""
        seconds = self._event.seconds
        if isinstance(self.watcher, SessionWatcher) and (seconds is not None or not self._is_dated):
            idle = now - self._event_time
            for session in self.watcher.pass_time(now if seconds is None else seconds + idle):
                self._tell_session(session)

    def _seconds(self, event: Event, now: float) -> float | None:
        """The time of an event; if no event has had a time stamp, that of the clock."""
        seconds, before = event.seconds, self._event.seconds
        if seconds is not None and before is not None and before - seconds > BACK_SECONDS:
            self._n_back += 1
            if is_power_of_2(self._n_back):
                count = f"; such lines so far: {self._n_back:,}" if self._n_back > 1 else ""
                self._note(f"time went back by {before - seconds:,.0f} s, to {event.time}{count}")
        self._is_dated = self._is_dated or seconds is not None
        return seconds if self._is_dated else now

    def _tell(self, line: WatchedLine, event: Event) -> None:
        lag = self.source.lag() if line.raised else self._lag
        cast(LinePrinter, self.outputs.printer).write(line, event, lag)
        if line.raised:
            self._raise(format_json(line, event, lag))
        for note in line.notes:
            self._note(note)

    def _tell_session(self, session: EndedSession) -> None:
        lag = self.source.lag() if session.raised else self._lag
        cast(SessionPrinter, self.outputs.printer).write(session, self._event, lag)
        if session.raised:
            self._raise(format_session_json(session, self._event, lag))

    def _raise(self, record: str) -> None:
        """Tell an alarm to the command of --exec, once it is written."""
        self.outputs.printer.flush()
        if self.outputs.alerts is not None:
            self.outputs.alerts(record)

    def _note(self, note: str) -> None:
        self.outputs.status.clear()
        typer.echo(f"streamlstm: {terminal_text(note)}", err=True)

    def _show(self) -> None:
        """Write what is printed so far, else it could later be written behind the status, and show the status."""
        self.outputs.printer.flush()
        self.tell_notes()
        self.outputs.status.show(self.summary())

    def tell_notes(self) -> None:
        """Tell what the source has noticed."""
        for note in self.source.notes:
            self._note(note)
        self.source.notes.clear()

    def _tick(self, now: float) -> None:
        """Measure the lag, and tell it if it is large; renew the metrics."""
        self._lag = self.source.lag()
        self.tell_notes()
        self._tell_lag()
        counts, seconds = self.watcher.counts, max(now - self._ticked, 1e-9)
        speed = (counts.characters - self.values.get("characters_total", counts.characters)) / seconds
        self.values = self._measured_values(counts, speed)
        self._ticked = now
        if self.outputs.metrics is not None and now - self._written >= METRICS_SECONDS:
            self.write_metrics()

    def write_metrics(self) -> None:
        """Write the file of --metrics. A warning tells if that is not possible."""
        self._written = time.monotonic()
        if self.outputs.metrics is not None:
            try:
                write_metrics(self.outputs.metrics, self._measured_values(self.watcher.counts))
            except OSError as error:
                logging.getLogger("streamlstm").warning("%s: %s", self.outputs.metrics, error.strerror or error)

    def _measured_values(self, counts: Counts, speed: float | None = None) -> Values:
        values: Values = {f"{name}_total": value for name, value in counts._asdict().items()}
        values["alarms_total"] = values.pop("raised_total")
        values |= {"invalid_total": self.source.n_invalid, "threshold": self.watcher.threshold}
        if isinstance(self.watcher, SessionWatcher):
            values |= {"sessions_total": self.watcher.n_sessions, "open_sessions": self.watcher.n_open}
        values["characters_per_second"] = self.values.get("characters_per_second", 0.0) if speed is None else speed
        if self._lag is not None:
            values |= {"lag_bytes": self._lag.n_bytes, "lag_lines": self._lag.n_lines}
            values["lag_seconds"] = self._lag.seconds
        if self.outputs.alerts is not None:
            values |= {"dropped_total": self.outputs.alerts.n_dropped, "failed_total": self.outputs.alerts.n_failed}
        return values | ({"saved_seconds": self._saved} if self._saved else {})

    def _tell_lag(self) -> None:
        lag = self._lag
        if lag is not None and lag.seconds >= 2 * self._told_lag:
            self._told_lag = lag.seconds
            self._note(f"behind by about {lag.n_lines:,} lines ({lag.n_bytes:,} bytes), {lag.seconds:.0f} s")
        elif lag is not None and lag.seconds < 1 and self._told_lag >= BEHIND_SECONDS:
            self._told_lag = BEHIND_SECONDS / 2
            self._note("caught up with the input")
        busy = self.source.busy_seconds()
        if busy >= 2 * self._told_busy:
            self._told_busy = busy
            self._note(f"there was always more to read for {busy:.0f} s: what writes to the pipe probably waits")
        elif busy < 1:
            self._told_busy = BEHIND_SECONDS / 2
        if self.source.n_invalid > 2 * self._n_invalid:
            self._tell_invalid()

    def _tell_invalid(self) -> None:
        """Tell how many lines were not in the format of the input."""
        n = self._n_invalid = self.source.n_invalid
        lines = "1 line was" if n == 1 else f"{n:,} lines were"
        self._note(f"{lines} not in the format of the input, and read as plain text")

    def finish(self, is_end: bool = True) -> None:
        """Write and tell everything, and let the command of --exec end, before the state is saved for the last time.

        is_end  whether the open sessions have ended too
        """
        if isinstance(self.watcher, SessionWatcher) and is_end:
            for session in self.watcher.finish():
                self._tell_session(session)
        self.outputs.printer.flush()
        self.outputs.status.clear()
        self.tell_notes()
        if self.source.n_invalid > self._n_invalid:
            self._tell_invalid()
        if self.outputs.alerts is not None:
            self.outputs.alerts.close()

    def summary(self) -> str:
        """The number of lines, of flagged and familiar ones, and of lines per second, since the start."""
        counts = Counts(*(now - before for now, before in zip(self.watcher.counts, self._before, strict=True)))
        parts = [f"{counts.lines:,} lines", *self._sessions(), f"{counts.flagged:,} flagged"]
        if counts.flagged != counts.raised:
            parts += [f"{counts.raised:,} raised", f"{counts.repeated:,} of a kind raised before"]
            parts += [f"{counts.held:,} over the budget"] if counts.held else []
        parts += [f"{counts.familiar:,} familiar"] if counts.familiar else []
        rate = counts.lines / max(time.monotonic() - self._started, 1e-9)
        parts.append(f"{rate:,.0f} lines/s")
        if self._lag is not None and self._lag.seconds >= 1:
            parts.append(f"behind by {self._lag.n_lines:,} lines, {self._lag.seconds:.0f} s")
        return ", ".join(parts)

    def _sessions(self) -> list[str]:
        """The number of sessions, if there are any, before a restart too."""
        if not isinstance(self.watcher, SessionWatcher):
            return []
        watcher = self.watcher
        open_ones = f" and {watcher.n_open:,} open" if watcher.n_open else ""
        outside = [f"{watcher.n_outside:,} lines without a session"] if watcher.n_outside else []
        return [f"{watcher.n_sessions:,} sessions{open_ones}", *outside]

    def final_summary(self) -> str:
        """The summary, and the kinds of which most lines were not raised."""
        what = "sessions like" if self._has_sessions else "lines like"
        kinds = [(terminal_text(kind) or "(no single reason)", n) for kind, n in self.watcher.repeated()]
        rows = [f"{n:>9,} more {what}: {kind}" for kind, n in kinds]
        return "\n".join([self.summary(), *rows])

    @property
    def has_raised(self) -> bool:
        """Whether there was an alarm since the start."""
        return self.watcher.counts.raised > self._before.raised

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the watcher with the position in the input and in the output, once all before it is written."""
        outputs = self.outputs
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
        state = (position, self.watcher.counts)
        if state != self._saved_state:  # else nothing has happened
            self.watcher.position = position
            self.watcher.save(path)
            self._saved_state, self._saved = state, time.time()


def _event_of(described: Any) -> Event:
    """The last event before `save`, without its text; an empty one if there was none."""
    if not described:
        return Event("")
    number, path, rotation, offset, stamp = described
    return Event("", (0, 0), int(number), str(path), int(rotation), int(offset), None, str(stamp))


def part_of(position: Any, name: str) -> Any:
    """A part of the position that `save` saved; None if there is none."""
    return position.get(name) if isinstance(position, dict) else None
