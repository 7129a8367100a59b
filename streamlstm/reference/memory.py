"""The memory in plain Python and NumPy, to be read before `contexts`, `counts`, `experts` and `mixture`."""

from typing import Any

import numpy as np

from ..memory import contexts as c
from ..memory import experts as e
from ..memory import mixture as m
from ..memory.counts import HASH_FACTOR, HASH_MASK, LONGEST_RUN, MOST_WORTH, ROOM
from .arithmetic import Array, exp, in_order, ln, tree

f32 = np.float32


def combine(h: int, x: int) -> int:
    """The hash of a context with one more number."""
    h = ((h ^ (x + 1)) * HASH_FACTOR) & HASH_MASK
    return h ^ (h >> 29)


class Counts:
    """Pages of at most 13 counts, each in one of two neighbouring places; the less useful one is replaced."""

    def __init__(self, n_pages: int) -> None:
        self.n_pages = n_pages
        self.pages: dict[int, dict[str, Any]] = {}

    def page(self, h: int, number: int, make: bool) -> dict[str, Any] | None:
        """A page of the context h; where it is missing, None, or with `make` a new one."""
        h = combine(h, number)
        check, place = (h & 0x7FFFFFFF) | 1, (h >> 31) % self.n_pages
        empty = {"check": 0, "worth": 0, "latest": (-1, 0)}
        mine, other = (self.pages.setdefault(at, dict(empty, counts={})) for at in (place, place ^ 1))
        for page in (mine, other):
            if page["check"] == check:
                return page
        if not make:
            return None
        if other["worth"] < mine["worth"]:
            mine, other = other, mine
        other["worth"] = max(0, other["worth"] - 1)
        mine.update(check=check, worth=0, latest=(-1, 0), counts={})
        return mine

    def latest(self, h: int) -> tuple[int, int]:
        """The token that came last in the context h, and how often in a row; -1 and 0 where none did."""
        page = self.page(h, 0, make=False)
        latest: tuple[int, int] = page["latest"] if page else (-1, 0)
        return latest

    def known(self, h: int) -> list[dict[int, int]]:
        """The counts of each page of the context h."""
        found: list[dict[int, int]] = []
        while (not found or len(found[-1]) == ROOM) and (page := self.page(h, len(found), make=False)):
            found.append(page["counts"])
        return found

    def add(self, h: int, token: int, limit: int) -> bool:
        """Count a token; returns whether it was known."""
        number = 0
        while True:
            page = self.page(h, number, make=True)
            assert page is not None
            page["worth"] = min(page["worth"] + 1, MOST_WORTH)
            if number == 0:
                last, run = page["latest"]
                page["latest"] = (token, min(run + 1, LONGEST_RUN) if last == token else 1)
            counts = page["counts"]
            if token in counts:
                counts[token] += 1
                if counts[token] >= limit:
                    for other in self.known(h):
                        other.update({t: n - n // 2 for t, n in other.items()})
                return True
            if len(counts) < ROOM:
                counts[token] = 1
                if len(counts) == ROOM and (following := self.page(h, number + 1, make=False)):
                    following["counts"] = {}
                return False
            number += 1


class ReferenceMemory:
    """The experts and their mixture; the letters are those of `mixture`, `weights` its array, float32."""

    def __init__(self, weights: Array, kinds: Array, n_pages: int, C: int) -> None:
        self.V, self.C, self.kinds, self.counts = len(kinds), C, kinds, Counts(n_pages)
        self.theta = weights[: m.A].reshape(c.ORDERS, e.COUNT_BUCKETS).copy()
        self.A = weights[m.A : m.M].reshape(c.EXPERTS, m.BUCKETS).copy()
        self.M = weights[m.M : m.N].reshape(3, m.MATCH_BUCKETS).copy()
        self.N = weights[m.N : m.H].reshape(-1, m.LATEST_BUCKETS).copy()
        self.H, self.inverse = weights[m.H : m.B].reshape(2, c.EXPERTS, c.EXPERTS).copy()
        self.B = weights[m.B :].reshape(-1, m.WIDTH).copy()
        self.seen: list[int] = []
        self.heads: dict[int, int] = {}
        self.word = self.word_before = self.line = self.line_before = self.field = self.piece = self.shape = 0
        self.word_before_that = self.last_kinds = 0
        self.stood = [0] * c.FIELDS
        self.match, self.length, self.guess = -1, 0, -1

    def last(self, back: int) -> int:
        """The symbol `back` symbols ago; -1 before the first."""
        return self.seen[-back] if back <= len(self.seen) else -1

    def hashes(self) -> list[int]:
        """The contexts of the next symbol."""
        h = [c.FAMILY]
        for order in range(1, c.ORDERS):
            h.append(combine(h[-1], self.last(order)))
        above = self.line_before + len(self.seen) - self.line
        near = above < self.line and len(self.seen) - above <= c.RECENT
        h.append(combine(combine(2 * c.FAMILY, self.word), self.word_before))
        over = self.seen[above] if near else -1
        h.append(combine(combine(combine(3 * c.FAMILY, self.last(2)), self.last(3)), over))
        h.append(combine(combine(4 * c.FAMILY, over), self.last(1)))
        h.append(combine(5 * c.FAMILY, self.word))
        h.append(combine(combine(6 * c.FAMILY, self.field), self.shape))
        stood = self.stood[min(self.field, c.FIELDS - 1)]
        h.append(combine(combine(combine(7 * c.FAMILY, self.field), stood), self.piece))
        h.append(combine(combine(8 * c.FAMILY, len(self.seen) - self.line), self.last(1)))
        h.append(combine(combine(10 * c.FAMILY, self.shape), self.word_before))
        return [*h, combine(combine(11 * c.FAMILY, self.word), self.word_before_that)]

    def look_up(self) -> None:
        """What each context of the next symbol knows, and what followed it last, with the place in N of its weight."""
        self.known, self.latest = [], []
        for k, h in enumerate(self.hashes()):
            self.known.append([entry for page in self.counts.known(h) for entry in page.items()])
            token, run = self.counts.latest(h)
            if k > 0 and token >= 0:
                self.latest.append((k - 1, run * 6 + min(len(self.known[k]).bit_length(), 5), token))

    def predict(self, p: Array) -> Array:
        """The mixture's distribution [C], from the network's p [C]."""
        self.look_up()
        self.P: list[Array] = []
        self.kept: list[Any] = []
        for k, entries in enumerate(self.known):
            below = self.P[min(k, c.ORDERS) - 1] if k else np.full(self.C, f32(1) / f32(self.V), f32)
            distinct, total = len(entries), sum(count for _, count in entries)
            if not entries:
                self.P.append(below.copy())
                self.kept.append(f32(1))
                continue
            x = f32(distinct) * e.DISCOUNT / f32(total)
            theta = self.theta[k, bucket(entries)] if k < c.ORDERS else f32(0)
            odds = exp(np.array([f32(0) - theta]))[0]
            kept = x / (x + (f32(1) - x) * odds) if k < c.ORDERS else min(x, f32(0.95))
            share = (f32(1) - kept) / (f32(total) - f32(distinct) * e.DISCOUNT)
            blend = below * kept
            for token, count in entries:
                blend[token] += share * (f32(count) - e.DISCOUNT)
            self.P.append(blend)
            self.kept.append(kept)
        self.logs = [ln(P + m.TINY) for P in [*self.P[1:], p]]
        self.set_buckets(p)
        z = np.zeros(self.C, f32)
        for k, place in enumerate(self.buckets):
            if place >= 0:
                weight = in_order([self.A[k, place], *(self.B[row, k] for row in self.rows)])
                z = z + self.logs[k] * weight
        if self.guess >= 0:
            z[self.guess] += self.M[self.match_bucket]
        for k, place, token in self.latest:
            z[token] += self.N[k, place]
        powers = exp(z - z[: self.V].max())
        powers[self.V :] = 0
        self.q = powers / tree(in_order(powers.reshape(-1, 128)))
        self.q[: self.V] = self.q[: self.V] * (f32(1) - f32(self.V) * m.FLOOR) + m.FLOOR
        return self.q

    def set_buckets(self, p: Array) -> None:
        """For each expert the bucket of its weight, or -1."""
        self.buckets = [bucket(entries) if entries else -1 for entries in self.known[1:]]
        highest = max([k for k in range(1, c.ORDERS) if self.known[k]], default=0)
        sure = int(highest > 0 and len(self.known[highest]) == 1)
        if highest < c.ORDERS - 1:
            self.buckets[c.ORDERS - 2] = e.COUNT_BUCKETS + highest
        nats = f32(0) - tree(in_order((p * self.logs[-1]).reshape(-1, 128)))
        self.buckets.append((highest * 2 + sure) * 12 + max(0, min(11, int(nats * f32(3)))))
        length = self.length if self.length < 16 else min(16 + (self.length - 16) // 8, 31)
        back = len(self.seen) - self.match
        lines = 0 if back <= len(self.seen) - self.line else 1 if back <= len(self.seen) - self.line_before else 2
        self.match_bucket = lines, length * 2 + sure
        extras = sum(len(entries) > 0 for entries in self.known[c.ORDERS :])
        self.rows = [m.BY_FIELD + min(self.field, c.FIELDS - 1)]
        self.rows.append(m.BY_PLACE + min(len(self.seen) - self.line, m.PLACES - 1))
        self.rows.append(m.BY_KNOWN + highest * (c.CONTEXTS - c.ORDERS + 1) + extras)
        self.rows += [m.BY_KINDS + self.last_kinds, m.BY_LAST + 1 + self.last(1)]

    def learn_trust(self, token: int) -> None:
        """A Newton step of the weights of the experts that spoke."""
        g, spoke = np.zeros(c.EXPERTS, f32), np.array(self.buckets) >= 0
        for k in np.flatnonzero(spoke):
            slope = self.logs[k][token] - tree(in_order((self.q * self.logs[k]).reshape(-1, 128)))
            g[k] = min(max(slope, -m.STEEPEST), m.STEEPEST)
        self.H += (g * g[: c.EXPERTS, None] - self.H) * m.H_RATE
        step = in_order([self.inverse[k] * g[k] for k in range(c.EXPERTS)])[: c.EXPERTS]
        if len(self.seen) % m.NEWTON_EVERY == 0:
            self.inverse = inverse(self.H)
        for k in np.flatnonzero(spoke):
            self.A[k, self.buckets[k]] += step[k] * m.TRUST_RATE
        for row in self.rows:
            rate = m.TRUST_RATE * (m.ROW_LEAST + m.ROW_MORE / (f32(1) + self.B[row, c.EXPERTS] / m.ROW_OFTEN))
            self.B[row, : c.EXPERTS][spoke] += (step * rate)[spoke]
            self.B[row, c.EXPERTS] += f32(1)

    def observe(self, token: int) -> None:
        """Learn from the symbol: the weights, then the counts; then it is the last one."""
        self.learn_trust(token)
        if self.guess >= 0:
            self.M[self.match_bucket] += m.MATCH_RATE * (f32(self.guess == token) - self.q[self.guess])
        for k, place, guess in self.latest:
            self.N[k, place] += m.LATEST_RATE * (f32(guess == token) - self.q[guess])
        passed = f32(1) / max(self.P[c.ORDERS - 1][token], f32(1e-30))
        for order in range(c.ORDERS - 1, -1, -1):
            if self.known[order]:
                passed = passed * self.kept[order]
                below = self.P[order - 1][token] if order else f32(1) / f32(self.V)
                g = passed * (below - self.P[order][token])
                self.theta[order, bucket(self.known[order])] += f32(0.05) * min(max(g, f32(-2)), f32(2))
        hashes = self.hashes()
        for order in range(c.ORDERS - 1, -1, -1):
            if self.counts.add(hashes[order], token, e.ORDER_LIMIT):
                break
        for k in range(c.ORDERS, c.CONTEXTS):
            self.counts.add(hashes[k], token, e.EXTRA_LIMIT)
        self.advance(token)

    def advance(self, token: int) -> None:
        """The symbol becomes the last one; words, lines and the match go on or begin."""
        kind, letter = int(self.kinds[token]) & 15, int(self.kinds[token]) >> 4
        self.seen.append(token)
        self.last_kinds = (self.last_kinds * 8 + kind) % c.KINDS
        if letter:
            self.word = combine(self.word, letter)
        elif self.word:
            self.word_before_that, self.word_before, self.word = self.word_before, self.word, 0
        if kind > c.GAP:
            self.piece = combine(self.piece, token)
            self.shape = combine(self.shape, c.ANY_DIGIT if kind == c.DIGIT else token)
        else:
            self.stood[min(self.field, c.FIELDS - 1)] = self.piece
            self.field, self.piece, self.shape = self.field + 1, 0, 0
        if kind == c.END_OF_LINE:
            self.line_before, self.line, self.field = self.line, len(self.seen), 0
        self.match = self.match + 1 if self.guess == token else -1
        self.length += self.guess == token
        head = (combine(9 * c.FAMILY, self.hashes()[c.MATCH_ORDER]) >> 31) % c.HEADS
        if self.match < 0 and head in self.heads:
            at, length = self.heads[head], 0
            while length < min(c.LONGEST_CHECKED, at) and self.seen[at - 1 - length] == self.last(length + 1):
                length += 1
            if length >= c.MATCH_ORDER:
                self.match, self.length = at, length
        self.heads[head] = len(self.seen)
        self.guess = self.seen[self.match] if self.match >= 0 else -1


def bucket(entries: list[tuple[int, int]]) -> int:
    """What a context knows, in one number below COUNT_BUCKETS."""
    total = sum(count for _, count in entries)
    return min(total.bit_length(), 9) * 6 + min(len(entries).bit_length(), 5)


def inverse(H: Array) -> Array:
    """The inverse of a positive definite matrix + DAMPING on its diagonal, by Gauss and Jordan; H [K, 16]."""
    a = H.copy()
    for i in range(len(a)):
        a[i, i] += m.DAMPING
    for j in range(len(a)):
        factor, a[j, j] = f32(1) / a[j, j], f32(1)
        a[j] *= factor
        for i in range(len(a)):
            if i != j:
                factor, a[i, j] = a[i, j], f32(0)
                a[i] -= a[j] * factor
    return a
