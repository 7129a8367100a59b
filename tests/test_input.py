"""Input as it arrives."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm.tasks.input import BLOCK, Interruptible, blocks, is_live, open_input, text_blocks


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


def test_ctrl_c_at_work_ends_the_blocks_after_this_one():
    with Interruptible() as control:
        parts: Iterator[bytes] = blocks(Pieces([b"one", b"two"]), control)
        assert next(parts) == b"one"
        os.kill(os.getpid(), signal.SIGINT)
        assert control.interrupted
        assert list(parts) == []


def test_a_second_ctrl_c_ends_the_program_and_the_handler_goes_back_to_what_it_was():
    before = signal.getsignal(signal.SIGINT)
    with Interruptible() as control:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert control.interrupted
    assert signal.getsignal(signal.SIGINT) is before
