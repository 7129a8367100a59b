"""The cases that fuzzing has found, and a few of each target; what the engine itself must find."""

import os
import signal
import time

import engine
import pytest
from engine import CORPUS, Target, campaign, cases_in, limited_memory, run
from models import N_SYMBOLS, mixed_text
from targets import TARGETS

FEW = {"vocabulary": 3000, "lines": 60_000, "watch": 5_000, "container": 500, "message": 500, "arguments": 60}
"""How many cases are tried of a target in CI; of those not named, which read much, 200."""


def test_there_is_a_target_for_each_folder_of_cases():
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 300_000


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_keeps_every_promise(name):
    for case in cases_in(CORPUS / name):
        with limited_memory():
            run(TARGETS[name], case)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_few_cases_find_nothing_and_some_are_accepted(name, tmp_path):
    n_cases = FEW.get(name, 200)
    done, n_accepted, failures = campaign(TARGETS[name], tmp_path, n_cases, 3600, 0)
    assert failures == []
    assert done >= n_cases
    assert n_accepted > done / 10


def test_an_accepted_case_reads_enough_of_everything():
    for case in (b"", b"a", b"b"):
        text = mixed_text(case)
        assert len(text) >= N_SYMBOLS
        assert text.count(b"\n") > 500


def planted(action):
    """A target in which one byte of four, at a place, does what it should not."""

    def mutate(rng, case, other):
        at = rng.randrange(4)
        return case[:at] + bytes([rng.randrange(256)]) + case[at + 1 :]

    def check(case):
        if case[2] >= 200:
            action()
        return [case[0] < 128]

    return Target(lambda: [b"...."], mutate, check)


def fail():
    raise KeyError("found")


def is_slow():
    end = time.process_time() + 0.06
    while time.process_time() < end:
        pass


ACTIONS = {
    "KeyError at": fail,
    "AssertionError at": is_slow,
    "MemoryError at": lambda: bytearray(1 << 31),
    f"the process ended with -{signal.SIGSEGV.value}": lambda: os.kill(os.getpid(), signal.SIGSEGV),
}


@pytest.fixture
def in_short_rounds(monkeypatch):
    monkeypatch.setattr(engine, "ROUND", 40)


@pytest.mark.parametrize("what", ACTIONS)
def test_a_campaign_finds_what_breaks_a_promise_and_keeps_the_case(what, tmp_path, monkeypatch, in_short_rounds):
    monkeypatch.setattr(engine, "SLOWEST", 0.05)
    n_cases, n_accepted, failures = campaign(planted(ACTIONS[what]), tmp_path, 30, 60, 0)
    assert failures[0].startswith(what)
    assert all(case[2] >= 200 for case in cases_in(tmp_path))
    assert cases_in(tmp_path)
    assert n_accepted < n_cases


def test_a_find_is_shrunk_and_the_campaign_goes_on(tmp_path, in_short_rounds):
    n_cases, _, failures = campaign(planted(fail), tmp_path, 300, 60, 0)
    assert (len(failures), cases_in(tmp_path)) == (1, [b"..\xc8."])
    assert n_cases >= 300
