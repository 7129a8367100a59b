"""The log clock against true time: budgets and sessions of logs whose times jump, jitter, or come from many zones."""

import itertools
import json
import math
import random

import pytest
from commands import run, start
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_cli import TINY
from test_watch_run import wait_for

from streamlstm import Config, SessionWatcher, StreamPredictor, Watcher
from streamlstm.checkpoint import read_checkpoint, write_checkpoint
from streamlstm.logs.timestamps import find_time, iso_time, seconds_of
from streamlstm.watch import log_clock
from streamlstm.watch.budget import Budget, BudgetKeeper
from streamlstm.watch.log_clock import BELIEVED, JITTER, PROOF, LogClock, checked_seconds

YEAR_1, YEAR_9999, EPOCH = -62135596800.0, 253402300799.0, 1.7e9
DAY = 86_400.0


# What can be wrong with the times of a log: from the number of a line and its true time, what it shows and its source.


def mixed(other, part):
    """Some lines show another time."""
    return lambda draw, n, t: (other(draw, n, t) if draw.random() < part else t, "")


def in_blocks(other, size, of):
    """Of each `size` lines, the first `of` show another time."""
    return lambda draw, n, t: (other(draw, n, t) if n % size < of else t, "")


def zone(hours):
    return lambda draw, n, t: t + 3600 * hours


def sources(shown):
    """Twenty sources."""

    def disturbed(draw, n, t):
        source = draw.randrange(20)
        return shown(source, t), f"host-{source}"

    return disturbed


DISTURBED = {
    "nothing": lambda draw, n, t: (t, ""),
    "jitter": lambda draw, n, t: (t - draw.uniform(0, JITTER - 10), ""),
    "every second line is of 1970": lambda draw, n, t: (t - EPOCH * (n % 2), ""),
    "two zones": mixed(zone(2), 0.5),
    "a zone half an hour ahead": mixed(zone(0.5), 0.5),
    "a zone behind": mixed(zone(-7), 0.3),
    "three zones": lambda draw, n, t: (t + 3600 * draw.choice([0, 2, -7]), ""),
    "blocks of two zones": lambda draw, n, t: (t + 7200 * (n // 100 % 2), ""),
    "uptimes": mixed(lambda draw, n, t: (t - EPOCH) % 5000, 0.5),
    "blocks of 1970": in_blocks(lambda draw, n, t: t - EPOCH, 100, 30),
    "1970 at first": lambda draw, n, t: (t - EPOCH * (n < 500), ""),
    "now and then year 9999": mixed(lambda *_: YEAR_9999, 0.05),
    "blocks of year 9999": in_blocks(lambda *_: YEAR_9999, 1000, 20),
    "now and then year 1": mixed(lambda *_: YEAR_1, 0.1),
    "year 9999 at first": in_blocks(lambda *_: YEAR_9999, 10**9, 1),
    "any time now and then": mixed(lambda draw, n, t: draw.uniform(YEAR_1, YEAR_9999), 0.1),
    "any time of two days now and then": mixed(lambda draw, n, t: t + draw.uniform(-DAY, DAY), 0.1),
    "lines that come hours late": mixed(lambda draw, n, t: t - draw.uniform(0, 10_000), 0.1),
    "a clock that is set back by an hour, again and again": lambda draw, n, t: (t - 3600 * (n // 2000), ""),
    "a clock that is set back by ten hours": lambda draw, n, t: (t - 36_000 * (n > 9000), ""),
    "a clock that is set back and forth": lambda draw, n, t: (t - 3600 * (n // 500 % 2), ""),
    "a clock that is set forward by years": lambda draw, n, t: (t + 3e8 * (n // 5000), ""),
    "times of day": lambda draw, n, t: (t % DAY, ""),
    "whole minutes": lambda draw, n, t: (t // 60 * 60, ""),
    "leap seconds": lambda draw, n, t: (t - (t % 600 > 599), ""),
    "lines without a time": lambda draw, n, t: (t if draw.random() < 0.5 else None, ""),
    "sources in zones": sources(lambda source, t: t + 900 * source - 9000),
    "sources of which some count from 1970": sources(lambda source, t: t - EPOCH * (source % 3 == 0)),
    "sources that are not synchronised": sources(lambda source, t: t + 7 * source),
    "sources of any year": sources(lambda source, t: t + random.Random(source).uniform(YEAR_1, YEAR_9999)),
}
"""Each is a property of the log for its whole length; true time is that of the lines of "nothing"."""

SET_FORWARD = {"blocks of two zones": 1.0}
"""How many hours too many the clock may count once: a zone that is first seen in many lines in a row is like a gap."""


def log_of(name, seed, n=20_000):
    """Lines as (true time, what is shown, source)."""
    draw = random.Random(seed)
    per_second, time = draw.choice([0.2, 1.0, 20.0]), EPOCH
    for index in range(n):
        time += draw.expovariate(per_second)
        yield (time - EPOCH, *DISTURBED[name](draw, index, time))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
@pytest.mark.parametrize("name", DISTURBED)
def test_the_clock_counts_true_time_whatever_the_lines_show(name, seed):
    clock = LogClock()
    lines = list(log_of(name, seed))
    for _, shown, source in lines:
        clock.observe(shown, source)
    true = lines[-1][0]
    allowed = 3600 * SET_FORWARD.get(name, 0.0) + JITTER
    assert 0.95 * true - 2 * JITTER <= clock.now <= 1.05 * true + allowed


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if n % 2 else ()) for n, name in enumerate(DISTURBED)]
)
def test_a_budget_is_kept_whatever_the_lines_show(name):
    budget = Budget.parse("60/hour")
    keeper, clock, draw = BudgetKeeper(budget), LogClock(), random.Random(1)
    lines = list(log_of(name, 4))
    for index, (_, shown, source) in enumerate(lines):
        clock.observe(shown, source)
        keeper.receive(clock.now)
        keeper.judge(draw.paretovariate(1.0), f"kind {index}")
    true = lines[-1][0]
    burst = 2 * budget.n_alarms + 60 * SET_FORWARD.get(name, 0.0)
    assert keeper.n_raised <= 1.2 * 60 * true / 3600 + burst
    assert keeper.n_raised >= 0.5 * 60 * true / 3600


IDLE = 600.0


@pytest.mark.parametrize(
    "name", [n for n in DISTURBED if n not in (*SET_FORWARD, "a clock that is set back and forth")]
)
def test_sessions_end_when_they_were_idle_for_that_long_and_not_earlier(name):
    """A session may be believed idle too long or too short by the jitter, and by the time of a run of lines."""
    watcher, draw = SessionWatcher(predictor(), idle_seconds=IDLE, warmup=10**9), random.Random(2)
    last: dict[str, float] = {}
    longest = 0.0
    time_before = 0.0
    for true, shown, source in log_of(name, 5, 6000):
        longest, time_before = max(longest, true - time_before), true
        session = f"{source}/{int(true // 100) - draw.randrange(3)}"
        for ended in watcher.observe("works", session=session, seconds=shown, source=source):
            idle = true - last.pop(ended.session, true)
            assert idle >= IDLE - JITTER - 40 * longest, (ended.session, idle)
        last[session] = true
    slack = JITTER + IDLE + 20 * (BELIEVED + 30) * longest
    assert all(true - seconds <= slack for seconds in last.values())


def predictor():
    return StreamPredictor(config=Config(hidden=4, layers=1, window=8, memory_bits=10))


def test_two_sources_in_different_zones_do_not_end_each_others_sessions():
    watcher = SessionWatcher(predictor(), session_regex=r"req-\d+", idle_seconds=60)
    for n in range(200):
        for source, hours in (("a", 0), ("b", 7)):
            assert not watcher.observe(f"req-{source == 'a':d} works", seconds=n + 3600.0 * hours, source=source)


def test_a_gap_ends_sessions_and_keeps_those_of_the_lines_after_it():
    watcher = SessionWatcher(predictor(), session_regex=r"req-\d+", idle_seconds=60)
    for n in range(20):
        watcher.observe("req-1 works", seconds=float(n))
    n_lines = BELIEVED + PROOF
    ended = [watcher.observe(f"req-{n} works", seconds=36_000.0 + n) for n in range(2, 2 + n_lines)]
    assert [[each.session for each in one] for one in ended] == [[]] * (n_lines - 1) + [["req-1"]]


def test_files_that_are_read_one_after_the_other_and_cover_the_same_hours_count_once():
    clock = LogClock()
    for name, first in (("a", 0), ("b", 60), ("c", 5), ("d", 5 * 3600)):
        for second in range(first, 5 * 3600 + first, 10):
            clock.observe(EPOCH + second, name)
    assert 10 * 3600 - 100 <= clock.now <= 10 * 3600


def test_waiting_ends_sessions_and_is_not_counted_twice():
    watcher = SessionWatcher(predictor(), session_regex=r"req-\d+", idle_seconds=60)
    watcher.observe("req-1 works", seconds=0.0, source="a")
    assert not watcher.pass_time(50.0, source="a")
    assert not watcher.pass_time(1e6, source="b")
    assert not watcher.observe("req-2 works", seconds=50.0, source="a")
    assert not watcher.observe("req-2 works", seconds=60.0, source="a")
    assert [ended.session for ended in watcher.pass_time(61.0, source="a")] == ["req-1"]


def test_sources_are_bounded_and_sessions_of_forgotten_ones_end(monkeypatch):
    monkeypatch.setattr(log_clock, "MAX_SOURCES", 50)
    watcher = SessionWatcher(predictor(), idle_seconds=60)
    watcher.observe("works", session="first", seconds=1.0, source="first")
    ended = [each for n in range(50) for each in watcher.observe("works", seconds=1.0, source=f"{n}")]
    assert [each.session for each in ended] == ["first"]
    assert len(watcher._clock.describe()["sources"]) == 50


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_clock_goes_on_as_if_it_had_not_been_saved(data):
    times = st.floats(YEAR_1, YEAR_9999) | st.floats(0, 100) | st.none()
    lines = data.draw(st.lists(st.tuples(times, st.sampled_from("abc")), max_size=60))
    one, other = LogClock(), LogClock()
    for seconds, source in lines:
        other = LogClock.from_description(json.loads(json.dumps(other.describe())))
        before = one.now
        assert one.observe(seconds, source) == other.observe(seconds, source)
        assert one.now >= before
        assert one.describe() == other.describe()


# Many clocks in one file


def any_of(n_clocks, furthest, size, nearest=310):
    """Blocks of lines of clocks that are wrong by any constant, in random order."""
    draw = random.Random(n_clocks)
    offsets = [draw.choice([-1, 1]) * draw.uniform(nearest, furthest) for _ in range(n_clocks)]
    return lambda n, t: t + offsets[random.Random(n // size).randrange(n_clocks)]


def zones(n_zones, size):
    return lambda n, t: t + 3600 * (random.Random(n // size).randrange(n_zones) - n_zones // 2)


def any_time(furthest, size):
    """Blocks of lines, each of another time."""
    return lambda n, t: t + random.Random(n // size).uniform(-furthest, furthest)


IN_ONE_FILE = {
    "a block of 8 lines of another day in each 100": lambda n, t: t + DAY * (1 + n // 100) if n % 100 < 8 else t,
    "a block of 8 lines of any day in each 100": lambda n, t: t + 0.9 * DAY * (n // 100 % 25 + 1) if n % 100 < 8 else t,
    "a clock that is set back by 10 minutes, again and again": lambda n, t: t - n // 50 % 7 * 600,
    "three zones": lambda n, t: t + 3600 * [0, 2, -5][n % 3],
    "an uptime": lambda n, t: t - EPOCH,
    "an uptime that begins anew": lambda n, t: n % 200 * 1.8,
    "blocks of year 9999": lambda n, t: YEAR_9999 if n // 20 % 2 else t,
    "summer time ends": lambda n, t: t - 3600 * (n > 2000),
    "times of day": lambda n, t: (t + 4320) % DAY,
    "garbage": lambda n, t: random.Random(n).uniform(YEAR_1, YEAR_9999),
    **{
        f"{k} hosts, blocks of {size}": any_of(k, 3600, size)
        for k in (2, 3, 8, 9, 12, 20, 50, 100, 300)
        for size in (1, 5, 10, 30)
    },
    **{f"{k} hosts within a year, blocks of {size}": any_of(k, 365 * DAY, size) for k in (20, 100) for size in (1, 10)},
    **{f"{k} zones, blocks of {size}": zones(k, size) for k in (2, 3, 5, 9, 12, 24) for size in (1, 10)},
    **{f"{k} zones in turn": lambda n, t, k=k: t + 3600 * (n % k) for k in (2, 9, 12, 24)},
    **{f"20 minutes off, blocks of {size}": any_time(1200, size) for size in (1, 2, 5, 9, 10, 20)},
    **{f"any of 20 days, blocks of {size}": any_time(10 * DAY, size) for size in (1, 5, 8, 9, 10, 12, 20)},
    **{f"{h} hours off, blocks of {size}": any_time(3600 * h, size) for h in (1, 3, 8, 24, 72) for size in (1, 9)},
}
"""What the n-th line shows, whose true time is t: one file that is written by many."""


def alarms_of(lines, budget):
    """How many alarms are raised for lines, given as what they show, of which a tenth are unusual."""
    keeper, clock, draw = BudgetKeeper(Budget.parse(budget)), LogClock(), random.Random(3)
    for n, shown in enumerate(lines):
        clock.observe(shown, "a.log")
        keeper.receive(clock.now)
        is_unusual = draw.random() < 0.1 and n > 200
        keeper.judge(50 + draw.random() if is_unusual else draw.random() + n % 7 / 10, f"kind {draw.random()}")
    return keeper.n_raised, clock.now


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if n % 3 else ()) for n, name in enumerate(IN_ONE_FILE)]
)
def test_a_budget_is_kept_however_many_clocks_write_one_file(name):
    """Two hours at 5 per hour, and what the account holds."""
    shown = IN_ONE_FILE[name]
    n_raised, _ = alarms_of([shown(n, EPOCH + 1.8 * n) for n in range(4000)], "5/hour")
    assert n_raised <= 1.2 * 10 + 10


@given(
    n_clocks=st.integers(1, 100),
    furthest=st.sampled_from([600.0, 3600.0, DAY, 365 * DAY, 6e10]),
    size=st.sampled_from([1, 2, 5, 8, 9, 10, 20, 30]),
    in_turn=st.booleans(),
    jitter=st.sampled_from([0.0, 1.0, 60.0, 290.0]),
    back=st.sampled_from([0.0, 3600.0, 36_000.0]),
    wrong=st.sampled_from([0.0, 0.05, 0.3]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_time_passes_no_faster_than_it_does_for_any_clocks_in_one_file(
    n_clocks, furthest, size, in_turn, jitter, back, wrong, seed
):
    draw, clock = random.Random(seed), LogClock()
    offsets = [draw.uniform(-furthest, furthest) for _ in range(n_clocks)]
    true, which = 0.0, 0
    for n in range(4000):
        true += draw.expovariate(0.5)
        if n % size == 0:
            which = n // size % n_clocks if in_turn else draw.randrange(n_clocks)
        shown = EPOCH + true + offsets[which] - draw.uniform(0, jitter) - back * (n > 2000)
        clock.observe(draw.uniform(YEAR_1, YEAR_9999) if draw.random() < wrong else shown, "a.log")
        assert clock.now <= 1.2 * true + BURST_HOURS * 3600, n


BURST_HOURS = 4
"""What gaps between clocks count before lines have refuted them."""


def steps_of(step_of, n=4000):
    return list(itertools.accumulate((step_of(index) for index in range(n)), initial=EPOCH))


HONEST = {
    "steady": steps_of(lambda n: 1.8),
    "at random": steps_of(lambda n: random.Random(n).expovariate(0.5)),
    "a pause of hours": steps_of(lambda n: 10_800.0 if n % 500 == 499 else 1.8),
    "a pause of 20 minutes": steps_of(lambda n: 1200.0 if n % 100 == 99 else 1.8),
    "nights": steps_of(lambda n: 43_200.0 if n % 300 == 299 else 60.0),
    "a week": steps_of(lambda n: 7 * DAY if n == 2000 else 30.0),
    "a line in 10 minutes": steps_of(lambda n: 600.0),
    "a line in 2 hours": steps_of(lambda n: 7200.0),
    "9 lines in 50 minutes": steps_of(lambda n: 3000.0 if n % 9 == 8 else 1.8),
    "3 lines in 10 minutes": steps_of(lambda n: 600.0 if n % 3 == 2 else 1.0),
}
WITH_TWO_ZONES = ("steady", "at random", "a pause of hours", "a pause of 20 minutes", "nights", "a week")


@pytest.mark.parametrize(("name", "hours"), [*((n, 0) for n in HONEST), *((n, 2) for n in WITH_TWO_ZONES)])
def test_time_that_passes_is_given_to_a_budget(name, hours):
    """Of each step at most an hour, as in version 1.0."""
    times = HONEST[name]
    allowed = sum(min(after - before, 3600.0) for before, after in itertools.pairwise(times))
    shown = [time + 3600 * hours * (random.Random(n).random() < 0.5) for n, time in enumerate(times)]
    per_day = 100 * DAY / allowed  # 100 alarms in all
    n_raised, now = alarms_of(shown, f"{per_day:.3f}/day")
    assert now >= 0.8 * allowed
    assert 80 <= n_raised <= 1.2 * 100 * now / allowed + 2 * per_day


@pytest.mark.parametrize("size", [1, 10])
@pytest.mark.parametrize("n_zones", [2, 7, 8, 9, 12, 20, 50])
def test_sessions_are_not_split_however_many_zones_write_one_file(n_zones, size):
    watcher = SessionWatcher(predictor(), idle_seconds=300, warmup=10**9)
    events = sorted([(2.0 * n, n) for n in range(1000)] + [(2.0 * n + 20, n) for n in range(1000)])
    ended = []
    for index, (time, n) in enumerate(events):
        zone = random.Random(index // size).randrange(n_zones) if size > 1 else n % n_zones
        ended += watcher.observe("works", session=f"{n}", seconds=EPOCH + time + 3607 * zone)
    ended += watcher.finish()
    assert [session.n_lines for session in ended] == [2] * 1000


def test_the_command_keeps_a_budget_in_a_file_of_nine_zones():
    draw = random.Random(5)
    lines = []
    for n in range(3000):
        stamp = iso_time(EPOCH + 2.4 * n + 3600 * draw.randrange(9))
        rare = "".join(draw.choices("QZXJKVW#@%^&*", k=14))
        lines.append(f"{stamp} {rare if n > 200 and draw.random() < 0.1 else f'job {n % 7} done'}")
    result = run("watch", "--alarms", "5/hour", "--format", "jsonl", *TINY, stdin="\n".join(lines).encode())
    assert result.returncode == 0, result.stderr
    assert 5 <= len(result.stdout.splitlines()) <= 1.2 * 10 + 10


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e9])
def test_times_in_any_unit_are_taken_as_in_version_1_0(scale):
    watcher = Watcher(predictor(), alarms="5/hour", warmup=1)
    sessions = SessionWatcher(predictor(), alarms="5/hour", session_regex=r"job (\d)")
    for n in range(60):
        watcher.observe(f"job {n % 7}\n", seconds=scale * (EPOCH + n))
        sessions.observe(f"job {n % 7}\n", seconds=scale * (EPOCH + n))
    assert watcher._clock.describe()["now"] >= 0


def leaves_of(value, path=()):
    """The paths to the numbers of a JSON value, and to one in place of an empty list."""
    if isinstance(value, dict):
        return [each for key in value for each in leaves_of(value[key], (*path, key))]
    if isinstance(value, list):
        return [each for index in range(len(value)) for each in leaves_of(value[index], (*path, index))]
    return [path] if isinstance(value, (int, float)) or value is None else []


def described_clock():
    """A clock with something in each list: gaps, lines beyond one, lines away, clocks that were left, what counted."""
    clock = LogClock()
    for seconds in (*range(100), 1, 2):
        clock.observe(float(seconds), "a" if seconds > 2 else "b")
    described = clock.describe()
    described["sources"][-1] |= {
        "gaps": [[1.0, 5000.0, 3600.0, 5, 9, 24, 0]],
        "ahead": [[20_000.0, 9]],
        "away": [200.0],
        "left": [5.0],
        "counted": [[4000.0, 3600.0]],
    }
    return described


@pytest.mark.parametrize("hostile", [math.nan, math.inf, -math.inf, -1, 1e308, -1e308, 2**70, "x", None, []])
def test_a_clock_with_any_number_from_a_file_is_refused_or_goes_on(hostile):
    described = described_clock()
    n_refused = 0
    for path in leaves_of(described):
        changed = json.loads(json.dumps(described))
        place = changed
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = hostile
        try:
            clock = LogClock.from_description(changed)
        except (ValueError, TypeError):
            n_refused += 1
            continue
        before = clock.now
        for n in range(60):
            clock.observe([EPOCH + n, -1e308, 1e308, 20_006.0][n % 4] if n > 12 else 20_006.0 + n, "ab"[n % 2])
            clock.wait(1e308, "a")
            assert before <= clock.now < math.inf
            before = clock.now
        LogClock.from_description(json.loads(json.dumps(clock.describe(), allow_nan=False)))
    assert n_refused > 10


def test_a_clock_that_knew_several_clocks_goes_on():
    """What the files of a development version of 1.1 have."""
    values = [0, 20, 40.0, 40.0, 7300.0, 40.0, 40.0, 5.0]
    sources = [["a", values, [[7260.0, 7200.0, 7300.0], [60.0, 60.0, 90.0]], []]]
    clock = LogClock.from_description({"now": 40.0, "n_sources": 1, "sources": sources, "unnamed": False})
    clock.observe(7303.0, "a")
    assert (clock.now, clock.time(0)) == (43.0, 43.0)


# Times that are none


ANY = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e300, 10**400, 1e12, 1.0000001e12, "12", b"1", True, [], {}]),
    st.none(),
    st.floats(0, 1e6),
    st.decimals(),
)


def is_time(seconds):
    try:
        checked_seconds(seconds)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "options",
    [{"alarms": "5/hour"}, {}, {"alarms": "5/hour", "keyed": True}, {"alarms": "5/100"}],
    ids=str,
)
@given(moves=st.lists(ANY | st.just("save"), max_size=12))
@example(moves=[0.0, math.nan, "save", 1.0, "save"])
@settings(max_examples=25, deadline=None)
def test_a_watcher_refuses_what_is_no_time_and_what_it_saves_can_be_loaded(tmp_path_factory, options, moves):
    folder = tmp_path_factory.mktemp("w")
    watcher, reference = Watcher(predictor(), warmup=1, **options), Watcher(predictor(), warmup=1, **options)
    for index, move in enumerate(moves):
        if move == "save":
            watcher.save(folder / f"{index}")
            watcher.close()
            watcher = Watcher.load(folder / f"{index}", warmup=1, **options)
        elif is_time(move):
            expected = reference.observe(f"line {index % 3}\n", key="k", seconds=move)
            assert watcher.observe(f"line {index % 3}\n", key="k", seconds=move) == expected
        else:
            with pytest.raises(ValueError, match="seconds must be a number"):
                watcher.observe("new\n", key="other", seconds=move)
    watcher.close()
    reference.close()


@given(
    moves=st.lists(st.tuples(st.booleans(), ANY) | st.just("save"), max_size=12),
    alarms=st.sampled_from(["5/hour", None]),
)
@example(moves=[(True, 0.0), (True, math.nan), "save", (False, math.inf), "save"], alarms="5/hour")
@settings(max_examples=60, deadline=None)
def test_a_session_watcher_refuses_what_is_no_time_and_what_it_saves_can_be_loaded(tmp_path_factory, moves, alarms):
    folder = tmp_path_factory.mktemp("s")
    options = {"alarms": alarms, "warmup": 1, "idle_seconds": 60}
    watcher, reference = SessionWatcher(predictor(), **options), SessionWatcher(predictor(), **options)
    for index, move in enumerate(moves):
        if move == "save":
            watcher.save(folder / "s")
            watcher = SessionWatcher.load(folder / "s", **options)
            continue
        is_line, seconds = move
        found = []
        for each in (watcher, reference):
            act = each.observe if is_line else each.pass_time
            how = {"session": f"{index % 4}"} if is_line else {}
            line = ["works"] if is_line else []
            if is_time(seconds):
                found.append(act(*line, **{"seconds": seconds, **how}))
            else:
                before = each._describe()
                with pytest.raises(ValueError, match="seconds must be a number"):
                    act(*line, **{"seconds": seconds, **how})
                assert each._describe() == before
        assert len(found) in (0, 2)
        assert found[:1] == found[1:]
    assert watcher.finish() == reference.finish()


@pytest.mark.parametrize("source", [b"a.log", None, 3, ("a.log",), ["a.log"]])
def test_a_source_that_is_no_text_is_refused_and_the_watcher_can_still_be_saved(tmp_path, source):
    lines = Watcher(predictor(), alarms="5/hour", warmup=1)
    sessions = SessionWatcher(predictor(), alarms="5/hour", warmup=1)
    for watcher, how in ((lines, {}), (sessions, {"session": "7"})):
        watcher.observe("job 1 begins", seconds=1.0, source="b.log", **how)
        watcher.save(tmp_path / "before")
        with pytest.raises(TypeError, match="source must be a str"):
            watcher.observe("new words", seconds=2.0, source=source, **how)
        watcher.save(tmp_path / "after")
        assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()
    with pytest.raises(TypeError, match="source must be a str"):
        sessions.pass_time(2.0, source=source)


@pytest.mark.parametrize("line", [3, True, None, 1.5])
def test_a_line_that_is_no_text_is_refused_with_nothing_changed(tmp_path, line):
    watcher = Watcher(predictor(), alarms="5/hour", warmup=1)
    watcher.save(tmp_path / "before")
    with pytest.raises(TypeError):
        watcher.observe(line, seconds=2.0)
    watcher.save(tmp_path / "after")
    assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()


# The times that stamps name


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("0001-01-01T00:00:00Z", YEAR_1),
        ("0099-01-01 00:00:00", YEAR_1 + 98 * 365.25 * DAY - 0.5 * DAY),
        ("26/01/02 00:00:00", 1767312000.0),
        ("9999-12-31T23:59:59Z", YEAR_9999),
        ("9999-12-31T23:59:59-05:00", YEAR_9999 + 18_000),
        ("0001-01-01T00:00:00+14:00", YEAR_1 - 50_400),
        ("2016-12-31T23:59:60Z", 1483228799.0),
    ],
)
def test_the_ends_of_the_calendar_are_times(stamp, seconds):
    assert seconds_of(stamp) == seconds


STAMPS = st.from_regex(
    r"\A\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?\Z"
    r"|\A\d\d/\d\d/\d\d \d\d:\d\d:\d\d\Z|\A\d{6} \d{6}\Z|\A\d{1,25}(\.\d{1,9})?\Z|\A\d{8}-\d\d?:\d\d:\d\d\Z"
    r"|\A(Jan|Feb|Dec) \d\d? (\d{4} )?\d\d:\d\d:\d\d( \d{4})?\Z|\A\d\d?[/-]Mar[/-]\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\Z"
)


@given(STAMPS | st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_time_within_the_calendar_or_none(text):
    for stamp in (text, find_time(text)[2], find_time(text + " ")[2]):
        seconds = seconds_of(stamp)
        assert seconds is None or checked_seconds(seconds) == seconds


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59.9999999-05:00", "0001-01-01T00:00:00Z", "9" * 400, "-1e308", "1e12"]
)
def test_the_command_goes_on_whatever_time_a_line_names(time):
    lines = [f'{{"msg": "job {n % 7} done", "time": {1700000000 + n}}}' for n in range(150)]
    lines[120:120] = [f'{{"msg": "x", "time": "{time}"}}', f'{{"msg": "x", "time": {time if time[1] in "91" else 1}}}']
    for options in (["--alarms", "5/hour"], ["--session-regex", r"job (\d)"]):
        result = run("watch", *options, *TINY, stdin="\n".join(lines).encode())
        assert (result.returncode, b"152 lines" in result.stderr) == (0, True), result.stderr


def test_a_watcher_continues_what_version_1_0_saved(tmp_path):
    options = {"alarms": "5/hour", "warmup": 5}
    lines = [(f"job {n % 7} done\n", EPOCH + n) for n in range(300)]
    whole, watcher = Watcher(predictor(), **options), Watcher(predictor(), **options)
    expected = [whole.observe(line, seconds=seconds) for line, seconds in lines]
    for line, seconds in lines[:200]:
        watcher.observe(line, seconds=seconds)
    watcher.save(tmp_path / "w")
    arrays, values = read_checkpoint(tmp_path / "w")
    del values["watch"]["clock"]
    values["watch"]["budget"]["account"][4] = lines[199][1]
    write_checkpoint(tmp_path / "w", arrays, values)
    again = Watcher.load(tmp_path / "w", **options)
    assert [again.observe(line, seconds=seconds, source="a.log") for line, seconds in lines[200:]] == expected[200:]
    assert again._keeper.describe()["account"][:4] == pytest.approx(whole._keeper.describe()["account"][:4], rel=1e-9)


def test_sessions_continue_what_version_1_0_saved(tmp_path):
    options = {"session_regex": r"req-\d+", "alarms": "5/hour", "warmup": 5, "idle_seconds": 60}
    lines = [(f"req-{n // 4} works\n", EPOCH + n) for n in range(300)]
    whole, watcher = SessionWatcher(predictor(), **options), SessionWatcher(predictor(), **options)
    expected = [whole.observe(line, seconds=seconds) for line, seconds in lines]
    for line, seconds in lines[:200]:
        watcher.observe(line, seconds=seconds)
    watcher.save(tmp_path / "s")
    arrays, values = read_checkpoint(tmp_path / "s")
    saved = values["sessions"]
    del saved["clock"], saved["open"]["places"], saved["has_regex"]
    saved["open"] |= {"time": lines[199][1], "clock": 199.0}
    saved["budget"]["account"][4] = lines[199][1]
    write_checkpoint(tmp_path / "s", arrays, values)
    again = SessionWatcher.load(tmp_path / "s", **options)
    assert [again.observe(line, seconds=seconds, source="a.log") for line, seconds in lines[200:]] == expected[200:]
    assert again.finish() == whole.finish()


def test_the_sessions_of_a_file_that_is_silent_end_while_another_one_is_busy(tmp_path):
    quiet, busy, out = tmp_path / "quiet.log", tmp_path / "busy.log", tmp_path / "out"
    quiet.write_text("12:00:00 job 1 begins\n")
    busy.write_text("")
    options = ["--session-regex", r"job (\d+)", "--idle-seconds", "2", "--all", "--format", "jsonl", "--output", out]
    with start("watch", "--follow", quiet, busy, *options, *TINY) as process, open(busy, "a", buffering=1) as file:
        numbers = itertools.count(2)

        def is_ended():
            for _ in range(5):
                file.write(f"19:00:{next(numbers) // 50 % 60:02} job 0 works\n")
            return out.exists() and '"session": "1"' in out.read_text()

        wait_for(is_ended)
        process.terminate()
