"""One event of a log: a line, or several lines that belong together."""

from dataclasses import dataclass

from .timestamps import seconds_of


@dataclass(frozen=True)
class Event:
    r"""One event of a log.

    line      what is shown: the message, without a newline at its end. Bytes that are not valid UTF-8 appear as
              Python's `surrogateescape` decodes them.
    cut       the part (start, end) of `line` that is a time stamp, which is not scored; (0, 0) if there is none
    number    the number of its first line in its file, from 1
    path      the file; - for stdin
    rotation  how often the file was replaced or truncated since watching began
    offset    the number of bytes of the file up to the end of the event. Path, rotation and offset identify the event.
    key       the value of the key field; None without such a field
    time      the time stamp as it was found, or in ISO 8601; "" if there is none
    raw       the line as it came; of several lines the first one

    >>> event = Event("12:30:01 started", cut=(0, 9), number=1, path="-", rotation=0, offset=17, time="12:30:01")
    >>> event.text, event.shown_spans([(0, 7)]), event.seconds
    ('started', [(9, 16)], 45001.0)
    """

    line: str
    cut: tuple[int, int] = (0, 0)
    number: int = 0
    path: str = "-"
    rotation: int = 0
    offset: int = 0
    key: str | None = None
    time: str = ""
    raw: bytes = b""

    @property
    def text(self) -> str:
        """What is scored: the message without its time stamp."""
        start, end = self.cut
        return self.line[:start] + self.line[end:] if end else self.line

    @property
    def seconds(self) -> float | None:
        """The time in seconds, since 1970 if the time stamp has a date; None if there is none."""
        return seconds_of(self.time)

    def shown_spans(self, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Parts of `text` as parts of `line`."""
        start, end = self.cut
        shift = end - start
        return [(a + shift * (a >= start), b + shift * (b > start)) for a, b in spans]
