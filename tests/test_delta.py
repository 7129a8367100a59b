"""Deltas: an array becomes that of one stream after another, and nothing of the one before stays."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamlstm.memory.parked import ROW, DeltaArray

FLOATS = st.floats(width=32)


@st.composite
def bases_and_changes(draw):
    """A base, and a list of changes of it: which words change, and to what."""
    n = draw(st.sampled_from([1, ROW - 1, ROW, 3 * ROW + 5]))
    base = np.array(draw(st.lists(FLOATS, min_size=n, max_size=n)), dtype=np.float32)
    change = st.dictionaries(st.integers(0, n - 1), FLOATS)
    return base, draw(st.lists(change, min_size=1, max_size=4))


def write(array, change):
    """Write to an array, as kernels do."""
    for index, value in change.items():
        array.values[index] = value


@given(bases_and_changes(), st.data())
def test_an_array_takes_the_values_of_one_delta_after_another(case, data):
    base, changes = case
    array, deltas, expected = DeltaArray(base), [], []
    first = array.delta()
    for change in changes:
        array.apply(first)
        assert array.values.tobytes() == base.tobytes()
        write(array, change)
        expected.append(array.values.tobytes())
        deltas.append(array.delta())
    for at in data.draw(st.lists(st.integers(0, len(changes) - 1), max_size=6)):
        array.apply(deltas[at])
        assert array.values.tobytes() == array.with_delta(deltas[at]).tobytes() == expected[at]
        if data.draw(st.booleans()):
            write(array, dict.fromkeys(range(len(base)), 7))
        else:
            assert array.delta().marks.tobytes() == deltas[at].marks.tobytes()


@given(bases_and_changes())
def test_a_delta_has_the_words_that_differ_and_no_others(case):
    base, changes = case
    array = DeltaArray(base)
    write(array, changes[0])
    marks, words = array.delta()
    differs = array.values.view(np.int32) != base.view(np.int32)
    assert np.unpackbits(marks.view(np.uint8), bitorder="little")[: len(base)].tolist() == differs.tolist()
    assert words.tobytes() == array.values[differs].tobytes()
    assert array.is_valid(array.delta())


def test_a_delta_that_does_not_fit_is_recognized():
    array = DeltaArray(np.zeros(40, dtype=np.float32))
    write(array, {3: 1, 39: 1})
    marks, words = delta = array.delta()
    assert array.is_valid(delta)
    assert not array.is_valid(delta._replace(words=words[:1]))
    assert not array.is_valid(delta._replace(marks=marks[:1]))
    assert not array.is_valid(delta._replace(marks=np.array([8, 1 << 8], dtype=np.int32)))  # word 40
