"""What the order of the events of a session costs, learned from earlier sessions.

Given the numbers, each symbol is predicted from the two before it among those that are still to come, by counts with
Witten-Bell smoothing (1991). A step costs what its surprisal exceeds the entropy of its prediction and MARGIN by, so
that neither long sessions nor events that run side by side cost more than others. The sum is scaled such that it is as
rare as its number of bits says, by the tail of the orders of earlier sessions: an exponential tail with the mean excess
E[b^2] / 2E[b].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..kernels.arrays import F64
from ..ranges import Real, Whole, check_values
from .event_numbers import SESSIONS
from .event_types import MAX_TYPES
from .exact_bits import STEPS, bits_of, bits_of_all, entropy_of
from .spans import SPAN_MARGIN as MARGIN

MAX_CONTEXTS = 20_000

_COUNTED = [(Whole(0, MAX_TYPES), Whole(1))]
DESCRIBED = {"n": (Whole(), Whole()), "contexts": [(Whole(-1), _COUNTED)], "means": (Real(0), Real(0))}
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
        check_values(described, DESCRIBED, "the order of events")
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
