"""How surprising the events of a session are: how many there are of each type, and in which order.

*Numbers.* A session is a copy of an earlier session in which each symbol changes its number with a probability of its
own, which is how often that happened so far; the cost is that of the mixture of all copies. A changed number is drawn
from the numbers that the symbol had in all sessions, smoothed over neighbouring ones, and costs what its surprisal
exceeds the entropy of these numbers and MARGIN by. So a mode that few sessions have costs once, not once per symbol,
and a number that always was the same costs more to change than one that varies. Numbers above EXACT count in steps of a
quarter of an octave.

*Order.* Given the numbers, each symbol is predicted from the two before it among those that are still to come, by
counts with Witten-Bell smoothing (1991). A step costs what its surprisal exceeds the entropy of its prediction and
MARGIN by, so that neither long sessions nor events that run side by side cost more than others. The sum is scaled such
that it is as rare as its number of bits says, by the tail of the orders of earlier sessions: an exponential tail with
the mean excess E[b^2] / 2E[b].
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..kernels.arrays import F64
from ..ranges import Real, Whole, check_values, whole_number
from .exact_bits import STEPS, bits_of, bits_of_all, entropy_of
from .lines import SPAN_MARGIN as MARGIN
from .templates import MAX_TYPES

SESSIONS = 65_536
"""When this many sessions have been counted, all counts are halved."""

MAX_SHAPES = 1024
"""The most combinations of numbers that are kept."""

EXACT, N_LEVELS = 16, 48
UNITS, MASS_BITS = 1 << 20, 40
_FALL = 0.7

_LEVEL = Whole(1, N_LEVELS - 1)
NUMBERS_DESCRIBED = {
    "weight": Whole(0, SESSIONS - 1),
    "levels": [[(_LEVEL, Whole(1, SESSIONS))]],
    "changes": [Whole(0, SESSIONS * UNITS)],
    "shapes": [(Whole(1, SESSIONS), [(Whole(), _LEVEL)])],
}
"""What `EventNumbers.describe` returns; see `ranges`."""

I64 = np.ndarray[Any, np.dtype[np.int64]]
Levels = np.ndarray[Any, np.dtype[np.uint8]]


class NumberCost(NamedTuple):
    """What the numbers of a session cost.

    bits    in all
    shares  int64 [n_shapes], how much each earlier combination contributes, of UNITS in all
    symbol  the symbol whose number costs most; -1 if none costs anything
    """

    bits: float
    shares: I64
    symbol: int


def _rounded(n: int) -> int:
    """A number to six binary digits: what depends on it is computed again only when that changes."""
    shift = max(n.bit_length() - 6, 0)
    return n >> shift << shift


def level_of(n: int) -> int:
    """The level of a number: itself up to EXACT, then four levels per octave.

    >>> [level_of(n) for n in (0, 16, 17, 20, 40, 10**9)]
    [0, 16, 16, 17, 21, 47]
    """
    if n <= EXACT:
        return n
    octave = n.bit_length() - 5
    return min(EXACT + 4 * octave + (n >> (octave + 2)) - 4, N_LEVELS - 1)


class EventNumbers:
    """The numbers of each symbol in earlier sessions.

    >>> numbers = EventNumbers()
    >>> for n in range(50):
    ...     numbers.add({1: 1, 2: 2, 3: n % 5})
    >>> numbers.cost({1: 1, 2: 2, 3: 1}).bits < 3, numbers.cost({1: 1, 2: 1, 3: 1}).bits > 8
    (True, True)
    """

    def __init__(self) -> None:
        self._weight = self._rounded_weight = 0  # of all sessions, after halving
        self._levels: list[Counter[int]] = [Counter()]  # by symbol: in how many sessions it had a level, 0 excepted
        self._changes: list[int] = [0]  # by symbol: how often its number was not that of the copied session, in UNITS
        self._shapes = np.zeros((1, 1), np.uint8)  # [n_shapes, symbols]: the levels of earlier sessions
        self._shape_counts: list[int] = []
        self._shape_index: dict[bytes, int] = {}
        self._costs: list[dict[int, tuple[int, int]]] = [{}]  # a cache by symbol
        self._last: tuple[dict[int, int], NumberCost] | None = None  # what `cost` returned last, and for what

    def cost(self, counts: Mapping[int, int]) -> NumberCost:
        """What the number of each symbol costs. Changes nothing that later costs depend on."""
        if self._last is None or self._last[0] != counts:
            self._last = dict(counts), self._computed(counts)
        return self._last[1]

    def _computed(self, counts: Mapping[int, int]) -> NumberCost:
        self._grow(max(counts, default=0) + 1)
        levels = self._levels_of(counts)
        listed = levels[: len(self._levels)].tolist()
        pairs = [self._cost(symbol, level) for symbol, level in enumerate(listed)]
        same, other = np.zeros((2, len(levels)), np.int64)
        same[: len(pairs)], other[: len(pairs)] = np.array(pairs, np.int64).T
        free = bits_of(1 / (self._weight + 1))
        free += sum(self._free_cost(symbol, level) for symbol, level in enumerate(listed))
        differs = self._shapes[: len(self._shape_counts)] != levels
        bits = {n: bits_of(n / (self._weight + 1)) for n in set(self._shape_counts)}
        weights = np.array([bits[n] for n in self._shape_counts], np.int64)
        totals = np.append(weights + int(same.sum()) + (differs * (other - same)).sum(axis=1), free)
        least = int(totals.min())
        masses = _MASSES[(totals - least) % STEPS] >> np.minimum((totals - least) // STEPS, MASS_BITS)
        shares = masses[:-1] * UNITS // int(masses.sum())
        costs = np.where(differs[int(np.argmin(totals[:-1]))], other, same) if len(differs) else same
        symbol = int(np.argmax(costs)) if costs.any() else -1
        least += bits_of(int(masses.sum()) / int(_MASSES[0]))
        return NumberCost(max(least, 0) / STEPS, shares, symbol)

    def add(self, counts: Mapping[int, int]) -> None:
        """Learn from a session."""
        self._grow(max(counts, default=0) + 1)
        levels = self._levels_of(counts)
        if self._weight:
            shares = self.cost(counts).shares
            changes = ((self._shapes[: len(shares)] != levels) * shares[:, None]).sum(axis=0)
            for symbol in np.flatnonzero(changes).tolist():
                n = self._changes[symbol]
                self._changes[symbol] += int(changes[symbol])
                if _rounded(n) != _rounded(self._changes[symbol]):
                    self._costs[symbol].clear()
        self._last = None
        for symbol in np.flatnonzero(levels).tolist():
            self._levels[symbol][int(levels[symbol])] += 1
            self._costs[symbol].clear()
        self._shape_counts[self._shape_of(levels)] += 1
        self._weight += 1
        if self._weight >= SESSIONS:
            self._halve()
        if _rounded(self._weight) != self._rounded_weight:
            self._rounded_weight = _rounded(self._weight)
            self._costs = [{} for _ in self._costs]

    def _grow(self, n_symbols: int) -> None:
        while len(self._levels) < n_symbols:
            self._levels.append(Counter())
            self._changes.append(0)
            self._costs.append({})
        width = self._shapes.shape[1]
        if width < n_symbols:
            wider = np.zeros((len(self._shapes), max(n_symbols, 2 * width)), np.uint8)
            wider[:, :width] = self._shapes
            self._shapes = wider
            self._shape_index = {self._shapes[i].tobytes(): i for i in self._shape_index.values()}

    def _levels_of(self, counts: Mapping[int, int]) -> Levels:
        levels = np.zeros(self._shapes.shape[1], np.uint8)
        for symbol, n in counts.items():
            levels[symbol] = level_of(n)
        return levels

    def _cost(self, symbol: int, level: int) -> tuple[int, int]:
        """What a level costs if the copied session has it, and if it has another one."""
        cached = self._costs[symbol]
        if level not in cached:
            n = _rounded(self._changes[symbol]) / UNITS
            change = (n + 0.5) / (max(self._rounded_weight, n) + 1)
            q = self._probability(symbol, level)
            excess = max(bits_of(q) - self._entropy(symbol) - int(MARGIN * STEPS), 0)
            cached[level] = bits_of(1 - change + change * q), bits_of(change) + excess
        return cached[level]

    def _free_cost(self, symbol: int, level: int) -> int:
        """What a level costs without a session to copy."""
        cached, key = self._costs[symbol], -1 - level
        if key not in cached:
            cached[key] = bits_of(self._probability(symbol, level)), 0
        return cached[key][0]

    def _entropy(self, symbol: int) -> int:
        """The entropy of the levels that a symbol had, in steps."""
        cached = self._costs[symbol]
        if N_LEVELS not in cached:
            seen = sorted({0, *self._levels[symbol]})
            cached[N_LEVELS] = entropy_of([self._probability(symbol, level) for level in seen]), 0
        return cached[N_LEVELS][0]

    def _probability(self, symbol: int, level: int) -> float:
        """How probable a level is by the sessions so far; it was 0 in those in which the symbol did not occur."""
        counted = dict(self._levels[symbol])
        n_present = sum(counted.values())
        n_absent = self._rounded_weight - n_present
        if n_absent > 0 or not counted:
            counted[0] = max(n_absent, 1)
        n = max(n_present + n_absent, n_present, 1)
        return (counted.get(level, 0) + len(counted) * _base_of(counted, level)) / (n + len(counted))

    def _shape_of(self, levels: Levels) -> int:
        """The index of a shape: that which it has, a free one, or that of the least frequent one."""
        index = self._shape_index.get(levels.tobytes())
        if index is not None:
            return index
        n_shapes = len(self._shape_counts)
        if n_shapes < MAX_SHAPES:
            if n_shapes == len(self._shapes):
                self._shapes = np.concatenate([self._shapes, np.zeros_like(self._shapes)])
            index = n_shapes
            self._shape_counts.append(0)
        else:
            index = min(range(n_shapes), key=self._shape_counts.__getitem__)
            del self._shape_index[self._shapes[index].tobytes()]
            self._shape_counts[index] = 0
        self._shapes[index] = levels
        self._shape_index[levels.tobytes()] = index
        return index

    def _halve(self) -> None:
        """Halve all counts, and drop those that become 0."""
        self._weight //= 2
        self._changes = [n // 2 for n in self._changes]
        self._levels = [Counter({level: n // 2 for level, n in each.items() if n > 1}) for each in self._levels]
        kept = [index for index, n in enumerate(self._shape_counts) if n > 1]
        self._shapes = self._shapes[kept] if kept else np.zeros_like(self._shapes[:1])
        self._shape_counts = [self._shape_counts[index] // 2 for index in kept]
        self._shape_index = {self._shapes[i].tobytes(): i for i in range(len(kept))}

    def describe(self) -> dict[str, Any]:
        """The state as JSON values, for `from_description`."""
        shapes = [[[s, int(row[s])] for s in np.flatnonzero(row).tolist()] for row in self._shapes]
        return {
            "weight": self._weight,
            "levels": [sorted(each.items()) for each in self._levels],
            "changes": list(self._changes),
            "shapes": [list(pair) for pair in zip(self._shape_counts, shapes, strict=False)],
        }

    @classmethod
    def from_description(cls, described: dict[str, Any], n_types: int) -> EventNumbers:
        """What `describe` described; its symbols are at most `n_types`.

        Raises ValueError if it is not such a description.
        """
        check_values(described, NUMBERS_DESCRIBED, "the numbers of events")
        numbers = cls()
        numbers._weight = described["weight"]
        numbers._rounded_weight = _rounded(numbers._weight)
        numbers._levels = [
            Counter({level: whole_number(n, "how often a level occurred", 1, numbers._weight) for level, n in each})
            for each in described["levels"]
        ]
        numbers._changes = list(described["changes"])
        n_symbols = len(numbers._levels)
        if not 1 <= n_symbols <= n_types + 1 or len(numbers._changes) != n_symbols:
            raise ValueError(f"{n_types} types have numbers of {n_symbols} symbols, {len(numbers._changes)} changes")
        numbers._grow(n_symbols)
        numbers._costs = [{} for _ in numbers._levels]
        if len(described["shapes"]) > MAX_SHAPES:
            raise ValueError(f"{len(described['shapes'])} shapes, more than {MAX_SHAPES}")
        for n, shape in described["shapes"]:
            levels = numbers._levels_of({})
            for symbol, level in shape:
                levels[whole_number(symbol, "a symbol", most=n_symbols - 1)] = level
            numbers._shape_counts[numbers._shape_of(levels)] = n
        return numbers


def _base_of(counted: dict[int, int], level: int) -> float:
    """A distribution of levels that is smoothed over neighbours: each counted level falls by 0.7 per level."""
    total = weight = 0.0
    for other, n in sorted(counted.items()):
        total += n * _POWERS[abs(other - level)] / _SUMS[other]
        weight += n
    return total / weight


_POWERS = array("d", [1.0])
for _ in range(N_LEVELS):
    _POWERS.append(_POWERS[-1] * _FALL)


def _fall_from(level: int) -> float:
    total = 0.0
    for other in range(N_LEVELS):
        total += _POWERS[abs(other - level)]
    return total


_SUMS = array("d", [_fall_from(level) for level in range(N_LEVELS)])


def _powers_of_half() -> I64:
    """2^(-i / STEPS) in units of 2^-MASS_BITS, by multiplications that IEEE 754 defines exactly."""
    factor, value, powers = 0.5, 1.0, []
    for _ in range(12):
        factor = math.sqrt(factor)
    for _ in range(STEPS):
        powers.append(int(value * 2**MASS_BITS))
        value *= factor
    return np.array(powers, np.int64)


_MASSES = _powers_of_half()


MAX_CONTEXTS = 20_000

_COUNTED = [(Whole(0, MAX_TYPES), Whole(1))]
ORDER_DESCRIBED = {"n": (Whole(), Whole()), "contexts": [(Whole(-1), _COUNTED)], "means": (Real(0), Real(0))}
"""What `EventOrder.describe` returns; see `ranges`."""

FEW = 24
"""Of more symbols, the probabilities are computed with NumPy, which takes a twentieth of the time for a thousand."""

_CALIBRATED = 1.4426950408889634
"""The mean of an exponential variable b with P(b > x) = 2^-x."""


class OrderCost(NamedTuple):
    """What the order of a session costs.

    bits  in all
    step  the index of the symbol that costs most; -1 if none costs anything
    """

    bits: float
    step: int


class EventOrder:
    """Which symbols followed which in earlier sessions.

    >>> order = EventOrder()
    >>> for n in range(50):
    ...     order.add([1, 2, 2, 3])
    >>> order.cost([1, 2, 2, 3]).bits, order.cost([2, 1, 2, 3]).bits > 4, order.cost([2, 1, 2, 3]).step
    (0.0, True, 0)
    """

    def __init__(self) -> None:
        self._n_sessions, self._weight = 0, 0  # the latter is halved now and then
        self._contexts: dict[int, dict[int, int]] = {}  # what followed; see `_key`
        self._mean, self._mean_square = _CALIBRATED, 2 * _CALIBRATED**2
        self._last: tuple[tuple[int, ...], tuple[float, int]] | None = None  # what `_unscaled` returned last, for what

    def cost(self, symbols: Sequence[int]) -> OrderCost:
        """What the order of the symbols costs. Changes nothing."""
        if not self._n_sessions:
            return OrderCost(0.0, -1)
        bits, step = self._unscaled(symbols)
        return OrderCost(bits * min(1.0, _CALIBRATED * 2 * self._mean / max(self._mean_square, 1e-9)), step)

    def add(self, symbols: Sequence[int]) -> None:
        """Learn from a session."""
        if self._n_sessions:
            bits, _ = self._unscaled(symbols)
            rate = max(2 / (self._n_sessions + 2), 1 / 256)
            self._mean += (bits - self._mean) * rate
            self._mean_square += (bits * bits - self._mean_square) * rate
        self._last = None
        a = b = -1
        for symbol in symbols:
            for context in (-1, _key(b), _key(b, a)):
                self._follow(context, symbol)
            a, b = b, symbol
        self._n_sessions, self._weight = self._n_sessions + 1, self._weight + 1
        if self._weight >= SESSIONS:
            self._weight //= 2
            halved = {key: {s: n // 2 for s, n in each.items() if n > 1} for key, each in self._contexts.items()}
            self._contexts = {key: each for key, each in halved.items() if each}

    def _unscaled(self, symbols: Sequence[int]) -> tuple[float, int]:
        """The cost of the order in bits, before it is scaled, and the index of the step that costs most."""
        given = tuple(symbols)
        if self._last is None or self._last[0] != given:
            self._last = given, self._computed(given)
        return self._last[1]

    def _computed(self, symbols: Sequence[int]) -> tuple[float, int]:
        remaining, singles = Counter(symbols), self._contexts.get(-1, {})
        rest = _Few(remaining, singles) if len(remaining) <= FEW else _Rest(symbols, singles)
        total = most = 0
        at, a, b = -1, -1, -1
        margin = int(MARGIN * STEPS)
        for index, symbol in enumerate(symbols):
            if len(remaining) > 1:
                one, two = self._contexts.get(_key(b), {}), self._contexts.get(_key(b, a), {})
                surprisal, entropy = rest.cost(symbol, one, two)
                if surprisal > margin:
                    excess = surprisal - margin - entropy
                    total += max(excess, 0)
                    if excess > most:
                        most, at = excess, index
            remaining[symbol] -= 1
            if not remaining[symbol]:
                del remaining[symbol]
                rest.remove(symbol)
            a, b = b, symbol
        return total / STEPS, at

    def _follow(self, context: int, symbol: int) -> None:
        counts = self._contexts.get(context)
        if counts is None:
            if len(self._contexts) >= MAX_CONTEXTS:
                return
            counts = self._contexts[context] = {}
        counts[symbol] = counts.get(symbol, 0) + 1

    def describe(self) -> dict[str, Any]:
        """The state as JSON values, for `from_description`."""
        contexts = [[key, list(each.items())] for key, each in self._contexts.items()]
        means = [self._mean, self._mean_square]
        return {"n": [self._n_sessions, self._weight], "contexts": contexts, "means": means}

    @classmethod
    def from_description(cls, described: dict[str, Any]) -> EventOrder:
        """What `describe` described. Raises ValueError if it is not such a description."""
        check_values(described, ORDER_DESCRIBED, "the order of events")
        order = cls()
        order._n_sessions, order._weight = described["n"]
        order._contexts = {key: dict(each) for key, each in described["contexts"]}
        order._mean, order._mean_square = described["means"]
        if order._weight > order._n_sessions or len(order._contexts) > MAX_CONTEXTS:
            raise ValueError(
                f"the order of {order._n_sessions} sessions cannot have weight {order._weight} and "
                f"{len(order._contexts)} contexts"
            )
        return order


def _key(b: int, a: int | None = None) -> int:
    """The context of the last symbol b, or of the last two, a and b; -1 is the beginning of the session."""
    return b + 1 if a is None else ((a + 2) << 20) + b + 1


class _Few:
    """What `_Rest` is, for few types; `remaining` is how many of each are still to come, and changed by the caller."""

    def __init__(self, remaining: Counter[int], singles: dict[int, int]) -> None:
        self._remaining, n = remaining, max(sum(singles.values()), 1)
        self._base = {each: (singles.get(each, 0) + 0.5) / (n + 0.5) for each in remaining}

    def remove(self, symbol: int) -> None:
        """There is nothing to do."""

    def cost(self, symbol: int, one: dict[int, int], two: dict[int, int]) -> tuple[int, int]:
        """As `_Rest.cost`, to the last bit."""
        n_one, n_two = sum(one.values()), sum(two.values())
        k_one, k_two = len(one) + 0.5, len(two) + 0.5
        others = sorted(self._remaining)
        p, total = [], 0.0
        for other in others:
            base = (one.get(other, 0) + k_one * self._base[other]) / (n_one + k_one)
            base = (two.get(other, 0) + k_two * base) / (n_two + k_two)
            p.append(base)
            total += base
        p = [each / total for each in p]
        return bits_of(p[others.index(symbol)]), entropy_of(p)


class _Rest:
    """The types of the symbols of a session that are still to come.

    symbols  of the session
    singles  how often each symbol occurred in earlier sessions
    """

    def __init__(self, symbols: Sequence[int], singles: dict[int, int]) -> None:
        self._types = sorted(set(symbols))
        self._slots = {symbol: slot for slot, symbol in enumerate(self._types)}
        n = max(sum(singles.values()), 1)
        self._base = np.array([(singles.get(each, 0) + 0.5) / (n + 0.5) for each in self._types])
        self._rest = np.arange(len(self._types))

    def remove(self, symbol: int) -> None:
        """Take that a symbol does not come any more."""
        self._rest = np.delete(self._rest, np.searchsorted(self._rest, self._slots[symbol]))

    def cost(self, symbol: int, one: dict[int, int], two: dict[int, int]) -> tuple[int, int]:
        """What a symbol costs, and the entropy of those still to come, in steps, by what followed in two contexts."""
        base, slot = self._base[self._rest], int(np.searchsorted(self._rest, self._slots[symbol]))
        for counted in (one, two):
            if counted:  # without counts it would stay the same
                n, k = sum(counted.values()), len(counted) + 0.5
                base = (self._counts(counted) + k * base) / (n + k)
        p = base / np.cumsum(base)[-1]  # summed one after the other, as by `_Few`
        bits = bits_of_all(p)
        return int(bits[slot]), int((p * bits).astype(np.int64).sum())

    def _counts(self, counted: dict[int, int]) -> F64:
        """The counts of what is still to come."""
        if len(counted) > len(self._rest):
            return np.array([counted.get(self._types[slot], 0) for slot in self._rest.tolist()], np.float64)
        counts = np.zeros(len(self._types))
        for symbol, n in counted.items():
            slot = self._slots.get(symbol)
            if slot is not None:
                counts[slot] = n
        return counts[self._rest]
