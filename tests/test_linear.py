"""What a hostile line or session costs: no more than a few times a usual one of its length, with the same results."""

import random
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.logs.timestamps import find_time, seconds_of
from streamlstm.watch.event_scores import EventNumbers, EventOrder
from streamlstm.watch.exact_bits import STEPS, bits_of, bits_of_all, entropy_of
from streamlstm.watch.keyed_streams import KeyPattern, without_word
from streamlstm.watch.lines import MIN_SPAN_BITS, surprising_spans
from streamlstm.watch.templates import event_type_of, kind_of


def spans_one_by_one(excess):
    """The definition: the part with the largest sum first, then those to its left and right. Quadratic."""
    spans, remaining = [], [(0, len(excess))]
    while remaining:
        first, last = remaining.pop()
        sums = np.concatenate([[0.0], np.cumsum(excess[first:last])])
        gains = sums - np.minimum.accumulate(sums)
        end = int(np.argmax(gains))
        if gains[end] < MIN_SPAN_BITS:
            continue
        start = end - 1 - int(np.argmin(sums[:end][::-1]))
        spans.append((first + start, first + end))
        remaining += [(first, first + start), (first + end, last)]
    return sorted(spans)


HALVES = st.integers(-40, 40).map(lambda n: n / 2)  # their sums are exact, and often equal
SIXTEENTHS = st.integers(-400, 400).map(lambda n: n / 16)


@given(st.lists(HALVES, max_size=60) | st.lists(SIXTEENTHS, max_size=60) | st.lists(st.sampled_from([8.0, -8.0, 0.0])))
@settings(max_examples=400)
def test_spans_are_those_of_the_definition(excess):
    excess = np.array(excess, np.float64)
    assert surprising_spans(excess) == spans_one_by_one(excess)


class OneByOne(EventOrder):
    """The order of events as version 1.0 computed it: from all symbols that are still to come, at every step."""

    def _computed(self, symbols):
        remaining, total, most, at, a, b = Counter(symbols), 0, 0, -1, -1, -1
        singles = self._contexts.get(-1, {})
        n_singles = max(sum(singles.values()), 1)
        for index, symbol in enumerate(symbols):
            if len(remaining) > 1:
                p, others = self._prediction(a, b, remaining, singles, n_singles)
                surprisal = bits_of(p[others.index(symbol)])
                if surprisal > 2 * STEPS:
                    excess = surprisal - 2 * STEPS - entropy_of(p)
                    total += max(excess, 0)
                    if excess > most:
                        most, at = excess, index
            remaining[symbol] -= 1
            if not remaining[symbol]:
                del remaining[symbol]
            a, b = b, symbol
        return total / STEPS, at

    def _prediction(self, a, b, remaining, singles, n_singles):
        one, two = self._contexts.get(b + 1, {}), self._contexts.get(((a + 2) << 20) + b + 1, {})
        n_one, n_two = sum(one.values()), sum(two.values())
        k_one, k_two = len(one) + 0.5, len(two) + 0.5
        others, p, total = sorted(remaining), [], 0.0
        for other in others:
            base = (singles.get(other, 0) + 0.5) / (n_singles + 0.5)
            base = (one.get(other, 0) + k_one * base) / (n_one + k_one)
            base = (two.get(other, 0) + k_two * base) / (n_two + k_two)
            p.append(base)
            total += base
        return [each / total for each in p], others


@pytest.mark.parametrize("n_types", [3, 30, 120])
def test_the_order_of_events_costs_the_same_to_the_last_bit(n_types):
    draw, order, reference = random.Random(n_types), EventOrder(), OneByOne()
    for _ in range(25):
        session = [draw.randrange(n_types) for _ in range(draw.randrange(1, 150))]
        assert order.cost(session) == reference.cost(session)
        if draw.random() < 0.7:
            order.add(session)
            reference.add(session)
    assert order.describe() == reference.describe()


@given(st.lists(st.floats(1e-300, 1.0), min_size=1))
def test_bits_of_an_array_are_those_of_its_numbers(p):
    assert bits_of_all(np.array(p)).tolist() == [bits_of(each) for each in p]


def test_what_a_session_costs_is_computed_once_and_never_out_of_date():
    draw, numbers, order = random.Random(1), EventNumbers(), EventOrder()
    for _ in range(60):
        session = [draw.randrange(9) for _ in range(draw.randrange(1, 9))]
        counts = Counter(session)
        assert (
            order.cost(session)
            == order.cost(list(session))
            == EventOrder.from_description(order.describe()).cost(session)
        )
        again = EventNumbers.from_description(numbers.describe(), 1000).cost(counts)
        assert numbers.cost(counts)[::2] == again[::2]
        numbers.add(counts)
        order.add(session)
        counts[draw.randrange(9)] += 1
        assert numbers.cost(counts)[::2] == EventNumbers.from_description(numbers.describe(), 1000).cost(counts)[::2]


# Costs


def seconds_for(work, times=5):
    """The least time of several."""
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


SPAN = 16_000
USUAL_EXCESS = np.where(np.random.default_rng(1).random(SPAN) < 0.4, 3.0, -2.0)
HOSTILE_EXCESS = {
    "many spans": np.tile([9.0, -9.0], SPAN // 2),
    "rising": np.tile([9.0, -8.5], SPAN // 2),
    "falling": np.tile([9.0, -9.5], SPAN // 2),
    "ever larger": np.ravel([[9.0 + n, -9.0 - n] for n in range(SPAN // 2)]),
    "ever smaller": np.ravel([[9e4 - n, -9e4 + n] for n in range(SPAN // 2)]),
    "all": np.full(SPAN, 9.0),
    "none": np.full(SPAN, -9.0),
    "spans within spans": np.array([9.0 * (-1) ** bin(n).count("1") for n in range(SPAN)]),
}


@pytest.mark.parametrize("name", HOSTILE_EXCESS)
def test_spans_take_linear_time(name):
    """It was 1,000 times as long: ten times as long is a small part of what the model takes to read the line."""
    usual = seconds_for(lambda: surprising_spans(USUAL_EXCESS))
    assert seconds_for(lambda: surprising_spans(HOSTILE_EXCESS[name])) <= 20 * usual


def session_cost(session, learned):
    order, numbers = EventOrder(), EventNumbers()
    for each in learned:
        order.add(each)
        numbers.add(Counter(each))

    def judge():
        order._last = numbers._last = None
        order.cost(session)
        numbers.cost(Counter(session))

    return judge


def test_a_session_of_many_types_costs_at_most_ten_times_a_usual_one_of_its_length():
    draw, n = random.Random(2), 1000
    usual = [[draw.randrange(1, 21) for _ in range(n)] for _ in range(6)]
    many = [draw.sample(range(1, n + 1), n) for _ in range(6)]
    limit = 10 * seconds_for(session_cost(usual[0], usual[1:]), 3)
    for learned in (many[1:], [sorted(many[1])] * 3, [many[0]] * 3):
        assert seconds_for(session_cost(many[0], learned), 3) <= limit


N = 16_384
USUAL_LINE = ("2026-11-26 10:31:07 host-7 INFO worker 12: reads /var/data/3 in 17 ms, 4 of 9 " * 250)[:N]
PIECES = [
    "a",
    "#",
    " ",
    "1",
    "-",
    "/",
    "0x",
    "f",
    ":",
    "[",
    "1:",
    "a1",
    ". ",
    "\t",
    "[2026-",
    "Jan ",
    "<1>",
    "é",
    "1/",
    "-#",
]
HOSTILE_LINES = [
    *(piece * (N // len(piece)) for piece in PIECES),
    *(a * (N // 2 // len(a)) + b * (N // 2 // len(b)) for a in PIECES[:9] for b in PIECES[:9] if a != b),
]
WORK = {
    "kind_of": kind_of,
    "event_type_of": event_type_of,
    "find_time": find_time,
    "seconds_of": seconds_of.__wrapped__,
    "session_regex": KeyPattern(r"req-(\w+)").replaced,
    "a session by name": lambda line: without_word(line, "a" * 200),
    "a session by a short name": lambda line: without_word(line, "a"),
}


@pytest.mark.parametrize("name", WORK)
def test_a_hostile_line_costs_at_most_ten_times_a_usual_one(name):
    """Or no more than 3 ms, a few percent of what the model takes to read such a line."""
    limit = max(10 * seconds_for(lambda: WORK[name](USUAL_LINE)), 3e-3)
    slow = [line[:20] for line in HOSTILE_LINES if seconds_for(lambda line=line: WORK[name](line), 1) > limit]
    assert [start for start in slow if seconds_for(lambda start=start: WORK[name]((start * N)[:N])) > limit] == []
