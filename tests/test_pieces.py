"""The pieces that training reads: where documents are cut, and how parallel streams read the pieces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import random_tokens

from streamlstm import Vocabulary
from streamlstm.training.excerpts import REACH, Cutting, Feed, Pieces, sample

BYTES, LETTERS = Vocabulary.bytes(), Vocabulary.from_text("abcdefghij")
PROSE = b"It was late. The lamp, which had\nburned since six, went out! Who was\nthere?\n\n  Nobody answered.\n" * 40
LOG = b"12:00:01 sshd[42]: session opened\n12:00:07 sshd[42]: session closed\n" * 40


def pieces_of(*texts, shortest=20, longest=400, crlf=0.0, seed=0):
    documents = [np.frombuffer(text, dtype=np.uint8) for text in texts]
    return Pieces(documents, BYTES, Cutting(shortest, longest, crlf, seed))


def texts_of(pieces, number=0):
    return [bytes(pieces.tokens(row)[1:].astype(np.uint8)) for row in pieces.epoch(number)]


@given(
    lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=3),
    shortest=st.integers(1, 300),
    longer=st.integers(0, 3000),
    seed=st.integers(0, 9),
)
def test_each_epoch_reads_every_symbol_of_every_document_once(lengths, shortest, longer, seed):
    documents = [random_tokens(n, 10, seed + i) for i, n in enumerate(lengths)]
    pieces = Pieces(documents, LETTERS, Cutting(shortest, shortest + longer, 0.0, seed))
    table = pieces.epoch(seed)
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    for index, document in enumerate(documents):
        rows = table[table[:, 0] == index]
        assert rows[:, 1].tolist() == ([0, *rows[:-1, 2].tolist()] if len(document) else [])
        assert not len(document) or rows[-1, 2] == len(document)
        assert (rows[:, 2] - rows[:, 1] <= shortest + longer + max(REACH, shortest)).all()
        assert (rows[:-1, 2] - rows[:-1, 1] >= shortest).all()


def test_a_piece_begins_with_the_begin_of_stream_symbol_and_a_line_or_a_sentence():
    starts = ("It was", "The lamp", "Who was", "  Nobody")
    for text in texts_of(pieces_of(PROSE)):
        assert text.startswith(tuple(start.encode() for start in starts)), text[:20]
    for text in texts_of(pieces_of(LOG)):
        assert text.startswith(b"12:00:0")
        assert text.endswith(b"\n")
    assert all(pieces_of(LOG).tokens(row)[0] == 256 for row in pieces_of(LOG).epoch(0))


def test_a_text_without_borders_is_cut_at_the_drawn_length():
    lengths = [len(text) for text in texts_of(pieces_of(b"x" * 20_000))]
    assert min(lengths) >= 20
    assert max(lengths) < 420
    assert len(set(lengths)) > 30


def test_every_order_of_magnitude_of_lengths_holds_the_same_share_of_the_text():
    lengths = np.array([len(text) for text in texts_of(pieces_of(b"x" * 2_000_000, shortest=64, longest=4096))])
    shares = [lengths[(lengths >= least) & (lengths < 2 * least)].sum() / 2e6 for least in 64 * 2 ** np.arange(6)]
    assert all(0.12 < share < 0.22 for share in shares), shares


def test_epochs_and_seeds_differ_and_each_can_be_repeated():
    first, again = texts_of(pieces_of(PROSE, LOG)), texts_of(pieces_of(PROSE, LOG))
    assert first == again
    assert first != texts_of(pieces_of(PROSE, LOG), 1)
    assert first != texts_of(pieces_of(PROSE, LOG, seed=1))


def test_a_share_of_the_pieces_gets_crlf_line_ends_but_not_those_of_a_document_that_has_some():
    pieces = pieces_of(LOG * 10, LOG.replace(b"\n", b"\r\n") * 10, crlf=0.5)
    share = pieces.epoch(0)[pieces.epoch(0)[:, 0] == 0, 3].mean()
    assert 0.3 < share < 0.7
    for row in pieces.epoch(0):
        text = bytes(pieces.tokens(row)[1:].astype(np.uint8))
        assert text.count(b"\r\n") == (text.count(b"\n") if row[0] or row[3] else 0)
        assert b"\r\r" not in text
    letters = Pieces([random_tokens(500, 10)], LETTERS, Cutting(20, 40, 1.0, 0))
    assert not letters.epoch(0)[:, 3].any(), "a vocabulary without line feeds"


def test_the_windows_of_a_stream_join_to_whole_pieces_in_order():
    pieces, batch, length = pieces_of(PROSE, LOG), 3, 7
    feed, streams = Feed(pieces, batch), [[] for _ in range(batch)]
    for _ in range(300):
        window = feed.window(length)
        assert window.shape == (length + 1, batch)
        for b in range(batch):
            assert not streams[b] or streams[b][-1] == window[0, b]
            streams[b] += window[bool(streams[b]) :, b].tolist()
    known = {tuple(pieces.tokens(row).tolist()) for number in range(3) for row in pieces.epoch(number)}
    read = []
    for stream in streams:
        begins = [at for at, token in enumerate(stream) if token == 256]
        assert begins[0] == 0
        read += [tuple(stream[a:b]) for a, b in zip(begins[:-1], begins[1:], strict=True)]
    assert set(read) <= known
    assert len(read) > 30


@pytest.mark.parametrize("n_windows", [0, 1, 5, 400])
def test_a_feed_continues_where_it_was_saved(n_windows):
    feed, other = Feed(pieces_of(PROSE), 2), Feed(pieces_of(PROSE), 2)
    for _ in range(n_windows):
        feed.window(9)
    other.restore(*feed.save())
    for _ in range(60):
        assert np.array_equal(feed.window(9), other.window(9))


def test_a_position_that_does_not_fit_is_refused_and_changes_nothing():
    feed, other = Feed(pieces_of(PROSE), 2), Feed(pieces_of(PROSE), 2)
    arrays, numbers = feed.save()
    with pytest.raises(ValueError, match="position in the training text"):
        feed.restore(arrays, numbers | {"next": 10**6})
    with pytest.raises(KeyError):
        feed.restore({}, numbers)
    assert np.array_equal(feed.window(9), other.window(9))


def test_a_sample_ends_after_the_wanted_number_of_symbols_or_after_two_readings_of_the_documents():
    documents = [np.frombuffer(PROSE * 5, dtype=np.uint8), np.frombuffer(LOG * 5, dtype=np.uint8)]
    n = sum(map(len, documents))
    short, whole = (list(sample(documents, BYTES, size, seed=3)) for size in (n // 2, 10 * n))
    assert n // 2 <= sum(map(len, short)) < n // 2 + len(short[-1])
    assert all(np.array_equal(a, b) for a, b in zip(short, whole[: len(short)], strict=True))
    assert sum(map(len, whole)) == 2 * n
    assert max(token for tokens in whole for token in tokens.tolist()) < 256
