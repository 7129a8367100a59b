"""Input as it arrives."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm import Vocabulary
from streamlstm.system.input import BLOCK, blocks, chunks, is_live, open_input, text_blocks, tokens
from streamlstm.system.process import REPEAT_SECONDS, Interrupted, Interruptible

STOP = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


class Pieces:
    """A source that gives out what was written to it piece by piece, like a pipe."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)

    def read1(self, size: int) -> bytes:
        return next(self._pieces, b"")


@given(st.lists(st.binary(min_size=1, max_size=9)))
def test_any_bytes_in_any_pieces_read_as_text_like_the_whole(pieces):
    assert "".join(text_blocks(Pieces(pieces), Interruptible())) == b"".join(pieces).decode("utf-8", "replace")


@given(st.text(), st.integers(1, 5))
def test_a_character_is_never_split(text, size):
    content = text.encode()
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    assert "".join(text_blocks(Pieces(pieces), Interruptible())) == text


def test_blocks_of_a_file_are_the_file(tmp_path):
    content = bytes(range(256)) * (BLOCK // 100)
    (tmp_path / "file").write_bytes(content)
    with open_input(str(tmp_path / "file")) as source:
        parts = list(blocks(source, Interruptible()))
    assert b"".join(parts) == content
    assert max(map(len, parts)) <= BLOCK


def test_a_pipe_is_live_and_a_file_is_not(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    with open_input(str(tmp_path / "file")) as source:
        assert not is_live(source)
    reading, writing = os.pipe()
    with open(reading, "rb") as source:
        assert is_live(source)
    os.close(writing)


def test_a_folder_is_no_input(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a directory"):
        open_input(str(tmp_path))


def test_chunks_are_the_text_and_end_at_a_signal():
    text = "abcé" * BLOCK
    assert "".join(chunks(text, Interruptible())) == text
    with Interruptible() as control:
        parts = chunks(text, control)
        next(parts)
        os.kill(os.getpid(), signal.SIGINT)
        assert list(parts) == []


def test_an_unknown_symbol_is_named_with_its_position_in_the_whole_stream():
    parts = tokens(["abc", "ab", "axc"], Vocabulary.from_text("abc"))
    assert [len(next(parts)), len(next(parts))] == [3, 2]
    with pytest.raises(ValueError, match=r"'x' \(position 6\)"):
        next(parts)


@pytest.mark.parametrize(("number", "code"), STOP)
def test_a_signal_ends_the_blocks_after_the_one_at_hand(number, code):
    with Interruptible() as control:
        parts: Iterator[bytes] = blocks(Pieces([b"one", b"two"]), control)
        assert next(parts) == b"one"
        assert (control.interrupted, control.exit_code) == (False, 0)
        control.raise_if_interrupted()
        os.kill(os.getpid(), number)
        assert (control.interrupted, control.exit_code) == (True, code)
        assert list(parts) == []
        with pytest.raises(Interrupted) as caught:
            control.raise_if_interrupted()
    assert (caught.value.exit_code, caught.value.at_once) == (code, False)


@pytest.mark.parametrize(("number", "code"), STOP)
def test_a_second_signal_raises_at_once_and_the_handlers_are_restored_afterwards(number, code):
    before = [signal.getsignal(each) for each, _ in STOP]
    with Interruptible() as control:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # `timeout` sends each signal twice
        time.sleep(REPEAT_SECONDS)
        with pytest.raises(KeyboardInterrupt) as caught:
            os.kill(os.getpid(), number)
        assert control.interrupted
    assert (caught.value.exit_code, caught.value.at_once) == (code, True)
    assert [signal.getsignal(each) for each, _ in STOP] == before


def test_the_first_signal_raises_where_that_is_asked_for():
    with Interruptible(raises=True), pytest.raises(Interrupted) as caught:
        os.kill(os.getpid(), signal.SIGTERM)
    assert (caught.value.exit_code, caught.value.at_once) == (143, False)


def test_a_signal_ends_a_read_that_waits():
    reading, writing = os.pipe()
    with Interruptible() as control, open(reading, "rb") as source:
        signal.signal(signal.SIGALRM, lambda number, frame: control.interrupt(signal.SIGTERM))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert control.read(source, 10) == b""
    os.close(writing)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert control.exit_code == 143


@pytest.mark.parametrize("number", [number for number, _ in STOP])
def test_a_signal_that_is_ignored_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Interruptible() as control:
            os.kill(os.getpid(), number)
        assert not control.interrupted
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
