"""The fuzzer, the cases that it has found, and a few seconds of each target."""

import pytest
from engine import CORPUS, Find, Fuzzer, Target, cases_in, limited_memory, minimised, outcome, refused, slow
from targets import TARGETS


def test_there_is_a_target_for_each_folder_of_cases():
    assert set(FEW_SECONDS) == set(TARGETS)
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 300_000


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_keeps_every_promise(name):
    for case in cases_in(CORPUS / name):
        with limited_memory():
            assert outcome(TARGETS[name], case)[0] == ""
        assert slow(TARGETS[name], case) == ""


FEW_SECONDS = {"vocabulary": 40_000, "lines": 10_000, "container": 4_000, "message": 1_000, "model": 1_500}
FEW_SECONDS |= {"snapshot": 3_000, "watcher": 200, "store": 40, "arguments": 50}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_cases"), FEW_SECONDS.items())
def test_a_few_seconds_of_fuzzing_find_nothing(name, n_cases):
    fuzzer = Fuzzer(TARGETS[name], 0, CORPUS / name)
    fuzzer.run(n_cases, 3600)
    assert fuzzer.n_cases == n_cases
    assert fuzzer.finds == {}


def check_magic(case):
    """How many letters of a word are right; the last one is an error."""
    right = next((n for n, (a, b) in enumerate(zip(case, b"bug!", strict=False)) if a != b), min(len(case), 4))
    assert right < 4, "found"
    return right


def mutate_letter(rng, case, other):
    at = rng.randrange(4)
    return case[:at] + bytes([rng.randrange(256)]) + case[at + 1 :]


def test_the_fuzzer_keeps_what_is_new_and_so_finds_a_word(tmp_path):
    fuzzer = Fuzzer(Target(lambda: [b"...."], mutate_letter, check_magic), 0, tmp_path)
    fuzzer.run(20_000, 60)
    assert [what.partition(" ")[0] for what in fuzzer.finds] == ["AssertionError"]
    assert next(iter(fuzzer.finds.values()))[:4] == b"bug!"
    assert len(fuzzer.kept) == 4


def test_a_find_is_minimised():
    target = Target(list, mutate_letter, lambda case: check_magic(case[case.find(b"b") :]))
    long = b"x" * 300 + b"bug!" + b"y" * 300
    assert minimised(target, Find(long, outcome(target, long)[0])) == b"bug!"


def test_lines_of_the_package_that_are_reached_first_make_a_case_worth_keeping(tmp_path):
    fuzzer = Fuzzer(TARGETS["vocabulary"], 0, tmp_path)
    fuzzer.run(200, 60)
    assert len(fuzzer.coverage.lines) > 60
    assert any(name.endswith("vocabulary.py") for name, _ in fuzzer.coverage.lines)


def test_a_case_that_allocates_too_much_is_found():
    target = Target(list, mutate_letter, lambda case: bytearray(1 << 31))
    with limited_memory():
        assert outcome(target, b"")[0].startswith("MemoryError")


def test_refusals_are_alike_if_they_differ_in_numbers_and_names_only():
    errors = ValueError("'a' has 1 word at 0x7f"), ValueError("'bc' has 25,000 word at 0xff")
    assert len({refused(error) for error in errors}) == 1
