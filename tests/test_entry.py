"""Text entry: any sequence of keys leaves the predictor that the remaining text leads to, and nothing else learns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm import Config, StreamPool, StreamPredictor, TextEntry, Vocabulary, complete, top_characters

TINY = Config(hidden=4, layers=1, memory_bits=10)
PHRASE = "the weather is nice today, naïve café. "


def model(learn="all", memory=True):
    predictor = StreamPredictor(config=Config(hidden=4, layers=1, memory_bits=10, memory=memory))
    predictor.observe_many(PHRASE * 20)
    predictor.learn = learn
    return predictor


MODEL = model()

KEYS = st.lists(
    st.text("abé 日", min_size=1, max_size=80) | st.integers(0, 150) | st.sampled_from(["COMMIT", "CLEAR"]),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(KEYS, st.sampled_from([None, "all", "memory", "nothing"]))
def test_after_any_keys_the_reader_has_read_the_text_and_the_source_what_was_committed(keys, learn):
    """With a predictor (None) or a pool whose streams learn something."""
    pool = None if learn is None else StreamPool(MODEL, learn, threads=1)
    source = MODEL.fork() if pool is None else pool
    entry = TextEntry(source) if pool is None else TextEntry(pool, "me")
    twin = MODEL.fork() if pool is None else StreamPool(MODEL, learn, threads=1)
    text = ""
    for key in keys:
        if key == "COMMIT":
            assert entry.commit() == text
            twin.observe_many(text) if pool is None else twin.observe("me", text)
            text = ""
        elif key == "CLEAR":
            entry.clear()
            text = ""
        elif isinstance(key, int):
            assert entry.backspace(key) == (text[-key:] if key else "")
            text = text[:-key] if key else text
        else:
            entry.type(key)
            text += key
        assert entry.text == text
    expected = twin.fork(learning=False) if pool is None else twin.reader("me")
    expected.observe_many(text)
    assert np.array_equal(entry.predictor.predict(), expected.predict())
    if pool is None:
        assert np.array_equal(source.predict(), twin.predict())
    elif "me" in pool:
        assert pool.snapshot("me") == twin.snapshot("me")


@pytest.mark.parametrize("learn", ["all", "memory", "nothing"])
def test_a_reader_of_a_pool_stands_where_its_stream_stands_and_is_independent(learn):
    pool = StreamPool(MODEL, learn, threads=1)
    for n in range(5):
        pool.observe("a", PHRASE[n:])
        pool.observe("b", "zq" * n)
    assert np.array_equal(pool.reader("new").predict(), MODEL.predict())
    assert "new" not in pool
    before = pool.snapshot("a"), pool.snapshot("b")
    reader, other = pool.reader("a"), pool.reader("b")
    assert reader.learn == "nothing"
    assert np.array_equal(reader.predict(), pool.predict("a"))
    bits = reader.observe_many("the weather")
    assert (pool.snapshot("a"), pool.snapshot("b")) == before
    pool.observe("a", "and what follows in the pool" * 30)
    pool.observe("b", "y" * 500)
    assert np.array_equal(pool.restore("c", before[0]) or pool.reader("c").observe_many("the weather"), bits)
    assert not np.array_equal(other.predict(), reader.predict())
    assert complete(reader, 2, prompt=" is ni", length=2)
    assert all(isinstance(character, str) for character, _ in top_characters(reader, 3))


def test_a_long_text_keeps_few_forks_and_is_deleted_in_linear_time(monkeypatch):
    entry = TextEntry(MODEL)
    entry.type("abc " * 250)
    assert len(entry._forks) < 100
    read, observe = [], StreamPredictor.observe_many
    monkeypatch.setattr(StreamPredictor, "observe_many", lambda self, text: read.append(text) or observe(self, text))
    while entry.text:
        entry.backspace()
        assert len(entry._forks) < 160
    assert len("".join(read)) <= 1000
    assert np.array_equal(entry.predictor.predict(), MODEL.fork(learning=False).predict())


def test_a_network_without_a_memory_and_a_vocabulary_of_characters_work_too():
    predictor = StreamPredictor(Vocabulary.from_text("helo "), TINY, "adam")
    entry = TextEntry(predictor)
    with pytest.raises(ValueError, match="vocabulary has no symbol 'x'"):
        entry.type("hex")
    assert entry.text == ""
    entry.type("hell")
    assert entry.accept("o") == "hello"
    assert len(entry.top(3)) == 3
    bare = TextEntry(StreamPool(model(memory=False), "all", threads=1), "k")
    bare.type("the we")
    assert bare.backspace(2) == "we"
    assert bare.commit() == "the "


def test_a_wrong_source_is_refused():
    pool = StreamPool(MODEL, threads=1)
    for arguments, message in (
        ((pool,), "needs the key of a stream"),
        ((MODEL, "key"), "a key is for a StreamPool"),
        ((1000,), "source must be a StreamPredictor or a StreamPool, not 1000"),
    ):
        with pytest.raises(TypeError, match=message):
            TextEntry(*arguments)
    with pytest.raises(TypeError, match="predictor must be a StreamPredictor, the model of all streams, not 1000"):
        StreamPool(1000)
    with pytest.raises(TypeError, match="a key must be str or bytes"):
        pool.reader(7)
    with pytest.raises(TypeError, match="text must be a str, not 7"):
        TextEntry(MODEL).type(7)
    with pytest.raises(TypeError, match="a text to continue is the prompt: prompt='wri'"):
        complete(MODEL, "wri")
    assert repr(pool).startswith("<StreamPool: 0 streams over <StreamPredictor: 256 symbols, 1×4, memory")
