"""The memory against its twin, and the properties that a predictor with a memory keeps."""

from dataclasses import replace

import numpy as np
import pytest
from golden import text
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import random_predictor, random_tokens

from streamlstm import Config, StreamPredictor, Vocabulary
from streamlstm.checkpoint import read_checkpoint, write_checkpoint
from streamlstm.memory import layout
from streamlstm.memory import text as contexts
from streamlstm.memory.memory import EXPERTS
from streamlstm.memory.saved import INCONSISTENT, OTHER_SHAPE, OTHER_TYPES, OUT_OF_RANGE
from streamlstm.memory.text import CURLY, ELEMENT, QUOTE, ROUND, SQUARE, TAG, classify
from streamlstm.model import Layout
from streamlstm.reference.memory import ReferenceMemory

SMALL = Config(hidden=16, layers=1, window=8, memory_bits=10)


def columns_of(predictor):
    """The padded length of a distribution."""
    return Layout(predictor.config, len(predictor.vocabulary)).columns


def network_distribution(predictor):
    """The distribution of the network alone, with padding."""
    return predictor._stream._parts.tape.state[: columns_of(predictor)].copy()


def arrays_of(predictor):
    """The live arrays of the predictor's memory."""
    return predictor._stream._parts.memory._arrays


def saved_memory(predictor):
    """What a checkpoint contains of the memory, copied."""
    arrays, _ = predictor.to_checkpoint()
    return {name.removeprefix("memory."): array.copy() for name, array in arrays.items() if name.startswith("memory.")}


VARIED = (
    text(1500).decode("utf-8", "ignore")
    + "Name\tAge,\t\"City\"; x: 'y'.\nBob 41 Paris\nAnn 17 Rome\n" * 4  # character classes, shapes of numbers
    + "ab cd, 1\te " * 30  # a line with more fields than are distinguished
    + "\n"
    + '<a><b class="x">{f(x[1], "y)z")}</b> 1 < 2 <c1/></a>) <p>\n' * 3  # brackets, quotes, tags and elements
    + "((([" * 6  # more open brackets than are known
    + "]))" * 9
    + "ab cd, 2\te " * 30  # a line with more columns, so long that the line above is out of reach
    + "a" * 300  # counts that reach the limit and are halved
)


@pytest.mark.parametrize(
    ("characters", "bits"),
    [
        (None, 10),
        ("".join(sorted(set(VARIED))), 10),
        *(pytest.param(each, 16, marks=pytest.mark.slow) for each in (None, "".join(sorted(set(VARIED))))),
    ],
)
def test_the_mixture_has_the_bits_of_the_twin(characters, bits):
    symbols = VARIED.encode() if characters is None else VARIED
    vocabulary = Vocabulary(characters)
    predictor = StreamPredictor(vocabulary, Config(hidden=16, layers=1, window=8, memory_bits=bits))
    weights, columns = saved_memory(predictor)["weights"], columns_of(predictor)
    twin = ReferenceMemory(weights, characters, 2**bits, columns)
    for token in vocabulary.encode(symbols):
        expected = twin.predict(network_distribution(predictor))[: len(vocabulary)]
        assert np.array_equal(predictor.predict(), expected)
        predictor.observe_many(np.array([token]))
        twin.observe(int(token))
    assert np.array_equal(saved_memory(predictor)["weights"], twin.weights())


@pytest.mark.parametrize("characters", [None, "".join(sorted("\n \t,7azAZé.'+"))])
def test_each_character_has_its_class(characters):
    classes = classify(vocabulary := Vocabulary(characters)) % (16 * contexts.LETTERS)
    char_class = {symbol: int(classes[vocabulary.encode(symbol)[0]]) for symbol in "\n \t,7azAZé.'+"}
    assert char_class["\n"] == contexts.NEWLINE
    assert char_class[" "] == char_class["\t"] == char_class[","] == contexts.SEPARATOR
    assert char_class["7"] == contexts.DIGIT
    assert char_class["."] == char_class["'"] == contexts.PUNCTUATION
    assert char_class["+"] == contexts.OTHER
    assert (char_class["a"], char_class["z"]) == (contexts.LOWER + 16 * ord("a"), contexts.LOWER + 16 * ord("z"))
    assert (char_class["A"], char_class["Z"]) == (contexts.UPPER + 16 * ord("a"), contexts.UPPER + 16 * ord("z"))
    assert char_class["é"] == contexts.NON_ASCII + 16 * (ord("é") if characters else "é".encode()[0])


def test_a_match_of_a_frozen_memory_is_further_back_than_the_previous_line_and_ends_where_learning_ended():
    predictor = StreamPredictor(None, Config(hidden=16, layers=1))
    predictor.observe_many(b"".join(b"line %d of the log says nothing new\n" % n for n in range(40)))
    predictor.learning = False
    predictor.observe_many(b"the line before this one was learned from\n")
    state = arrays_of(predictor).state
    for symbol in b"".join(b"line %d of the log says nothing new\n" % n for n in range(30, 50)):
        predictor.observe(symbol)
        for m in range(layout.N_MATCHES):
            if state[layout.MATCH + m] >= 0:
                assert state[layout.MATCH + m] < state[layout.N_LEARNED]
                kind = state[layout.MATCH_BUCKET + m] // layout.MATCH_BUCKETS
                assert kind == m * layout.MATCH_DISTANCES + 2  # not in a line that was not learned from
    assert state[layout.MATCH_LENGTH] > 0


def open_brackets(text):
    """What is open at the end of a text, from the outermost on."""
    predictor = StreamPredictor(None, SMALL)
    predictor.observe_many(text)
    state = arrays_of(predictor).state
    return [int(state[layout.OPEN + 2 * (d + 1)]) for d in range(state[layout.DEPTH])]


@pytest.mark.parametrize(("text", "expected"), [
    ('f(a[{"x": "y', [ROUND, SQUARE, CURLY, QUOTE]),
    ('f(a[{"x": "y"', [ROUND, SQUARE, CURLY]),
    ("f(a[1]) {", [CURLY]),
    ("f(a[1) {", [CURLY]),  # closes what is open inside
    ("f) {", [CURLY]),
    ('a "quote that does not end\n(', [ROUND]),
    ("if a < b (", [ROUND]),
    ("<a><b><c", [TAG]),  # no closing tag was seen: "<" and ">" may mean anything
    ("</x><a><b/><c", [ELEMENT, TAG]),
    ("</x><a><b>x</b><c>x</a><d", [TAG]),
    ('</x><a href="b', [TAG, QUOTE]),
])  # fmt: skip
def test_what_is_open_is_known(text, expected):
    assert open_brackets(text) == expected


def test_a_bracket_belongs_to_the_word_before_it_and_a_tag_to_the_element_around_it():
    def innermost(text):
        predictor = StreamPredictor(None, SMALL)
        predictor.observe_many(text)
        state = arrays_of(predictor).state
        return state[layout.OPEN + 2 * state[layout.DEPTH]], state[layout.OPEN + 2 * state[layout.DEPTH] + 1]

    assert innermost("one (") == innermost("two {\n} one: (") != innermost("two (")
    assert innermost("</x><item><name>x</name>y</") == innermost("</x><item></") != innermost("</x><name></")


def test_a_match_is_not_lost_where_a_few_symbols_differ():
    rng = np.random.default_rng(0)
    record = rng.integers(0, 4, 3000)
    copy = record.copy()
    changed = 10 + 100 * np.arange(30)
    copy[changed] = (copy[changed] + rng.integers(1, 4, 30)) % 4
    predictor = StreamPredictor(Vocabulary("ACGT"), Config(hidden=16, layers=1))
    predictor.observe_many(record)
    bits = predictor.observe_many(copy)
    assert bits[300:].mean() < 0.5
    assert bits[changed[10:] + 1].mean() < 1  # what follows a changed symbol


@pytest.mark.parametrize("n_symbols", [4, 256, 300])
def test_the_ring_is_overwritten_from_its_beginning(n_symbols):
    vocabulary = Vocabulary("".join(map(chr, range(0x100, 0x100 + n_symbols))))
    predictor = StreamPredictor(vocabulary, Config(hidden=16, layers=1, memory_bits=10))
    tokens = np.random.default_rng(0).integers(0, n_symbols, 5000).astype(np.int32)
    predictor.observe_many(tokens)
    per_word = 4 if n_symbols <= 256 else 2
    words = saved_memory(predictor)["history"]
    assert len(words) == 4096 // per_word
    width = 32 // per_word
    ring = ((words[:, None].astype(np.int64) >> np.arange(0, 32, width)) % 2**width).ravel()
    assert np.array_equal(ring, np.concatenate([tokens[4096:], tokens[5000 - 4096 : 4096]]))


def test_the_table_of_the_twin_overflows_in_the_test_above():
    predictor = StreamPredictor(None, SMALL)
    predictor.observe_many(text(1500))
    assert len(saved_memory(predictor)["pages"]) > 0.8 * 2**10


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


def learned_mixture():
    """A predictor whose mixture begins with learned weights."""
    predictor = random_predictor(SMALL, Vocabulary.bytes(), memory=True)
    assert predictor.learn_mixture([text(300), text(900), text(60)]) == 1260
    return predictor


def test_a_frozen_predictor_with_an_empty_memory_has_the_bits_of_the_network_alone():
    for predictor in (random_predictor(SMALL, memory=True), learned_mixture()):
        config = replace(predictor.config, memory=False)
        alone = StreamPredictor.from_weights(predictor.weights(), predictor.vocabulary, config)
        predictor.learning = alone.learning = False
        tokens = random_tokens(300, 10)
        assert np.array_equal(predictor.observe_many(tokens), alone.observe_many(tokens))
        assert np.array_equal(predictor.predict(), alone.predict())


def test_learned_first_weights_make_the_beginnings_of_texts_cheaper_and_leave_the_rest_as_it_was():
    default, learned = random_predictor(SMALL, Vocabulary.bytes(), memory=True), learned_mixture()
    assert np.array_equal(learned.predict(), default.predict())
    assert learned.n_symbols == 0
    assert all(np.array_equal(array, default.weights()[name]) for name, array in learned.weights().items())
    assert learned.observe_many(text(300)).mean() < 0.9 * default.observe_many(text(300)).mean()


def test_only_the_first_weights_of_a_memory_that_has_seen_nothing_are_stored(tmp_path):
    predictor = learned_mixture()
    predictor.save(tmp_path / "m")
    names = [name for name in read_checkpoint(tmp_path / "m")[0] if name.startswith("memory.")]
    assert names == ["memory.weights"]
    again = StreamPredictor.load(tmp_path / "m")
    again.save(tmp_path / "again")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "again").read_bytes()
    assert np.array_equal(again.observe_many(text(300)), predictor.observe_many(text(300)))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda weights: weights.astype(np.float64), OTHER_TYPES),
        (lambda weights: weights[:-1], OTHER_SHAPE),
        (lambda weights: weights - 300, OUT_OF_RANGE),
    ],
)
def test_first_weights_that_do_not_fit_are_refused(tmp_path, change, error):
    learned_mixture().save(tmp_path / "m")
    arrays, values = read_checkpoint(tmp_path / "m")
    write_checkpoint(tmp_path / "m", arrays | {"memory.weights": change(arrays["memory.weights"])}, values)
    with pytest.raises(ValueError, match=error):
        StreamPredictor.load(tmp_path / "m")


def test_a_predictor_that_has_observed_something_or_has_no_memory_cannot_learn_the_mixture():
    used = StreamPredictor(None, SMALL)
    used.observe("a")
    for predictor in (used, StreamPredictor(None, replace(SMALL, memory=False))):
        with pytest.raises(ValueError, match="has not observed any symbols"):
            predictor.learn_mixture(["abc"])


def test_a_fork_and_its_parent_never_affect_each_other():
    parent, alone = (StreamPredictor(None, SMALL) for _ in range(2))
    for predictor in (parent, alone):
        predictor.observe_many(text(300))
    fork = parent.fork()
    fork.observe_many(b"something else entirely " * 5)
    assert np.array_equal(parent.observe_many(text(200)), alone.observe_many(text(200)))
    frozen = parent.fork()
    frozen.learning = False
    before = arrays_of(frozen).table
    frozen.observe_many(b"nobody counts this")
    assert arrays_of(frozen).table is before is arrays_of(parent).table
    assert np.array_equal(parent.observe_many(text(200)), alone.observe_many(text(200)))


def test_a_frozen_predictor_counts_nothing():
    predictor = StreamPredictor(None, SMALL)
    predictor.observe_many(text(300))
    predictor.learning = False
    before = saved_memory(predictor)
    predictor.observe_many(text(300))
    after = saved_memory(predictor)
    assert all(np.array_equal(after[name], array) for name, array in before.items() if name != "state")
    assert not np.array_equal(after["state"], before["state"])


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
        sizes.append(sum(array.nbytes for array in arrays_of(predictor)))
    assert sizes[0] == sizes[-1] < 2**16 + 2**18


def test_a_trace_explains_each_expert_and_changes_no_bits():
    predictor = StreamPredictor(None, SMALL)
    trace = predictor.trace(text(400), explain=True)
    assert trace.experts.shape == (400, len(EXPERTS), 2)
    bits, weights = trace.experts[..., 0], trace.experts[..., 1]
    assert (bits >= -1e-6).all()
    assert (weights[:, -1] != 0).all()  # the network always has a prediction
    assert bits[0, -1] == pytest.approx(8)
    same = StreamPredictor(None, SMALL)
    assert np.array_equal(same.trace(text(400)).bits, trace.bits)
    with pytest.raises(ValueError, match="memory"):
        StreamPredictor(None, Config(hidden=16, layers=1, memory=False)).trace("a", explain=True)


def test_a_vocabulary_that_is_too_large_for_counts_is_refused():
    vocabulary = Vocabulary("".join(map(chr, range(0xE000, 0xE000 + 65537))))
    with pytest.raises(ValueError, match="65536"):
        StreamPredictor(vocabulary, Config(hidden=16, layers=1))
    assert len(EXPERTS) == layout.N_EXPERTS


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "m"
    predictor = StreamPredictor(None, SMALL)
    predictor.observe_many(text(700))
    predictor.save(path)
    return path


INVALID_STATES = {
    "LINE_START": (-1, 2**40),
    "PREVIOUS_LINE_START": (-1, 2**40),
    "MATCH": (-2, 4 * 2**10),
    "MATCH_MISSES": (-1, 2**16),
    "MATCH_RECOVERIES": (-1, 2**63 - 1),
    "DEPTH": (-1, 2**63 - 1),
    "OPEN": (-1, layout.N_BRACKETS),
    "MATCH_TOKEN": (-2, 256),
    "RECENT": (-2, 256),
    "CLASS_HISTORY": (-1, 512),
    "SURPRISALS": (-1, 256),
    **dict.fromkeys(("N_SEEN", "N_LEARNED", "MATCH_LENGTH", "FIELD"), (-1, 2**63 - 1)),
}


@pytest.mark.parametrize(("name", "at", "value"), [
    *[("state", getattr(layout, name), value) for name, values in INVALID_STATES.items() for value in values],
    *[("heads", at, value) for at, value in (((0, 0), -1), ((0, 0), 2**10), ((1, 0), 4 * 2**10 + 1))],
    *[("words", 3, value) for value in (-1, 0, 65536 + 256, 30000 << 16)],
    ("weights", -1, -300),
    *[("words", 2, value) for value in (-1, 15, 256 << 8 | 1)],
    *[("pages", 0, value) for value in (-1, 1024)],
    ("lengths", 0, 14),
])  # fmt: skip
def test_a_memory_with_an_out_of_range_number_is_refused(saved, tmp_path, name, at, value):
    arrays, values = read_checkpoint(saved)
    changed = arrays[f"memory.{name}"].copy()
    changed[at] = value
    write_checkpoint(tmp_path / "changed", arrays | {f"memory.{name}": changed}, values)
    with pytest.raises(ValueError, match=f"{OUT_OF_RANGE}|{INCONSISTENT}"):
        StreamPredictor.load(tmp_path / "changed")


def test_a_history_with_an_unknown_symbol_is_refused(tmp_path):
    predictor = StreamPredictor(Vocabulary("abc"), SMALL)
    predictor.observe_many("abcabc")
    predictor.save(tmp_path / "m")
    arrays, values = read_checkpoint(tmp_path / "m")
    for word in (3, 3 << 24, -1):
        write_checkpoint(tmp_path / "m", arrays | {"memory.history": np.array([word, 0], dtype=np.int32)}, values)
        with pytest.raises(ValueError, match=OUT_OF_RANGE):
            StreamPredictor.load(tmp_path / "m")


@pytest.mark.parametrize("name", ["pages", "words", "lengths", "history", "heads", "weights", "state"])
def test_a_memory_of_other_shapes_or_types_is_refused(saved, tmp_path, name):
    arrays, values = read_checkpoint(saved)
    good = arrays[f"memory.{name}"]
    for changed in (good.astype(np.float64), good[None], *([good[:-1]] if name != "history" else [])):
        write_checkpoint(tmp_path / "changed", arrays | {f"memory.{name}": changed}, values)
        with pytest.raises(ValueError, match=f"{OTHER_TYPES}|{OTHER_SHAPE}|{INCONSISTENT}"):
            StreamPredictor.load(tmp_path / "changed")
