"""Familiar lines: which are, what score they get, and that a watcher continues with them."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest
from commands import run
from test_cli import objects
from test_watch import CALM, FRESH, SMALL, STRANGE, fresh, watched

from streamlstm import Vocabulary, Watcher
from streamlstm.checkpoint import read_checkpoint
from streamlstm.watch import familiar, single_stream
from streamlstm.watch.familiar import DIGEST_SIZE, SAMPLED, FamiliarLines
from streamlstm.watch.line_tables import (
    IDENTIFIER,
    KEY,
    KIND_SIZE,
    MAX_NUMBERS,
    MAX_VALUES,
    MIN_READ,
    N_READ,
    N_TEMPLATE,
    N_VALUES,
    NUMBER,
    REPEATED,
    STAMP,
    WAYS,
)

BYTES = Vocabulary.bytes()


def tables(*lines, vocabulary=BYTES, flagged=False):
    known = FamiliarLines(vocabulary)
    for line in lines:
        known.learn(vocabulary.encode(line + "\n"), 1.0, flagged)
    return known


def knows(known, line, vocabulary=BYTES):
    return known.find(vocabulary.encode(line + "\n")) is not None


def jobs(template, n=20, seed=0):
    """Lines of a kind with different numbers, all of three digits, in place of N."""
    rng = random.Random(seed)
    return [re.sub("N", lambda _: str(rng.randint(100, 999)), template) for _ in range(n)]


# Which lines are familiar


def test_a_line_is_familiar_once_enough_lines_of_its_kind_were_read():
    lines = ["door open"] * MIN_READ
    assert not knows(tables(*lines[1:]), lines[0])
    assert knows(tables(*lines), lines[0])


@pytest.mark.parametrize(
    "line",
    [
        "job 555 of user eve done",  # another word
        "job 555 of user bob done ",  # more white space
        "job 555 of user bob",
        "job 5555 of user bob done",  # another length
        "job 55 of user bob done",
        "job 5a5 of user bob done",  # hexadecimal
        "job 555x of user bob done",
        "job x555 of user bob done",
        "job 555. of user bob done",
        "job 555  of user bob done",
        "Job 555 of user bob done",
        "job  of user bob done",
        "",
    ],
)
def test_a_line_with_anything_new_is_not_familiar(line):
    known = tables(*jobs("job N of user bob done"))
    assert knows(known, "job 555 of user bob done")
    assert not knows(known, line)


def test_a_number_with_few_values_is_familiar_with_these_only():
    values = range(200, 200 + MAX_VALUES)
    known = tables(*(f"status {value} after {n} ms" for n, value in enumerate([*values] * 5, 100)))
    assert knows(known, "status 203 after 999 ms")
    assert not knows(known, "status 999 after 203 ms")
    known.learn(BYTES.encode("status 404 after 100 ms\n"), 1.0, False)
    assert knows(known, "status 999 after 203 ms")  # that were more values


def test_a_sign_belongs_to_its_number_and_hexadecimal_words_are_numbers():
    known = tables(*jobs("at blk_-N 0xNab -N"))
    assert knows(known, "at blk_555 0x555ab 555")
    assert not knows(known, "at blk-_555 0x555ab 555")
    assert not knows(known, "at blk_555 0y555ab 555")


def test_the_letters_of_a_word_with_digits_belong_to_the_kind():
    known = tables(*jobs("node RN-MN:JN is up"))
    assert knows(known, "node R555-M555:J555 is up")
    assert not knows(known, "node R555-Q555:J555 is up")


def test_an_identifier_in_which_digits_and_letters_alternate_is_like_a_number():
    rng = random.Random(4)
    names = ["".join(rng.choice("0123456789ghjkmz") for _ in range(16)) + "g1z" for _ in range(20)]
    known = tables(*(f"pod {name} started" for name in names))
    assert knows(known, "pod 5mz5k55gj7g55m5zg1z started")
    assert not knows(known, "pod 5mz5k55gj7g55m5zg1 started")
    assert not knows(known, "pod started")
    closed = tables(*["log4j2 ready"] * 10)
    assert not knows(closed, "log4k2 ready")


def test_lists_of_any_length_are_familiar():
    lines = [" ".join(["delete", *jobs("blk_N", 2 + n % 9, n)]) for n in range(40)]
    known = tables(*lines)
    assert knows(known, " ".join(["delete", *["blk_555"] * 11]))
    assert not knows(known, "delete blk_555 blk_5555 blk_555")
    assert not knows(known, "delete blk_555 blc_555 blk_555")
    assert not knows(known, " ".join(["delete", *["blk_555"] * 100]))  # the length of the line is new


def test_a_line_with_very_many_numbers_is_not_familiar():
    known = tables(*[" ".join(f"a{n}b" for n in range(MAX_NUMBERS))] * MIN_READ)
    assert not knows(known, " ".join(f"a{n}b" for n in range(MAX_NUMBERS)))


def test_flagged_lines_do_not_make_usual_ones_familiar():
    known = tables(*["door open"] * 10, flagged=True)
    assert known.find(BYTES.encode("door open\n")).was_flagged
    for _ in range(MIN_READ):
        known.learn(BYTES.encode("door open\n"), 1.0, False)
    assert not known.find(BYTES.encode("door open\n")).was_flagged


def with_the_digest_of(template, other):
    """What is known of lines of a template, the digest of which is that of another one: as if their hashes collided."""
    known, others = tables(*jobs(template)), tables(*jobs(other))
    rows = [int(np.flatnonzero(each._usual.kinds[KEY::KIND_SIZE])[0]) for each in (known, others)]
    at = rows[1] * DIGEST_SIZE
    known._usual.set_digest(rows[0], bytes(others._usual.digests[at : at + DIGEST_SIZE]))
    return known


def test_a_line_that_was_built_to_have_the_hash_of_another_one_is_not_familiar():
    known = with_the_digest_of("job N of user bob done", "rm -rf / in N s")
    line = "job 555 of user bob done"
    assert knows(tables(*jobs("job N of user bob done")), line)
    assert not knows(known, line)
    known.learn(BYTES.encode(line + "\n"), 7.0, False)  # the row is that of this template from now on
    for _ in range(MIN_READ - 1):
        assert not knows(known, line)
        known.learn(BYTES.encode(line + "\n"), 7.0, False)
    assert known.find(BYTES.encode(line + "\n")).score == 7.0


def test_templates_are_those_of_the_masked_words_and_white_space():
    known = FamiliarLines(BYTES)

    def template(line):
        known.find(BYTES.encode(line))
        return [*known._template[: known._found[N_TEMPLATE]]]

    marks = {"N": NUMBER, "R": REPEATED, "I": IDENTIFIER}
    for line, expected in {
        "job 12 done\n": "job N done\n",
        "at -0x7f b2zt9 +5\tK8s:a\n": "at N I N\tKNs:a\n",
        "rm blk_1 blk_2  blk_3 blk_x blk_4\n": "rm blk_NR blk_x blk_N\n",
        "rm blk_1 blc_1\n": "rm blk_N blc_N\n",
        "  \n": "  \n",
        "a b b\n": "a b b\n",
    }.items():
        assert template(line) == [marks.get(each, ord(each)) for each in expected], line


def test_a_file_without_digests_is_that_of_version_1_0_and_the_first_line_of_a_kind_gives_its_digest():
    known, arrays = tables(*jobs("job N")), {}
    described = known.describe(arrays, "")
    old = {name: array for name, array in arrays.items() if "digests" not in name}
    again = FamiliarLines(BYTES)
    again.restore(described, old, "")
    assert again.find(BYTES.encode("job 555\n")) == known.find(BYTES.encode("job 555\n"))
    assert again._usual.digests == known._usual.digests


def test_a_vocabulary_of_characters_has_the_same_classes():
    vocabulary = Vocabulary.from_text("job done é#\n0123456789")
    known = tables(*jobs("job N done é"), vocabulary=vocabulary)
    assert knows(known, "job 555 done é", vocabulary)
    assert not knows(known, "job 555 done #", vocabulary)


def test_what_was_not_seen_for_longest_is_forgotten_and_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(familiar, "LARGEST", (8, 8))
    known = tables(*["first"] * MIN_READ)
    for n in range(8):
        assert knows(known, "first") == (n < 8)
        known.learn(BYTES.encode("ab"[n % 2] * (n + 1) + "\n"), 1.0, False)
    assert knows(known, "first")  # it was used all the time
    for n in range(8):
        known.learn(BYTES.encode("c" * (n + 1) + "\n"), 1.0, False)
    assert not knows(known, "first")


def test_tables_that_grow_know_the_same_lines_as_large_ones_from_the_first_to_the_last():
    large, draw = FamiliarLines(BYTES), random.Random(3)
    growing, sizes = large.new(), []
    for n in range(3000):
        line = BYTES.encode(
            f"{draw.choice('abcd')}{draw.randrange(n + 1) % 97:x}z at {draw.randrange(99)} of {n % 50}\n"
        )
        found = growing.find(line)
        assert found == large.find(line)
        if found is None:
            for known in (large, growing):
                known.learn(line, 1.0, flagged=n % 9 == 0)
        sizes.append(growing.nbytes)
    assert sizes[0] < 20_000
    assert sizes[-1] > 4 * sizes[0]
    assert growing.nbytes < large.nbytes


def test_tables_that_have_grown_are_restored():
    known = FamiliarLines(BYTES).new()
    for n in range(200):
        known.learn(BYTES.encode(f"{n:x}x{n % 20} job {n}\n"), 1.0, False)
    arrays = {}
    described = known.describe(arrays, "")
    again = FamiliarLines(BYTES).new()
    again.restore(described, arrays, "")
    assert again.nbytes == known.nbytes > FamiliarLines(BYTES).new().nbytes
    assert again.find(BYTES.encode("5x5 job 5\n")) == known.find(BYTES.encode("5x5 job 5\n"))
    for sizes in ([[7, 64], [16, 64]], [[16, 64]], [[16, 2**40], [16, 64]], [["16", 64], [16, 64]], 5):
        with pytest.raises((ValueError, TypeError)):
            again.restore({**described, "sizes": sizes}, arrays, "")


def test_the_score_is_that_of_the_lines_that_were_read():
    known = tables()
    for score in [9.0] * 10 + [1.0] * 10:
        known.learn(BYTES.encode("door open\n"), score, False)
    assert known.find(BYTES.encode("door open\n")).score == pytest.approx(1, abs=0.01)


def test_familiar_lines_are_read_in_full_now_and_then():
    known = tables(*["door open"] * MIN_READ)
    n = 100 * SAMPLED
    read = [known.find(BYTES.encode("door open\n")).must_reread for _ in range(n)]
    assert n / SAMPLED < sum(read) < 1.3 * n / SAMPLED
    assert sum(read[:64]) == 2


# In a watcher


def test_familiar_lines_are_not_read_and_strange_ones_are():
    watcher, lines = watched([*CALM[:600], STRANGE, *CALM[600:]])
    assert [n for n, line in enumerate(lines) if line.flagged] == [600]
    assert not lines[600].is_familiar
    assert lines[600].spans
    n_familiar = sum(line.is_familiar for line in lines)
    assert watcher.counts.familiar == n_familiar > 850
    assert not any(line.is_familiar for line in lines[:100])
    thorough, all_lines = watched(CALM, thorough=True)
    assert thorough.counts.familiar == 0
    assert not any(line.is_familiar for line in all_lines)


def test_a_changed_word_or_number_is_read_in_full_and_found():
    watcher, _ = watched(CALM)
    for line in (b"12:40 jab 3 done in 103 ms\n", b"12:40 job 3 done in 9999 ms\n", b"12:40 job 8 done in 103 ms\n"):
        seen = watcher.observe(line)
        assert not seen.is_familiar
        assert seen.z > 0.5


def test_a_line_with_anything_new_comes_before_familiar_lines_of_higher_scores():
    rng = random.Random(3)
    lines = [line for usual in CALM[:400] for line in (usual, b"token %012x\n" % rng.randrange(16**12))]
    changed = b"12:40 jab 3 done in 103 ms\n"
    (watcher, seen), (thorough, read) = watched(lines), watched(lines, thorough=True)
    tokens = [n for n, line in enumerate(seen) if n >= 600 and line.is_familiar and "token" in line.text]
    assert len(tokens) > 80
    assert np.median([seen[n].z for n in tokens]) < watcher.observe(changed).z
    assert np.median([read[n].z for n in tokens]) > thorough.observe(changed).z


def test_a_long_line_with_a_new_word_has_a_positive_z_though_the_rest_of_it_was_expected():
    rng, long_line = random.Random(3), b"-" * 80 + b" end\n"
    lines = [b"token %06x\n" % rng.getrandbits(24) if n % 3 else long_line for n in range(360)]
    (watcher, seen), (thorough, _) = watched(lines), watched(lines, thorough=True)
    changed = long_line.replace(b"end", b"and")
    assert thorough.observe(changed).z < 0 < watcher.observe(changed).z
    assert seen[-3].is_familiar
    assert seen[-3].z < 0


@pytest.mark.parametrize(
    ("config", "thorough", "learn"),
    [(SMALL, False, "memory"), (SMALL, True, "all"), (replace(SMALL, memory=False), False, "all")],
)
def test_after_enough_lines_only_the_memory_learns_if_there_is_one(monkeypatch, config, thorough, learn):
    monkeypatch.setattr(single_stream, "NETWORK_LINES", 200)
    predictor = fresh(config)
    watcher = Watcher(predictor, thorough=thorough)
    for line in CALM[:200]:
        watcher.observe(line)
    assert predictor.learn == "all"
    before = predictor.weights()
    for line in CALM[200:240]:
        watcher.observe(line.replace(b"done", b"over"))
    assert predictor.learn == learn
    after = predictor.weights()
    assert all(np.array_equal(before[name], after[name]) for name in before) == (learn == "memory")


def test_a_kind_that_is_flagged_now_and_then_becomes_familiar_and_stays_flagged():
    watcher, _ = watched(CALM[:300])
    strange = [
        watcher.observe(STRANGE) for n in range(300, 900) if not watcher.observe(CALM[n]).flagged and n % 10 == 0
    ]
    assert all(line.flagged and line.raised for line in strange)
    assert sum(line.is_familiar for line in strange) > 40
    usual = watcher.observe(CALM[5])
    assert not usual.flagged


def test_a_burst_of_familiar_flagged_lines_becomes_usual():
    watcher, _ = watched(CALM[:300])
    for n in range(300, 600):
        watcher.observe(CALM[n])
        if n % 10 == 0:
            watcher.observe(STRANGE)
    burst = [watcher.observe(STRANGE).flagged for _ in range(40)]
    assert burst[:2] == [True, True]
    assert not any(burst[-10:])


def test_a_repeated_kind_is_not_read_again_while_the_budget_does_not_raise_it():
    lines = [(usual, b"odd\n")[: 1 + (n % 7 == 0 and n > 300)] for n, usual in enumerate(CALM * 2)]
    _, seen = watched([line for pair in lines for line in pair], alarms="4/1000")
    odd = [line for line in seen if line.text == "odd"]
    assert sum(line.raised for line in odd) <= 4
    assert sum(line.is_familiar for line in odd) > len(odd) / 2
    assert not any(line.is_familiar for line in odd if line.raised)


@pytest.mark.parametrize("network_lines", [60, 2000])
@pytest.mark.parametrize("learn", ["all", "memory"])
def test_save_and_load_continues_with_the_same_lines_to_the_last_bit(tmp_path, monkeypatch, learn, network_lines):
    monkeypatch.setattr(single_stream, "NETWORK_LINES", network_lines)
    predictor = fresh()
    predictor.learn = learn
    lines = [*CALM, *[STRANGE, *CALM[:9]] * 20]
    watcher = Watcher(predictor, warmup=30)
    for line in lines[:777]:
        watcher.observe(line)
    watcher.save(tmp_path / "m")
    loaded = Watcher.load(tmp_path / "m", warmup=30)
    for line in lines[777:]:
        assert watcher.observe(line) == loaded.observe(line)
    assert watcher.counts.familiar > 200
    watcher.save(tmp_path / "a")
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_thorough_watcher_continues_a_file_with_familiar_lines_and_the_other_way_round(tmp_path):
    watcher, _ = watched(CALM[:400])
    watcher.save(tmp_path / "m")
    thorough = Watcher.load(tmp_path / "m", thorough=True)
    assert not any(thorough.observe(line).is_familiar for line in CALM[400:500])
    thorough.save(tmp_path / "m")
    again = Watcher.load(tmp_path / "m")
    assert not again.observe(CALM[500]).is_familiar
    assert sum(again.observe(line).is_familiar for line in CALM[501:900]) > 200


CHANGES = ["shape", "row", "dtype", "missing", "lines", "number of values", "number of lines", "stamp", "bucket"]


@pytest.mark.parametrize("change", CHANGES)
def test_inconsistent_tables_are_refused(change):
    known, arrays = tables(*jobs("job N")), {}
    described = known.describe(arrays, "x.")
    if change == "shape":
        arrays["x.usual.slots"] = arrays["x.usual.slots"][:, :-1]
    elif change == "row":
        arrays["x.usual.kinds.rows"][-1] = 2**40
    elif change == "dtype":
        arrays["x.usual.kinds"] = arrays["x.usual.kinds"].astype(np.float32)
    elif change == "missing":
        del arrays["x.usual.scores"]
    elif change == "number of values":
        arrays["x.usual.slots"][0, N_VALUES] = -(2**40)
    elif change == "number of lines":
        arrays["x.usual.kinds"][0, N_READ] = -1
    elif change == "stamp":
        arrays["x.usual.kinds"][0, STAMP] = 2**62
    elif change == "bucket":
        arrays["x.usual.kinds.rows"] ^= WAYS
    else:
        described["lines"] = -1
    before = {name: array.copy() for name, array in arrays.items()}
    with pytest.raises((ValueError, KeyError)):
        known.restore(described, before, "x.")


def test_a_checkpoint_holds_only_what_is_used(tmp_path):
    watcher, _ = watched(CALM)
    watcher.save(tmp_path / "m")
    arrays, _ = read_checkpoint(tmp_path / "m")
    assert sum(array.nbytes for name, array in arrays.items() if "familiar" in name) < 20_000


def test_the_record_tells_how_a_line_was_read(tmp_path):
    (tmp_path / "log").write_bytes(b"".join(CALM[:400]) + STRANGE)
    records = objects(run("watch", tmp_path / "log", *FRESH, "--all", "--format", "jsonl").stdout)
    assert {record["read"] for record in records[:100]} == {"full"}
    assert {record["read"] for record in records[100:400]} == {"full", "familiar"}
    assert records[-1]["read"] == "full"
    records = objects(run("watch", tmp_path / "log", *FRESH, "--all", "--format", "jsonl", "--thorough").stdout)
    assert {record["read"] for record in records} == {"full"}


def test_learning_is_unchanged_by_lines_that_are_not_read():
    watcher, _ = watched(CALM[:500])
    predictor = fresh()
    read = [line for line, seen in zip(CALM[:500], watched(CALM[:500])[1], strict=True) if not seen.is_familiar]
    predictor.observe_many(b"".join(read))
    assert watcher.observe(STRANGE).bits_per_char == pytest.approx(predictor.observe_many(STRANGE).mean())
