"""The memory in plain Python and NumPy: read it before the kernels of `streamlstm.memory`, which give the same bits.

For each symbol: `Text.contexts` hashes what the next symbol is predicted from, `Counts` looks up what followed each of
these contexts before, `ReferenceMemory.predict` mixes the resulting distributions with the network's, and
`ReferenceMemory.observe` learns from the symbol. All floating-point numbers are float32.
"""

from dataclasses import dataclass, field

import numpy as np

from . import layout as at
from .arithmetic import Array, combine, exp, in_order, ln, log2, tree
from .layout import LONGEST_ORDER, N_CONTEXTS, N_EXPERTS, N_ORDERS
from .matches import Match
from .text import Text, kinds_of

f32 = np.float32
ONE = f32(1)

MAX_ENTRIES, MAX_PRIORITY, MAX_RUN = 13, 255, 15
ORDER_LIMIT, EXTRA_LIMIT = 30000, 255
"""Counts are halved when one of them reaches this."""
DISCOUNT, MAX_BACKOFF, BACKOFF_RATE, MAX_SLOPE = f32(0.6), f32(0.95), f32(0.05), f32(2)
TINY, FLOOR = f32(1e-8), f32(1e-7)
"""What is added to a probability before its logarithm is taken; the least probability of a symbol."""
DAMPING, NEWTON_EVERY = f32(2), 64
CURVATURE_RATE, MIXING_RATE, MATCH_RATE, LATEST_RATE = f32(0.002), f32(0.0015), f32(0.05), f32(0.02)
ROW_BASE, ROW_BOOST, ROW_HALF_LIFE = f32(0.3), f32(2), f32(300)
COUNT_BUCKETS = 60


@dataclass
class Page:
    """Some of the counts of one context; in its first page also the latest token and its run."""

    tag: int = 0
    priority: int = 0
    latest: int = -1
    run: int = 0
    counts: dict[int, int] = field(default_factory=dict)


class Counts:
    """A hash table of pages. A page is in one of two neighbouring places; the one of lower priority is replaced."""

    def __init__(self, n_pages: int) -> None:
        self.n_pages, self.pages = n_pages, dict[int, Page]()  # by place; what is missing is an empty page

    def find(self, h: int, number: int, create: bool = False) -> Page | None:
        """A page of the context h; if it is missing, None, or with `create` a new one."""
        h = combine(h, number)
        tag, first = (h & 0x7FFFFFFF) | 1, (h >> 31) % self.n_pages
        pages = {place: self.pages.setdefault(place, Page()) for place in (first, first ^ 1)}
        for page in pages.values():
            if page.tag == tag:
                return page
        if not create:
            return None
        replaced, other = sorted(pages, key=lambda place: pages[place].priority)  # stable: the first of equals
        pages[other].priority = max(0, pages[other].priority - 1)
        self.pages[replaced] = Page(tag)
        return self.pages[replaced]

    def pages_of(self, h: int) -> list[Page]:
        """All pages of the context h: a page follows if the one before is full."""
        found: list[Page] = []
        while (not found or len(found[-1].counts) == MAX_ENTRIES) and (page := self.find(h, len(found))):
            found.append(page)
        return found

    def add(self, h: int, token: int, limit: int) -> bool:
        """Count a token, and halve the context's counts if one reaches the limit. Returns whether it had a count."""
        number = 0
        while page := self.find(h, number, create=True):
            page.priority = min(page.priority + 1, MAX_PRIORITY)
            if number == 0:
                page.run = min(page.run + 1, MAX_RUN) if page.latest == token else 1
                page.latest = token
            if token in page.counts:
                page.counts[token] += 1
                if page.counts[token] >= limit:
                    for full in self.pages_of(h):
                        full.counts = {key: n - n // 2 for key, n in full.counts.items()}
                return True
            if len(page.counts) < MAX_ENTRIES:
                page.counts[token] = 1
                if len(page.counts) == MAX_ENTRIES and (remnant := self.find(h, number + 1)):
                    remnant.counts = {}
                return False
            number += 1
        raise AssertionError("`find` creates every page")


class ReferenceMemory:
    """The experts and their mixture.

    weights     the array `memory.weights`, whose parts `layout` names
    characters  of the vocabulary; None for bytes
    n_pages     of the table of counts
    C           the padded length of a distribution
    """

    def __init__(self, weights: Array, characters: str | None, n_pages: int, C: int) -> None:
        kinds = kinds_of(characters)
        self.V, self.C, self.counts, self.text = len(kinds), C, Counts(n_pages), Text(kinds, n_pages)
        self.w = at.weights_of(weights, self.V)
        self.surprisals = 0  # how surprising the last four symbols were, in four steps each

    def weights(self) -> Array:
        """What has been learned, as the memory's array."""
        return np.concatenate([part.ravel() for part in self.w])

    def predict(self, network: Array) -> Array:
        """The mixture's distribution [C], from the network's [C]: the same as long as nothing was learned."""
        self.look_up()
        self.set_distributions()
        self.logs = [ln(P + TINY) for P in [*self.P[1:], network]]
        self.set_buckets(network)
        if not self.text.history.n_learned:
            self.p = network.copy()
            return self.p
        z = np.zeros(self.C, f32)
        for k in self.active():
            added = [self.w.adjustments[row, k] for row in self.rows]
            z = z + self.logs[k] * in_order([self.w.expert_weights[k, self.buckets[k]], *added])
        for bucket, token in self.matches:
            z[token] += self.w.match_weights[bucket]
        for place, token in self.latest:
            z[token] += self.w.latest_weights[place]
        powers = exp(z - z[: self.V].max())
        powers[self.V :] = 0
        self.p = powers / tree(in_order(powers.reshape(-1, 128)))
        self.p[: self.V] = self.p[: self.V] * (ONE - f32(self.V) * FLOOR) + FLOOR
        return self.p

    def look_up(self) -> None:
        """The counts of each context, and the latest token of each with the place of its weight."""
        self.hashes, self.known, self.latest = self.text.contexts(), [], []
        for k, h in enumerate(self.hashes):
            pages = self.counts.pages_of(h)
            self.known.append([entry for page in pages for entry in page.counts.items()][: self.V])
            if k > 0 and pages and pages[0].latest >= 0:
                bucket = pages[0].run * 6 + min(len(self.known[k]).bit_length(), 5)
                self.latest.append(((k - 1, bucket), pages[0].latest))

    def set_distributions(self) -> None:
        """The distribution P and the back-off weight λ of each context, by absolute discounting."""
        self.P: list[Array] = []
        self.backoff: list[f32] = []
        for k, entries in enumerate(self.known):
            below = self.P[min(k, N_ORDERS) - 1] if k else np.full(self.C, ONE / f32(self.V), f32)
            P, backoff = below.copy(), ONE
            if entries:
                distinct, total = f32(len(entries)), f32(sum(count for _, count in entries))
                x = distinct * DISCOUNT / total
                backoff = min(x, MAX_BACKOFF)
                if k < N_ORDERS:
                    odds = exp(-self.w.backoff_logits[k, [count_bucket(entries)]])[0]
                    backoff = x / (x + (ONE - x) * odds)
                P = below * backoff
                scale = (ONE - backoff) / (total - distinct * DISCOUNT)
                for token, count in entries:
                    P[token] += scale * (f32(count) - DISCOUNT)
            self.P.append(P)
            self.backoff.append(backoff)

    def set_buckets(self, network: Array) -> None:
        """Choose the weights: a bucket for each expert, -1 if it has no prediction, and the rows of adjustments."""
        text, known = self.text, [len(entries) for entries in self.known]
        self.buckets = [count_bucket(entries) if entries else -1 for entries in self.known[1:]]
        longest = max([k for k in range(1, N_ORDERS) if known[k]], default=0)
        is_certain = int(longest > 0 and known[longest] == 1)
        if longest < LONGEST_ORDER:
            self.buckets[LONGEST_ORDER - 1] = COUNT_BUCKETS + longest
        nats = -tree(in_order((network * self.logs[-1]).reshape(-1, 128)))
        self.buckets.append((longest * 2 + is_certain) * 12 + max(0, min(11, int(nats * f32(3)))))

        def is_better(match: Match) -> bool:
            return match.is_robust or (is_certain == 1 and match.misses == 0)

        self.matches = [
            ((n, text.match_distance(match), match.strength * 2 + is_better(match)), match.token)
            for n, match in enumerate(text.history.matches)
            if match.token >= 0
        ]
        bracket, _ = text.brackets.innermost
        extras = sum(n > 0 for n in known[N_ORDERS:])
        row = at.FIRST_ROW
        self.rows = [
            row["field"] + min(text.field, at.N_FIELDS - 1),
            row["column"] + min(text.column, at.N_COLUMNS - 1),
            row["known"] + longest * (N_CONTEXTS - N_ORDERS + 1) + extras,
            row["classes"] + text.class_history,
            row["symbol"] + 1 + text.last(1),
            row["age"] + min(text.history.n_learned.bit_length(), at.N_AGES - 1),
            row["surprisals"] + self.surprisals,
            row["bracket"] + (bracket * 4 + min(text.brackets.depth, 3)) * 8 + text.class_history % 8,
            row["match"] + self.match_row(longest),
        ]

    def match_row(self, longest: int) -> int:
        """What the first match tells: how strong it is, and whether the longest order expects the same; 0 for none."""
        for match in self.text.history.matches:
            if match.token >= 0:
                expected = [token for (k, _), token in self.latest if k == longest - 1]
                return 1 + match.strength * 2 + (expected == [match.token])
        return 0

    def active(self) -> list[int]:
        """The experts that have a prediction."""
        return [k for k, bucket in enumerate(self.buckets) if bucket >= 0]

    def observe(self, token: int, learn: bool = True) -> None:
        """Take the symbol after `predict`, and learn from it: first the weights, then the counts."""
        if learn and self.text.history.n_learned:
            self.learn_weights(token)
        bits = -log2(self.p[[token]])[0]
        self.surprisals = (self.surprisals * 4 + sum(bits >= step for step in (0.25, 1.5, 4))) % at.N_SURPRISALS
        if learn:
            self.count(token)
        self.text.advance(token, learn)

    def count(self, token: int) -> None:
        """Count a token: in the orders from 6 down to the first that had counted it before, and in each extra."""
        for order in range(LONGEST_ORDER, -1, -1):
            if self.counts.add(self.hashes[order], token, ORDER_LIMIT):
                break
        for h in self.hashes[N_ORDERS:]:
            self.counts.add(h, token, EXTRA_LIMIT)

    def learn_weights(self, token: int) -> None:
        """One step of all that the mixture learns, up ln p(token)."""
        self.update_weights(token)
        for bucket, expected in self.matches:
            self.w.match_weights[bucket] += MATCH_RATE * (f32(expected == token) - self.p[expected])
        for place, latest in self.latest:
            self.w.latest_weights[place] += LATEST_RATE * (f32(latest == token) - self.p[latest])
        self.update_backoff(token)

    def update_weights(self, token: int) -> None:
        """A Newton step of the mixing weights, up ln p(token)."""
        g, active = np.zeros(N_EXPERTS, f32), self.active()
        for k in active:
            g[k] = self.logs[k][token] - tree(in_order((self.p * self.logs[k]).reshape(-1, 128)))
        self.w.curvature[:] += (g * g[:, None] - self.w.curvature) * CURVATURE_RATE
        step = in_order([self.w.inverse[k] * g[k] for k in range(N_EXPERTS)])
        if self.text.history.n_learned % NEWTON_EVERY == 0:
            self.w.inverse[:] = inverted(self.w.curvature)
        for k in active:
            self.w.expert_weights[k, self.buckets[k]] += step[k] * MIXING_RATE
        for row in self.rows:
            n_uses = self.w.n_uses[row]
            rate = MIXING_RATE * (ROW_BASE + ROW_BOOST / (ONE + n_uses / ROW_HALF_LIFE))
            self.w.adjustments[row, active] += (step * rate)[active]
            self.w.n_uses[row] += ONE

    def update_backoff(self, token: int) -> None:
        """A gradient step of the back-off logits, up the log-likelihood of the token under order 6."""
        slope = ONE / max(self.P[LONGEST_ORDER][token], f32(1e-30))
        for order in range(LONGEST_ORDER, -1, -1):
            if self.known[order]:
                slope = slope * self.backoff[order]
                below = self.P[order - 1][token] if order else ONE / f32(self.V)
                g = min(max(slope * (below - self.P[order][token]), -MAX_SLOPE), MAX_SLOPE)
                self.w.backoff_logits[order, count_bucket(self.known[order])] += BACKOFF_RATE * g


def count_bucket(entries: list[tuple[int, int]]) -> int:
    """How much is known about a context, as one number below COUNT_BUCKETS."""
    total = sum(count for _, count in entries)
    return min(total.bit_length(), 9) * 6 + min(len(entries).bit_length(), 5)


def inverted(matrix: Array) -> Array:
    """The inverse of a positive definite matrix + DAMPING on its diagonal, by Gauss-Jordan elimination."""
    a = matrix.copy()
    a[np.diag_indices(len(a))] += DAMPING
    for j in range(len(a)):
        factor, a[j, j] = ONE / a[j, j], ONE
        a[j] *= factor
        for i in range(len(a)):
            if i != j:
                factor, a[i, j] = a[i, j], f32(0)
                a[i] -= a[j] * factor
    return a
