"""A part of a log by time, whatever its time stamps show: with and without dates, years and zones."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm.logs.window import TimeWindow

FORMATS = {
    "iso": "%Y-%m-%dT%H:%M:%S",
    "space": "%Y-%m-%d %H:%M:%S",
    "access": "%d/%b/%Y:%H:%M:%S",
    "syslog": "%b %d %H:%M:%S",
    "clock": "%H:%M:%S",
}
BEGIN = datetime(2027, 12, 30, 21, 0, 0)


@given(
    format=st.sampled_from(list(FORMATS.values())),
    start=st.integers(0, 5 * 86_400),
    steps=st.lists(st.integers(0, 11 * 3600), min_size=1, max_size=40),
    since=st.none() | st.integers(0, 86_399),
    length=st.none() | st.integers(0, 86_399),
    as_clock=st.booleans(),
)
def test_a_line_is_in_the_window_if_its_time_is(format, start, steps, since, length, as_clock):
    """Over the end of a day and of a year, in logs that show neither."""
    times = [BEGIN + timedelta(seconds=start)]
    for step in steps:
        times.append(times[-1] + timedelta(seconds=step))
    first = times[0] if since is None else times[0] + timedelta(seconds=since)
    last = times[-1] if length is None else first + timedelta(seconds=length)
    shape = "%H:%M:%S" if as_clock else "%Y-%m-%d %H:%M:%S"
    window = TimeWindow("" if since is None else f"{first:{shape}}", "" if length is None else f"{last:{shape}}")
    assert [window.take(f"{time:{format}}") for time in times] == [first <= time <= last for time in times]
    assert window.now is not None


def test_lines_without_a_time_belong_to_the_line_before_and_offsets_are_heeded():
    window = TimeWindow("2026-11-26 22:40+01:00")
    stamps = ["", "2026-11-26T21:39:59Z", "", "2026-11-26T21:40:00Z", "", "2026-11-26T23:39:00+02:00", "1795729200"]
    assert [window.take(stamp) for stamp in stamps] == [False, False, False, True, True, False, True]
    assert TimeWindow().take("") is True
    assert [TimeWindow(until="9:05").take(f"2026-11-26 {time}") for time in ("09:05:00", "09:05:01")] == [True, True]


@pytest.mark.parametrize("text", ["soon", "24:00", "12:60", "2026-13-01", "12:00:61", "1:2", "٠٩:٠٥"])
def test_what_is_not_a_time_is_refused(text):
    with pytest.raises(ValueError, match=r"^until must be a date and time such as .*, not "):
        TimeWindow("", text)
