"""Offline training: the same weights for any number of threads and after any stop, and lower surprisal."""

from dataclasses import replace

import numpy as np
import pytest
from nets import random_tokens, theta_of

from streamlstm import Config, StreamPredictor, Vocabulary
from streamlstm.checkpoint import read_checkpoint, write_checkpoint
from streamlstm.training.trainer import GROUP, Trainer, TrainingPlan

LETTERS = Vocabulary.from_text("abcdefghij")
SMALL = Config(hidden=12, layers=2, window=5)
PLAN = TrainingPlan(epochs=3, batch=2 * GROUP + 3, window=6, pieces=(20, 50), warmup=3)
TEXT = random_tokens(2000, 10)


def trained(threads=1, plan=PLAN, text=TEXT):
    trainer = Trainer(text, LETTERS, SMALL, plan, threads)
    for _ in trainer.run():
        pass
    return trainer


def test_any_number_of_threads_gives_the_same_weights():
    one = trained(threads=1)
    assert np.array_equal(one.theta, trained(threads=2).theta)
    assert np.array_equal(one.theta, trained(threads=5).theta)


@pytest.mark.parametrize("stop", [1, 17, 30])
def test_a_run_that_was_stopped_resumes_to_the_same_last_bit(tmp_path, stop):
    first, bits = Trainer(TEXT, LETTERS, SMALL, PLAN), []
    for progress in first.run():
        bits.append(progress.bits)
        if progress.step == stop:
            break
    first.save(tmp_path / "run")
    second = Trainer(TEXT, LETTERS, SMALL, PLAN, threads=2)
    second.restore(tmp_path / "run")
    bits += [progress.bits for progress in second.run()]
    whole = Trainer(TEXT, LETTERS, SMALL, PLAN)
    assert bits == [progress.bits for progress in whole.run()]
    assert np.array_equal(second.theta, whole.theta)
    assert np.array_equal(second.optimizer_state.slots, whole.optimizer_state.slots)


@pytest.mark.parametrize(
    ("text", "config", "plan", "what"),
    [
        (TEXT[:-1], SMALL, PLAN, r"belongs to a different run \(another training text\); use"),
        (TEXT, Config(hidden=13, layers=2, window=5), PLAN, r"\(hidden 12, not 13\); use"),
        (
            TEXT,
            SMALL,
            replace(PLAN, warmup=4),
            r"\(warmup 3, not 4\); use",
        ),
    ],
)
def test_the_state_of_another_run_is_refused(tmp_path, text, config, plan, what):
    Trainer(TEXT, LETTERS, SMALL, PLAN).save(tmp_path / "run")
    with pytest.raises(ValueError, match=what):
        Trainer(text, LETTERS, config, plan).restore(tmp_path / "run")


@pytest.mark.parametrize("epochs", [2, 5])
def test_the_rest_of_a_run_may_have_another_schedule(tmp_path, epochs):
    first = Trainer(TEXT, LETTERS, SMALL, PLAN)
    for progress in first.run():
        if progress.step == 10:
            break
    first.save(tmp_path / "run")
    plan = replace(PLAN, epochs=epochs)
    second, fresh = Trainer(TEXT, LETTERS, SMALL, plan, threads=2), Trainer(TEXT, LETTERS, SMALL, plan)
    second.restore(tmp_path / "run")
    rest = {progress.step: progress.lr for progress in second.run()}
    whole = {progress.step: progress.lr for progress in fresh.run()}
    assert rest == {step: lr for step, lr in whole.items() if step > 10}
    assert not np.array_equal(second.theta, fresh.theta)


def test_a_schedule_that_ends_before_what_is_done_is_refused(tmp_path):
    trained().save(tmp_path / "run")
    with pytest.raises(ValueError, match="not a usable training run: step must be a whole number from 0 to"):
        Trainer(TEXT, LETTERS, SMALL, replace(PLAN, epochs=1)).restore(tmp_path / "run")


@pytest.mark.parametrize("missing", ["theta", "slots", "carried.0", "optimizer", "step"])
def test_a_file_in_which_something_is_missing_is_refused_and_changes_nothing(tmp_path, missing):
    trained().save(tmp_path / "run")
    arrays, values = read_checkpoint(tmp_path / "run")
    arrays.pop(missing, None), values.pop(missing, None)
    write_checkpoint(tmp_path / "run", arrays, values)
    trainer, untouched = Trainer(TEXT, LETTERS, SMALL, PLAN), Trainer(TEXT, LETTERS, SMALL, PLAN)
    with pytest.raises(ValueError, match=f"run is not a usable training run: '{missing}' is missing"):
        trainer.restore(tmp_path / "run")
    assert next(trainer.run()) == next(untouched.run())
    assert np.array_equal(trainer.theta, untouched.theta)


def test_a_plan_takes_the_numbers_of_numpy_and_can_be_saved(tmp_path):
    plan = replace(PLAN, batch=np.int64(PLAN.batch), lr=np.float32(0.5), epochs=np.int32(3))
    Trainer(TEXT, LETTERS, SMALL, plan).save(tmp_path / "run")
    Trainer(TEXT, LETTERS, SMALL, replace(PLAN, lr=0.5)).restore(tmp_path / "run")


@pytest.mark.parametrize("name", ["epochs", "lr", "beta2", "clip", "batch"])
@pytest.mark.parametrize("value", ["x", None, True])
def test_what_is_no_number_is_refused_with_the_name_of_the_argument(name, value):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be an? .*not {value!r}"):
        TrainingPlan(**{name: value})


def test_training_lowers_the_surprisal_and_gives_a_predictor_that_knows_the_text():
    text = LETTERS.encode("abcdefghij" * 300)
    trainer = Trainer(text, LETTERS, SMALL, TrainingPlan(epochs=30, batch=4, window=10, lr=0.02, warmup=10))
    bits = [progress.bits for progress in trainer.run()]
    assert bits[-1] < 0.1 < 3 < bits[0]
    predictor = trainer.predictor()
    predictor.learning = False
    assert predictor.observe_many("abcdefghij" * 5)[-20:].mean() < 0.1


def test_the_predictor_has_the_trainers_weights_and_does_not_share_them():
    trainer = trained()
    predictor = trainer.predictor()
    assert np.array_equal(theta_of(predictor), trainer.theta)
    before = trainer.theta.copy()
    predictor.observe_many("abcdefghij" * 10)
    assert np.array_equal(trainer.theta, before)


def test_training_goes_on_from_given_weights(tmp_path):
    weights = trained().predictor().weights()
    trainer = Trainer(TEXT, LETTERS, SMALL, PLAN, weights=weights)
    assert all(np.array_equal(array, weights[name]) for name, array in trainer.predictor().weights().items())
    first = next(trainer.run()).bits
    assert first < next(Trainer(TEXT, LETTERS, SMALL, PLAN).run()).bits - 0.1
    trainer.save(tmp_path / "run")
    Trainer(TEXT, LETTERS, SMALL, PLAN, weights=weights).restore(tmp_path / "run")
    with pytest.raises(ValueError, match=r"different run \(other initial weights\); use"):
        Trainer(TEXT, LETTERS, SMALL, PLAN).restore(tmp_path / "run")
    with pytest.raises(ValueError, match=r"\(lr 0.004, not 0.5\); use"):
        Trainer(TEXT, LETTERS, SMALL, replace(PLAN, lr=0.5), weights=weights).restore(tmp_path / "run")


def test_the_rate_warms_up_and_falls_to_zero():
    trainer = Trainer(TEXT, LETTERS, SMALL, TrainingPlan(epochs=30, batch=2, window=6, lr=0.5, warmup=10))
    rates = []
    for step in range(trainer.n_steps + 1):
        trainer.step = step
        rates.append(trainer.lr)
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(0.5)
    assert rates == sorted(rates[:11]) + sorted(rates[11:], reverse=True)
    assert rates[-1] == 0


@pytest.mark.parametrize("length", [2, 3, 10, 70])
def test_short_texts_train_with_fewer_streams_and_shorter_windows(length):
    assert np.isfinite(trained(text=TEXT[:length], plan=TrainingPlan(epochs=1)).theta).all()


@pytest.mark.parametrize("length", [0, 1])
def test_a_text_without_a_next_symbol_is_refused(length):
    with pytest.raises(ValueError, match=f"at least 2 symbols; the text has {length}"):
        Trainer(TEXT[:length], LETTERS, SMALL, PLAN)


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", -1), ("epochs", float("nan")), ("batch", 0), ("window", 0), ("lr", 0.0), ("clip", -1), ("seed", -1)]
    + [("pieces", (0, 5)), ("pieces", (6, 5)), ("pieces", 5), ("crlf", 1.5), ("warmup", -1), ("batch", 1.5)],
)
def test_a_plan_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        TrainingPlan(**{field: value})


def test_a_trained_model_saves_and_loads_as_a_predictor(tmp_path):
    trainer = trained()
    trainer.predictor().save(tmp_path / "model.safetensors")
    loaded = StreamPredictor.load(tmp_path / "model.safetensors")
    assert np.array_equal(theta_of(loaded), trainer.theta)
    assert (
        loaded.about["trained"]
        == f"on {trainer.step * trainer.symbols_per_step:,} symbols in {trainer.step:,} updates of Adam"
    )
