"""The notes of `watch` about its input: that it falls behind, that lines cannot be parsed, or that time goes back."""

from ..logs.event import Event
from ..logs.lag import Lag
from ..logs.source import Source
from ..render.escape import counted
from ..watch.notes import is_noted

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
