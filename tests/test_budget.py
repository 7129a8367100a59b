"""A budget of alarms: the histogram of recent scores, how well budgets are kept, and each kind raised once."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.watch.budget import MAX_KINDS, N_BINS, Budget, BudgetKeeper, RecentScores, bin_of, lower_edge
from streamlstm.watch.templates import MAX_KIND_LENGTH, kind_of

# The histogram


@given(st.floats(allow_nan=True), st.floats(allow_nan=True))
def test_a_bin_increases_with_the_score_and_is_narrow(a, b):
    assert 0 <= bin_of(a) < N_BINS
    if a <= b:
        assert bin_of(a) <= bin_of(b)
    if 0.1 <= a < 2**13:
        assert lower_edge(bin_of(a)) <= a < lower_edge(bin_of(a) + 1) <= a * 1.04


@given(st.lists(st.floats(0, 50) | st.none(), max_size=80), st.lists(st.integers(0, 60), min_size=1, max_size=5))
@settings(max_examples=60)
def test_the_edge_is_the_lowest_bin_with_at_most_n_scores_from_it_on(scores, limits):
    recent = RecentScores(window=25)
    for index, score in enumerate(scores):
        recent.add(score)
        first = max((index // 25 - 1) * 25, 0)
        bins = [bin_of(score) for score in scores[first : index + 1] if score is not None]
        for n in limits:
            expected = next(edge for edge in range(N_BINS + 1) if sum(b >= edge for b in bins) <= n)
            assert recent.bin_exceeded_by(n) == expected
        assert recent.n_lines == index + 1 - first
        assert recent.count_from(7.0) == sum(b >= bin_of(7.0) for b in bins)


@pytest.mark.parametrize(
    "change",
    [{"newer": [[-1, 1]]}, {"newer": [[0, -1]]}, {"newer": [[N_BINS, 1]]}, {"n_newer": 0}, {"n_older": "x"}],
)
def test_a_damaged_histogram_is_refused(change):
    recent = RecentScores(10)
    recent.add(1.0)
    with pytest.raises((ValueError, TypeError)):
        RecentScores(10, recent.describe() | change)


# The budget


def normal(draw, n):
    return [draw.gauss(0, 1) for _ in range(n)]


STREAMS = {
    "normal": normal,
    "heavy tail": lambda draw, n: [draw.paretovariate(1.5) for _ in range(n)],
    "rising": lambda draw, n: [draw.gauss(0, 1) + 5 * i / n for i in range(n)],
    "a new level": lambda draw, n: [draw.gauss(0, 1) + 8 * (i > n // 2) for i in range(n)],
    "an old level": lambda draw, n: [draw.gauss(0, 1) + 8 * (i < n // 2) for i in range(n)],
    "bursts": lambda draw, n: [draw.gauss(20, 3) if i % 4000 < 40 else draw.gauss(0, 1) for i in range(n)],
    "falling": lambda draw, n: [
        30 * 2 ** (-i / 12e3) + draw.random() if draw.random() < 0.05 else -1 for i in range(n)
    ],
    "louder at times": lambda draw, n: [draw.gauss(0, 1) * (1 + i // 3000 % 2) for i in range(n)],
}


def judged(keeper, score, kind, now=0.0):
    keeper.receive(now)
    return keeper.judge(score, kind)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("budget", ["10/1000", "10/10000"])
def test_a_budget_is_kept_within_a_factor_of_1_5_after_5000_lines(name, budget):
    n = 45_000
    keeper = BudgetKeeper(Budget.parse(budget))
    raised = [
        judged(keeper, score, f"kind {i}").is_raised for i, score in enumerate(STREAMS[name](random.Random(1), n))
    ]
    wanted = (n - 5000) * keeper.budget.n_alarms / keeper.budget.lines
    assert wanted / 1.5 <= sum(raised[5000:]) <= wanted * 1.5
    assert sum(raised[:5000]) <= 5000 * wanted / n + 2 * keeper.budget.n_alarms


@pytest.mark.parametrize("per_second", [0.5, 40])
def test_a_budget_per_hour_is_kept_whatever_the_number_of_lines(per_second):
    draw, keeper, time, raised = random.Random(2), BudgetKeeper(Budget.parse("20/hour")), 0.0, []
    for index in range(40_000):
        time += draw.expovariate(per_second)
        verdict = judged(keeper, draw.gauss(0, 1), f"kind {index}", time)
        if verdict.is_raised and index >= 5000:
            raised.append(index)
    wanted = 20 * 35_000 / per_second / 3600
    assert wanted / 1.5 - 3 <= len(raised) <= wanted * 1.5 + 3


def test_a_kind_is_raised_once_per_period_and_then_counted():
    draw, keeper, found = random.Random(4), BudgetKeeper(Budget.parse("10/1000")), []
    for index in range(4000):
        if index >= 500 and index % 10 == 0:
            found.append(judged(keeper, 30.0, "strange"))
        else:
            judged(keeper, draw.gauss(0, 1), f"kind {index}")
    raised = [verdict for verdict in found if verdict.is_raised]
    assert all(verdict.is_unusual for verdict in found)
    assert len(raised) == 4
    assert raised[0].n_before == 0
    assert all(98 <= verdict.n_before <= 100 for verdict in raised[1:])
    assert keeper.n_repeated == len(found) - len(raised)
    assert keeper.repeated(3) == [("strange", keeper.n_repeated - sum(verdict.n_before for verdict in raised))]


@pytest.mark.parametrize("n_kinds", [1, 2, 4, 9])
@pytest.mark.parametrize("budget", ["10/1000", "20/hour"])
def test_a_budget_is_kept_where_there_are_few_kinds(n_kinds, budget):
    draw, keeper, raised = random.Random(8), BudgetKeeper(Budget.parse(budget)), []
    for index in range(25_000):
        kind = draw.randrange(n_kinds)
        if judged(keeper, draw.gauss(kind, 1), f"kind {kind}", 2.0 * index).is_raised:
            raised.append(index)
    n = sum(index >= 5000 for index in raised)
    wanted = 200 if budget == "10/1000" else 20 * 40_000 / 3600
    assert wanted / 1.5 <= n <= wanted * 1.5
    gaps = [b - a for a, b in zip(raised, raised[1:], strict=False) if a >= 5000]
    assert max(gaps) <= 4 * 20_000 / wanted  # spread evenly


def test_with_a_floor_the_budget_is_a_limit_and_each_kind_is_raised_once_per_period():
    draw, keeper, raised = random.Random(8), BudgetKeeper(Budget.parse("10/1000"), floor=7.0), []
    for index in range(10_000):
        score, kind = (9.0, "strange") if index % 20 == 0 else (draw.gauss(0, 1), "usual")
        if judged(keeper, score, kind).is_raised:
            raised.append(index)
    gaps = {b - a for a, b in zip(raised, raised[1:], strict=False)}
    assert len(raised) == 10
    assert gaps <= {1000, 1020}


def test_where_there_are_enough_kinds_none_is_raised_again_before_the_period_is_over():
    draw, keeper, raised = random.Random(9), BudgetKeeper(Budget.parse("10/1000")), []
    for index in range(20_000):
        kind = draw.randrange(300)
        if judged(keeper, draw.gauss(kind / 100, 1), f"kind {kind}").is_raised:
            raised.append((kind, index))
    last = {}
    for kind, index in raised:
        assert index - last.get(kind, -1000) >= 1000 - 1
        last[kind] = index
    assert 190 <= len(raised) <= 220


def test_a_flood_of_new_kinds_spends_no_more_than_the_account_holds():
    draw, keeper = random.Random(5), BudgetKeeper(Budget.parse("10/10000"))
    for index in range(5000):
        judged(keeper, draw.gauss(0, 1), f"kind {index}")
    before = keeper.n_raised
    flood = [judged(keeper, 100.0 + index, f"flood {index}").is_raised for index in range(1000)]
    assert 1 <= sum(flood) <= 21
    assert keeper.n_held >= 100
    assert keeper.n_raised - before == sum(flood)


def test_at_the_beginning_the_threshold_is_that_of_watch_without_a_budget():
    keeper = BudgetKeeper(Budget.parse("5/hour"))
    assert not any(judged(keeper, 5.0, f"kind {n}", 1.0 * n).is_unusual for n in range(50))
    assert judged(keeper, 8.0, "strange", 50.0).is_raised
    flood = [judged(keeper, 8.0 + n / 1000, f"flood {n}", 50.0 + n / 100).is_raised for n in range(100)]
    assert 1 <= sum(flood) <= 5


def test_nothing_up_to_the_floor_is_unusual():
    draw, keeper = random.Random(6), BudgetKeeper(Budget.parse("10/1000"), floor=6.0)
    verdicts = [judged(keeper, draw.gauss(0, 1), f"kind {index}") for index in range(3000)]
    assert not any(verdict.is_unusual for verdict in verdicts)
    assert keeper.threshold == 6.0
    assert judged(keeper, 9.0, "strange").is_raised


@pytest.mark.parametrize("budget", ["10/1000", "30/hour"])
def test_a_restored_keeper_decides_alike(budget):
    draw = random.Random(7)
    lines = [(draw.paretovariate(1.2), f"kind {draw.randrange(3000)}", 2.0 * i) for i in range(9000)]
    whole = BudgetKeeper(Budget.parse(budget))
    expected = [judged(whole, *line) for line in lines]
    keeper, found = BudgetKeeper(Budget.parse(budget)), []
    for index, line in enumerate(lines):
        if index % 1234 == 1000:
            described = keeper.describe()
            keeper = BudgetKeeper(Budget.parse(budget))
            keeper.restore(described)
        found.append(judged(keeper, *line))
    assert found == expected
    assert sum(verdict.is_raised for verdict in found) > 20


def test_what_is_remembered_is_bounded():
    keeper = BudgetKeeper(Budget.parse("500/1000"))
    for index in range(2 * MAX_KINDS):
        keeper._remember(f"kind {index}")
    assert len(keeper.describe()["kinds"]) == MAX_KINDS


def test_a_damaged_description_is_refused_and_changes_nothing():
    keeper = BudgetKeeper(Budget.parse("10/1000"))
    judged(keeper, 3.0, "kind")
    before = keeper.describe()
    for change in ({"account": [1]}, {"kinds": [7]}, {"counts": "abc"}, {"scores": {}}):
        with pytest.raises((ValueError, TypeError, KeyError)):
            keeper.restore({**before, **change})
        assert keeper.describe() == before


ODD = [
    "5/0hours",
    "5/" + "9" * 400 + "hours",
    "9" * 400 + "/hour",
    "5/" + "9" * 5000,
    "0." + "0" * 30 + "/hour",
    "5/1e3",
]


@pytest.mark.parametrize("text", [*ODD, "", "5", "5/year", "-1/hour", "0/hour", "x/10", "10/0", "9/10", "5/0"])
def test_an_invalid_budget_is_refused(text):
    with pytest.raises(ValueError, match=r"budget|alarm"):
        Budget.parse(text)


@given(st.from_regex(r"\A[0-9]{1,30}(\.[0-9]{1,20})?/[0-9]{0,30}(second|minute|hour|day|)s?\Z") | st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_budget_that_can_be_kept_or_refused(text):
    try:
        keeper = BudgetKeeper(Budget.parse(text))
    except ValueError:
        return
    for n in range(30):
        judged(keeper, 1.0 * n, f"{n}", 10.0 * n)
    BudgetKeeper(keeper.budget).restore(json.loads(json.dumps(keeper.describe())))


@pytest.mark.parametrize(
    "values", [(float("nan"), 10), (1.0, 0), (1.0, None, float("inf")), (1.0,), (1.0, 10, 5.0), (9, 10)]
)
def test_a_budget_of_no_number_or_no_period_is_refused(values):
    with pytest.raises(ValueError, match="budget"):
        Budget(*values)


def test_budgets_have_many_spellings():
    assert Budget.parse("0.5/day") == Budget(0.5, seconds=86400.0)
    assert Budget.parse("3 / 10minutes") == Budget(3.0, seconds=600.0)
    assert Budget.parse("2/hours") == Budget.parse("2/hour")


# Kinds


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("took 12 ms", "took 7 ms"),
        ("from 10.0.0.1:80", "from 192.168.100.7:8080"),
        ("id 9f8e7d6c5b4a", "id 00ff"),
        ("at 0xdeadbeef", "at 0x17"),
        ("2026-11-26 10:00:00 x", "2025-01-02 3:04:05 x"),
        ("job#17 done", "job#8 done"),
    ],
)
def test_lines_that_differ_in_numbers_are_of_a_kind(a, b):
    assert kind_of(a) == kind_of(b)


@pytest.mark.parametrize(("a", "b"), [("disk full", "disk failed"), ("feed me", "bad face"), ("up", "up 1")])
def test_lines_with_other_words_are_not(a, b):
    assert kind_of(a) != kind_of(b)


def test_the_kind_of_a_long_line_is_truncated():
    assert len(kind_of("word " * 9999)) == MAX_KIND_LENGTH
