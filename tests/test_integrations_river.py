"""River: its own checks, the order of the scores, and that scoring changes nothing."""

import pickle
import random

import numpy as np
import pytest
from extras import library
from hypothesis import given
from hypothesis import strategies as st

from streamlstm import Config, StreamPredictor

river = library("river")
from river import checks, compose, linear_model, metrics, preprocessing  # noqa: E402

from streamlstm.integrations.records import text_of  # noqa: E402
from streamlstm.integrations.river import StreamAnomaly, Surprisal  # noqa: E402


def predictor(memory=False):
    return StreamPredictor(config=Config(hidden=12, layers=1, memory=memory, memory_bits=12))


class CreditCard:
    """Stands for River's data set of that name, which has to be downloaded: numbers, with few records that differ."""

    def take(self, n):
        chance = random.Random(4)
        for index in range(min(n, 120)):
            unusual = index % 15 == 14
            yield {f"V{k}": round(chance.gauss(9 if unusual else 0, 1)) for k in range(5)}, int(unusual)


@pytest.fixture
def short_datasets(monkeypatch):
    from river import datasets

    class TrumpApproval(datasets.TrumpApproval):
        def take(self, k):
            return super().take(min(k, 60))

    monkeypatch.setattr(datasets, "CreditCard", CreditCard)
    monkeypatch.setattr(datasets, "TrumpApproval", TrumpApproval)


@pytest.mark.parametrize("kind", [StreamAnomaly, Surprisal])
def test_it_passes_rivers_checks(kind, short_datasets):
    for parameters in kind._unit_test_params():
        model = kind(**parameters)
        assert not model._unit_test_skips()
        names = {check.__name__ for check in checks.yield_checks(model)}
        assert {"check_pickling", "check_clone_is_independent", "check_bounded_memory_growth"} <= names
        checks.check_estimator(model)


def jobs(n):
    return [{"line": f"job {k % 7} done", "host": k} for k in range(n)]


@pytest.mark.parametrize("unit", ["z", "bits"])
def test_unusual_records_score_higher(unit):
    detector = StreamAnomaly(on="line", predictor=predictor(memory=True), unit=unit)
    for record in jobs(200):
        detector.learn_one(record)
    usual = [detector.score_one(record) for record in jobs(7)]
    assert max(usual) < detector.score_one({"line": "Kernel panic at 0xc0ffee"})


def test_scoring_changes_nothing_and_reads_only_the_field():
    detector = StreamAnomaly(on="line", predictor=predictor())
    twin = StreamAnomaly(on="line", predictor=predictor())
    for record in jobs(30):
        first = detector.score_one(record)
        assert first == detector.score_one({**record, "host": "other"})
        detector.learn_one(record)
        twin.learn_one(record)
    assert detector.score_one(jobs(1)[0]) == twin.score_one(jobs(1)[0])


def test_the_predictor_that_was_given_does_not_change():
    original = predictor()
    before = original.predict()
    detector = StreamAnomaly(predictor=original)
    for record in jobs(20):
        detector.learn_one(record)
    assert np.array_equal(original.predict(), before)
    assert detector.clone().score_one("x") == StreamAnomaly(predictor=original).score_one("x")


def test_a_pickled_detector_continues_to_the_last_bit():
    detector = StreamAnomaly(on="line", predictor=predictor(memory=True))
    for record in jobs(60):
        detector.learn_one(record)
    twin = pickle.loads(pickle.dumps(detector))
    for record in jobs(20):
        assert detector.score_one(record) == twin.score_one(record)
        detector.learn_one(record)
        twin.learn_one(record)


def test_surprisal_works_in_a_pipeline_beside_other_features():
    union = Surprisal(on="text", predictor=predictor()) + compose.Select("length")
    model = union | preprocessing.StandardScaler() | linear_model.LogisticRegression()
    accuracy = metrics.Accuracy()
    for index in range(160):
        is_odd = index % 2 == 1
        x = {"text": "aaaaaaaa" if not is_odd else f"{index * 7919 % 10007:08x}", "length": 8}
        if index >= 80:
            accuracy.update(is_odd, model.predict_one(x))
        model.learn_one(x, is_odd)
    assert accuracy.get() > 0.8
    assert set(union.transform_one(x)) == {"text_bits", "text_bits_per_character", "text_max_bits", "length"}


def test_the_text_of_a_record():
    assert text_of("a line", None) == "a line\n"
    assert text_of({"b": 2, "a": 1}, None) == text_of({"a": 1, "b": 2}, None) == "a=1 b=2\n"
    assert text_of({"a": 1}, "b") == "\n"


VALUES = st.text(max_size=9) | st.binary(max_size=9)


@given(value=VALUES, others=st.dictionaries(st.sampled_from(["a", "b", b"c"]), VALUES | st.floats() | st.none()))
def test_bytes_are_read_alike_as_a_record_and_as_a_feature(value, others):
    text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
    assert text_of(value, None) == text_of({**others, "on": value}, "on") == f"{text}\n"
    decoded = {name: each.decode("utf-8", "surrogateescape") for name, each in others.items() if type(each) is bytes}
    assert text_of({"on": value, **others}, None) == text_of({"on": text, **others, **decoded}, None)
    assert f"on={text}" in text_of({"on": value}, None)


def test_a_value_that_is_missing_is_read_as_python_writes_it_and_a_feature_that_is_missing_as_empty():
    assert [text_of({"a": value}, "a") for value in (None, float("nan"))] == ["None\n", "nan\n"]
    assert text_of({"a": None, "b": 1}, None) == "a=None b=1\n"
    assert text_of({}, "a") == "\n"


def test_it_learns_as_the_predictor_does():
    for learn in ("all", "memory", "nothing"):
        original = predictor(memory=True)
        original.learn = learn
        surprisal = Surprisal(predictor=original)
        before = surprisal.transform_one("one two")
        for _ in range(30):
            surprisal.learn_one("one two")
        surprisal.learn_one("")
        assert (surprisal._reader.fork().learn, surprisal._reader.n_symbols) == (learn, 30 * 8 + 1)
        assert (surprisal.transform_one("one two")["bits"] < before["bits"] / 2) == (learn != "nothing")


def test_another_unit_is_refused():
    with pytest.raises(ValueError, match="unit must be one of z, bits"):
        StreamAnomaly(predictor=predictor(), unit="nats")
