"""`verify` finds what is wrong with a predictor, and nothing wrong with ours."""

import contextlib
import re
import sys
import threading

import numpy as np
import pytest
from commands import run
from golden import text
from nets import random_predictor

from streamlstm import Config, StreamPredictor, Vocabulary
from streamlstm import selftest as guarantees
from streamlstm import selftest as module
from streamlstm.codec.coder import identity
from streamlstm.predictor.stream_reader import StreamReader
from streamlstm.selftest import verify

TINY = ["--hidden", "8", "--layers", "1", "--window", "4", "--memory-bits", "10"]
WHOLE = ["normalised", "scored first", "one pass", "causal"]
CHECKS = [*WHOLE, "pure", "deterministic", "resumable", "bounded", "no loss", "isolated", "lossless"]


@pytest.fixture(autouse=True)
def no_check_goes_on():
    """After a check that failed, the next test begins when those that had begun have ended."""
    yield
    for thread in threading.enumerate():
        if thread.name == "streamlstm task":
            thread.join()


def tiny() -> StreamPredictor:
    return random_predictor(Config(hidden=8, layers=2, window=4, memory_bits=10), Vocabulary.bytes(), memory=True)


@pytest.mark.parametrize("learn", ["all", "memory", "nothing"])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 700])
def test_every_check_holds_on_ours(n, learn):
    predictor = tiny()
    predictor.observe_many(text(10))
    predictor.learn = learn
    before = identity(predictor)
    rows = list(verify(text(n), predictor, seed=n))
    assert [row.check for row in rows] == CHECKS
    assert not any(row.counterexample for row in rows)
    assert identity(predictor) == before


def test_every_check_holds_without_a_memory():
    predictor = random_predictor(Config(hidden=8, layers=1, window=4), Vocabulary.bytes())
    assert not any(row.counterexample for row in verify(text(300), predictor))


def test_a_model_of_characters_is_checked_in_all_but_the_compression():
    predictor = random_predictor(
        Config(hidden=8, layers=1, window=4, memory_bits=10), Vocabulary.from_text(text(500).decode())
    )
    assert [row.check for row in verify(text(500).decode(), predictor)] == CHECKS[:-1]


observe, observe_many, predict, fork, save, load = (
    getattr(StreamPredictor, name) for name in ("observe", "observe_many", "predict", "fork", "save", "load")
)
read, resume = StreamReader.read, StreamReader.resume


def never_sums_to_one(self):
    return predict(self) * np.float32(1.00001)


def gives_a_symbol_nothing(self):
    p = predict(self)
    p[p.argmin()] = 0
    return p


def learns_before_it_scores(self, symbol):
    return 0.99 * observe(self, symbol)


def forgets_at_the_end_of_a_block(self, symbols):
    bits = observe_many(self, symbols)
    if len(bits) > 1:
        self.reset()
    return bits


def saves_no_context(self, path):
    twin = fork(self)
    twin.reset()
    save(twin, path)


def asks_and_changes(self, k=5):
    observe(self, 0)
    return []


def shares_the_state(self, *, learning=None):
    return fork(self) if sys._getframe(1).f_code.co_name != "pure" else self


def computes_other_bits(self, symbols):
    bits = observe_many(self, symbols)
    return bits * np.float32(1 + 1e-7) if self.config == guarantees.KNOWN_CONFIG else bits


def gives_other_bits_the_second_time(self, symbols):
    bits = observe_many(self, symbols)
    is_second = sys._getframe(1).f_code.co_name == "deterministic" and self.config != guarantees.KNOWN_CONFIG
    return bits * np.float32(1 + 1e-7) if is_second else bits


def keeps_all_it_reads(self, symbols):
    bits = observe_many(self, symbols)
    self.__dict__.setdefault("read", []).append(bits)
    return bits


def takes_any_symbol(self, symbols):
    return observe_many(self, np.minimum(symbols, 255) if isinstance(symbols, np.ndarray) else symbols)


def observes_half_before_it_refuses(self, symbols):
    if isinstance(symbols, np.ndarray) and symbols.max(initial=0) > 255:
        observe_many(self, symbols[:5])
    return observe_many(self, symbols)


def loads_anything(path):
    with contextlib.suppress(ValueError):
        return load(path)


@contextlib.contextmanager
def writes_in_place(path):
    with open(path, "wb") as file:
        yield file


def forgets_what_came_before(self, parked):
    resume(self, parked.copy())
    if parked.n_symbols:
        read(self, np.zeros(1, dtype=np.int32))


SIZE = 500
BROKEN = {
    "normalised": [("predict", never_sums_to_one), ("predict", gives_a_symbol_nothing)],
    "scored first": [("observe", learns_before_it_scores)],
    "one pass": [("observe_many", forgets_at_the_end_of_a_block)],
    "pure": [("top", asks_and_changes), ("fork", shares_the_state)],
    "deterministic": [("observe_many", computes_other_bits), ("observe_many", gives_other_bits_the_second_time)],
    "resumable": [("save", saves_no_context)],
    "bounded": [("observe_many", keeps_all_it_reads)],
    "no loss": [("observe_many", takes_any_symbol), ("observe_many", observes_half_before_it_refuses)],
}


@pytest.mark.parametrize(("check", "name", "broken"), [(c, n, b) for c, cases in BROKEN.items() for n, b in cases])
def test_a_broken_promise_is_found_with_a_counterexample(monkeypatch, check, name, broken):
    predictor = tiny()
    monkeypatch.setattr(StreamPredictor, name, broken)
    *passed, last = verify(text(SIZE), predictor)
    assert last.check == check
    assert re.search(r"\d|distribution", last.counterexample)
    assert not any(row.counterexample for row in passed)


@pytest.mark.parametrize("held", [1, 7 * 256, 2**18])
def test_the_one_distribution_that_is_wrong_is_found(monkeypatch, held):
    def once_sums_to_more(self):
        return predict(self) * np.float32(1.001 if self.n_symbols == 20 else 1)

    monkeypatch.setattr(StreamPredictor, "predict", once_sums_to_more)
    monkeypatch.setattr(module, "HELD", held)
    first, *others = verify(text(30), tiny())
    assert (first.check, others) == ("normalised", [])
    assert first.counterexample.startswith("before symbol 20 the sum is 1.00")


def test_a_glance_at_the_future_is_found(monkeypatch):
    predictor, calls = tiny(), []

    def looks_ahead(self, symbols):
        bits = observe_many(self, symbols)
        if len(symbols) > 1 and calls:  # not in the run that the others are compared with
            bits[0] += np.float32(symbols[-1] % 2 + 1) * np.float32(1e-5)
        calls.append(1)
        return bits

    monkeypatch.setattr(StreamPredictor, "observe_many", looks_ahead)
    monkeypatch.setattr(module, "LARGEST_BLOCK", 1)
    *_, last = verify(text(SIZE), predictor)
    assert last.check == "causal"
    assert "symbol 0 has" in last.counterexample


@pytest.mark.parametrize(
    ("check", "owner", "name", "broken", "counterexample"),
    [
        ("no loss", StreamPredictor, "load", loads_anything, r"a file that is damaged at byte [\d,]+ was loaded"),
        ("no loss", guarantees, "opened_atomically", writes_in_place, "an interrupted save has changed the older file"),
        (
            "isolated",
            StreamReader,
            "resume",
            forgets_what_came_before,
            r"beside others, in stream \d symbol \d+ has .*",
        ),
    ],
)
def test_a_file_that_is_lost_and_a_stream_that_depends_on_others_are_found(
    monkeypatch, check, owner, name, broken, counterexample
):
    monkeypatch.setattr(owner, name, broken)
    *_, last = verify(text(SIZE), tiny())
    assert last.check == check
    assert re.fullmatch(counterexample, last.counterexample)


def test_a_loss_is_found(monkeypatch):
    monkeypatch.setattr(module, "decompress", lambda packed, predictor: text(SIZE)[:99] + b"?" + text(SIZE)[100:])
    *_, last = verify(text(SIZE), tiny())
    assert (last.check, last.counterexample) == ("lossless", "byte 99 differs after decompression")


def test_an_empty_input_is_refused():
    result = run("verify", *TINY, stdin=b"")
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr == b"streamlstm: standard input is empty; verify needs a text to check\n"


def test_the_command_prints_a_row_with_figures_for_each_check():
    result = run("verify", *TINY, stdin=text(600))
    assert (result.returncode, result.stderr) == (0, b"")
    rows = result.stdout.decode().splitlines()
    assert [row[: len(check)] for row, check in zip(rows, CHECKS, strict=True)] == CHECKS
    assert all(re.search(r" (held|passed) +.*\d", row) for row in rows)


def test_the_command_checks_a_model_of_characters_and_only_a_prefix_if_it_shall_be_quick():
    result = run("verify", *TINY, "--quick", "--vocab", "text", "--freeze", stdin="é".encode() * 15_000)
    assert result.returncode == 0, result.stderr
    assert b"10,000 single symbols" in result.stdout


def test_the_command_exits_with_1_and_the_counterexample():
    sabotage = """
from streamlstm import StreamPredictor
predict = StreamPredictor.predict
StreamPredictor.predict = lambda self: predict(self) * 2
"""
    result = run("verify", *TINY, stdin=text(50), before=sabotage)
    assert result.returncode == 1
    assert re.match(rb"normalised +FAILED .*\d", result.stdout)
    assert re.fullmatch(rb"streamlstm: normalised: before symbol 0 the sum is 2.0[^\n]*\n", result.stderr)


def test_one_block_is_not_several():
    figures = {result.check: result.figures for result in verify(text(20), StreamPredictor(config=Config(hidden=16)))}
    assert "1 block of random sizes" in figures["one pass"]
    assert re.fullmatch(r"symbols replaced from \d+ and from \d+: earlier bits unchanged", figures["causal"])
