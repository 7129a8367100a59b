"""The memory against its twin, and the properties that a predictor with a memory keeps."""

import numpy as np
import pytest
from golden import text
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm import Config, StreamPredictor, Vocabulary
from streamlstm.checkpoint import read_checkpoint, write_checkpoint
from streamlstm.memory import contexts
from streamlstm.memory.memory import EXPERTS, Memory
from streamlstm.reference.memory import ReferenceMemory

SMALL = Config(hidden=16, layers=1, window=8, memory_bits=10)


def network_distribution(predictor):
    """What the network alone expects, with padding."""
    return predictor._state[: predictor._layout.columns].copy()


VARIED = (
    text(1500).decode("utf-8", "ignore")
    + "Name\tAge,\t\"City\"; x: 'y'.\nBob 41 Paris\nAnn 17 Rome\n" * 4  # kinds of symbols, shapes of numbers
    + "ab cd, 1\te " * 30  # a line that has more fields than are told apart
    + "\n"
    + "ab cd, 2\te " * 30  # and one of more columns, below one that lies out of reach
    + "a" * 300  # counts that are halved
)


@pytest.mark.parametrize("bits", [16, 10])
@pytest.mark.parametrize("characters", [None, "".join(sorted(set(VARIED)))])
def test_the_mixture_has_the_bits_of_the_twin(bits, characters):
    symbols = VARIED.encode() if characters is None else VARIED
    vocabulary = Vocabulary(characters)
    predictor = StreamPredictor(vocabulary, Config(hidden=16, layers=1, window=8, memory_bits=bits))
    memory = predictor._memory
    twin = ReferenceMemory(memory._weights, memory._kinds, 2**bits, predictor._layout.columns)
    for token in vocabulary.encode(symbols):
        expected = twin.predict(network_distribution(predictor))[: len(vocabulary)]
        assert np.array_equal(predictor.predict(), expected)
        predictor.observe_many(np.array([token]))
        twin.observe(int(token))
    weights = (twin.theta, twin.A, twin.M, twin.N, twin.H, twin.inverse, twin.B)
    learned = np.concatenate([array.ravel() for array in weights])
    assert np.array_equal(memory._weights, learned)


@pytest.mark.parametrize("characters", [None, "".join(sorted("\n \t,7azAZé.'+"))])
def test_every_kind_of_symbol_is_told_from_the_others(characters):
    kinds = Memory(vocabulary := Vocabulary(characters), 256, 4, trained=True)._kinds
    kind = {symbol: int(kinds[vocabulary.encode(symbol)[0]]) for symbol in "\n \t,7azAZé.'+"}
    assert kind["\n"] == contexts.END_OF_LINE
    assert kind[" "] == kind["\t"] == kind[","] == contexts.GAP
    assert kind["7"] == contexts.DIGIT
    assert kind["."] == kind["'"] == contexts.POINT
    assert kind["+"] == contexts.SIGN
    assert (kind["a"], kind["z"]) == (contexts.LOWER + 16 * ord("a"), contexts.LOWER + 16 * ord("z"))
    assert (kind["A"], kind["Z"]) == (contexts.UPPER + 16 * ord("a"), contexts.UPPER + 16 * ord("z"))
    assert kind["é"] == contexts.HIGH + 16 * (ord("é") if characters else "é".encode()[0])


def test_a_frozen_memory_knows_which_line_a_match_lies_in_and_where_it_ends():
    predictor = StreamPredictor(None, Config(hidden=16, layers=1))
    predictor.observe_many(b"".join(b"line %d of the log says nothing new\n" % n for n in range(40)))
    predictor.learning = False
    state = predictor._memory._state
    for symbol in b"".join(b"line %d of the log says nothing new\n" % n for n in range(30, 50)):
        predictor.observe(symbol)
        if state[contexts.MATCH] >= 0:
            assert state[contexts.MATCH] < state[contexts.LEARNED]
            assert state[contexts.MATCH_BUCKET] >= 2 * 64  # not in a line that was not learned from
    assert state[contexts.LENGTH] > 0


def test_the_table_of_the_twin_overflows_in_the_test_above():
    predictor = StreamPredictor(None, SMALL)
    predictor.observe_many(text(1500))
    assert (predictor._memory._table.reshape(-1, 16)[:, 0] != 0).mean() > 0.8


@settings(max_examples=25)
@given(data=st.binary(max_size=120), cuts=st.lists(st.integers(0, 120), max_size=4), learning=st.booleans())
def test_observing_one_by_one_or_in_any_blocks_gives_the_same_bits(data, cuts, learning):
    one_by_one, in_blocks = StreamPredictor(None, SMALL), StreamPredictor(None, SMALL)
    for predictor in (one_by_one, in_blocks):
        predictor.observe_many(b"abcabc" * 5)
        predictor.learning = learning
    bits = [one_by_one.observe(symbol) for symbol in data]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [in_blocks.observe_many(data[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    assert np.array_equal(np.concatenate(parts), np.array(bits, dtype=np.float32))
    assert np.array_equal(one_by_one.predict(), in_blocks.predict())


@settings(max_examples=25)
@given(data=st.binary(max_size=200))
def test_the_distribution_is_positive_and_sums_to_1(data):
    predictor = StreamPredictor(None, SMALL)
    predictor.observe_many(data)
    p = predictor.predict()
    assert p.min() > 0
    assert abs(p.sum(dtype=np.float64) - 1) < 1e-6


@pytest.mark.parametrize("at", [0, 1, 100, 403])
def test_saving_and_loading_goes_on_as_if_never_stopped(tmp_path, at):
    symbols = text(700)
    whole, first = StreamPredictor(None, SMALL), StreamPredictor(None, SMALL)
    expected = whole.observe_many(symbols)
    first.observe_many(symbols[:at])
    first.save(tmp_path / "m")
    again = StreamPredictor.load(tmp_path / "m")
    assert np.array_equal(again.predict(), first.predict())
    assert np.array_equal(again.observe_many(symbols[at:]), expected[at:])


def test_a_memory_that_has_seen_nothing_is_not_stored_beside_trained_weights(tmp_path):
    fresh = StreamPredictor(None, SMALL)
    trained = StreamPredictor.from_weights(fresh.weights(), fresh.vocabulary, SMALL)
    for predictor, stored in ((fresh, True), (trained, False)):
        predictor.save(tmp_path / "m")
        StreamPredictor.load(tmp_path / "m").save(tmp_path / "m")
        again = StreamPredictor.load(tmp_path / "m")
        assert any(name.startswith("memory.") for name in read_checkpoint(tmp_path / "m")[0]) == stored
        assert np.array_equal(again.observe_many(text(300)), predictor.observe_many(text(300)))
    trained.save(tmp_path / "m")
    assert any(name.startswith("memory.") for name in read_checkpoint(tmp_path / "m")[0])


def test_a_fork_and_its_parent_never_affect_each_other():
    parent, alone = (StreamPredictor(None, SMALL) for _ in range(2))
    for predictor in (parent, alone):
        predictor.observe_many(text(300))
    fork = parent.fork()
    fork.observe_many(b"something else entirely " * 5)
    assert np.array_equal(parent.observe_many(text(200)), alone.observe_many(text(200)))
    frozen = parent.fork()
    frozen.learning = False
    before = frozen._memory._table
    frozen.observe_many(b"nobody counts this")
    assert frozen._memory._table is before is parent._memory._table
    assert np.array_equal(parent.observe_many(text(200)), alone.observe_many(text(200)))


def test_a_frozen_predictor_counts_nothing():
    predictor = StreamPredictor(None, SMALL)
    predictor.observe_many(text(300))
    predictor.learning = False
    before = {name: array.copy() for name, array in predictor._memory.save().items() if name != "memory.state"}
    predictor.observe_many(text(300))
    after = predictor._memory.save()
    assert all(np.array_equal(after[name], array) for name, array in before.items())


def test_what_comes_again_costs_little_with_a_memory_and_much_without():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, 400).astype(np.uint8).tobytes()
    bits = {}
    for memory in (True, False):
        predictor = StreamPredictor(None, Config(hidden=16, layers=1, memory=memory))
        predictor.observe_many(noise)
        bits[memory] = predictor.observe_many(noise).mean()
    assert bits[True] < 2 < 7 < bits[False]


def test_the_memory_does_not_grow():
    predictor = StreamPredictor(None, SMALL)
    sizes = []
    for _ in range(3):
        predictor.observe_many(text(20000))
        sizes.append(sum(array.nbytes for array in vars(predictor._memory).values() if isinstance(array, np.ndarray)))
    assert sizes[0] == sizes[-1] < 2**16 + 8 * 2**20


def test_the_experts_that_are_explained_are_those_that_were_mixed():
    predictor = StreamPredictor(None, SMALL)
    trace = predictor.trace(text(400), explain=True)
    assert trace.experts.shape == (400, len(EXPERTS), 2)
    bits, weights = trace.experts[..., 0], trace.experts[..., 1]
    assert (bits >= -1e-6).all()
    assert (weights[:, -1] != 0).all()  # the network always speaks
    assert bits[0, -1] == pytest.approx(8)
    same = StreamPredictor(None, SMALL)
    assert np.array_equal(same.trace(text(400)).bits, trace.bits)
    with pytest.raises(ValueError, match="memory"):
        StreamPredictor(None, Config(hidden=16, layers=1, memory=False)).trace("a", explain=True)


def test_a_vocabulary_that_is_too_large_for_counts_is_refused():
    vocabulary = Vocabulary("".join(map(chr, range(0xE000, 0xE000 + 65537))))
    with pytest.raises(ValueError, match="65536"):
        StreamPredictor(vocabulary, Config(hidden=16, layers=1))
    assert len(EXPERTS) == contexts.EXPERTS


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "m"
    predictor = StreamPredictor(None, SMALL)
    predictor.observe_many(text(700))
    predictor.save(path)
    return path


PLACES_IN_STATE = {
    "LINE": (-1, 2**40),
    "LINE_BEFORE": (-1, 2**40),
    "MATCH": (-2, contexts.RING),
    "GUESS": (-2, 256),
    "LAST": (-2, 256),
    "LAST_KINDS": (-1, 512),
    **dict.fromkeys(("SEEN", "LEARNED", "LENGTH", "FIELD"), (-1, 2**63 - 1)),
}


@pytest.mark.parametrize(("name", "at", "value"), [
    *[("state", getattr(contexts, place), value) for place, values in PLACES_IN_STATE.items() for value in values],
    *[("history", 3, value) for value in (-1, 256)],
    *[("heads", at, value) for at, value in (((0, 0), -1), ((0, 0), contexts.HEADS), ((1, 0), contexts.RING + 1))],
    *[("words", 3, value) for value in (-1, 0, 65536 + 256, 30000 << 16)],
    ("weights", -1, -300),
    *[("words", 2, value) for value in (-1, 15, 256 << 8 | 1)],
    *[("pages", 0, value) for value in (-1, 1024)],
    ("lengths", 0, 14),
])  # fmt: skip
def test_a_memory_that_points_outside_of_itself_is_refused(saved, tmp_path, name, at, value):
    arrays, values = read_checkpoint(saved)
    bent = arrays[f"memory.{name}"].copy()
    bent[at] = value
    write_checkpoint(tmp_path / "bent", arrays | {f"memory.{name}": bent}, values)
    with pytest.raises(ValueError, match="its memory"):
        StreamPredictor.load(tmp_path / "bent")


@pytest.mark.parametrize("name", ["pages", "words", "lengths", "history", "heads", "weights", "state"])
def test_a_memory_of_other_shapes_or_types_is_refused(saved, tmp_path, name):
    arrays, values = read_checkpoint(saved)
    good = arrays[f"memory.{name}"]
    for bent in (good.astype(np.float64), good[None], *([good[:-1]] if name != "history" else [])):
        write_checkpoint(tmp_path / "bent", arrays | {f"memory.{name}": bent}, values)
        with pytest.raises(ValueError, match="its memory"):
            StreamPredictor.load(tmp_path / "bent")
