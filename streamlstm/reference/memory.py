"""The memory in plain Python and NumPy: read it before the kernels of `streamlstm.memory`, which give the same bits.

For each symbol: `Text.contexts` hashes what the next symbol is predicted from, `Counts` looks up what followed each of
these contexts before, `ReferenceMemory.predict` mixes the resulting distributions with the network's, and
`ReferenceMemory.observe` learns from the symbol. All floating-point numbers are float32.
"""

from dataclasses import dataclass, field

import numpy as np

from ..memory import experts as e
from ..memory import layout as at
from ..memory import mixture as m
from ..memory.counts import MAX_ENTRIES, MAX_PRIORITY, MAX_RUN
from .arithmetic import Array, combine, exp, in_order, ln, log2, tree
from .matches import Match
from .text import Text

f32 = np.float32
ONE = f32(1)


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
        self.pages = [Page() for _ in range(n_pages)]

    def find(self, h: int, number: int, create: bool = False) -> Page | None:
        """A page of the context h; if it is missing, None, or with `create` a new one."""
        h = combine(h, number)
        tag, first = (h & 0x7FFFFFFF) | 1, (h >> 31) % len(self.pages)
        places = [first, first ^ 1]
        for place in places:
            if self.pages[place].tag == tag:
                return self.pages[place]
        if not create:
            return None
        replaced, other = sorted(places, key=lambda place: self.pages[place].priority)  # stable: the first of equals
        self.pages[other].priority = max(0, self.pages[other].priority - 1)
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
    """The experts and their mixture. `weights` is the memory's array, whose parts `memory.layout` explains."""

    def __init__(self, weights: Array, char_classes: Array, n_pages: int, C: int) -> None:
        self.V, self.C, self.counts, self.text = len(char_classes), C, Counts(n_pages), Text(char_classes, n_pages)
        edges = (at.EXPERT_WEIGHTS, at.MATCH_WEIGHTS, at.LATEST_WEIGHTS, at.CURVATURE, at.INVERSE_CURVATURE)
        parts = np.split(weights.copy(), [*edges, at.ADJUSTMENTS, at.uses_at(self.V)])
        self.backoff_logits = parts[0][: at.N_ORDERS * at.COUNT_BUCKETS].reshape(at.N_ORDERS, at.COUNT_BUCKETS)
        self.expert_weights = parts[1].reshape(at.N_EXPERTS, at.EXPERT_BUCKETS)
        self.match_weights = parts[2].reshape(at.N_MATCHES, at.MATCH_DISTANCES, at.MATCH_BUCKETS)
        self.latest_weights = parts[3].reshape(at.N_CONTEXTS - 1, at.LATEST_BUCKETS)
        self.curvature, self.inverse = (part.reshape(at.N_EXPERTS, at.N_EXPERTS) for part in parts[4:6])
        self.adjustments, self.n_uses = parts[6].reshape(-1, at.N_EXPERTS), parts[7]
        self.surprisals = 0  # how surprising the last four symbols were, in four steps each

    def weights(self) -> Array:
        """What has been learned, as the memory's array."""
        padding = np.zeros(at.EXPERT_WEIGHTS - self.backoff_logits.size, dtype=np.float32)
        parts = [self.backoff_logits, padding, self.expert_weights, self.match_weights, self.latest_weights]
        parts += [self.curvature, self.inverse, self.adjustments, self.n_uses]
        return np.concatenate([part.ravel() for part in parts])

    def predict(self, network: Array) -> Array:
        """The mixture's distribution [C], from the network's [C]: the same as long as nothing was learned."""
        self.look_up()
        self.set_distributions()
        self.logs = [ln(P + e.TINY) for P in [*self.P[1:], network]]
        self.set_buckets(network)
        if not self.text.seen:
            self.p = network.copy()
            return self.p
        z = np.zeros(self.C, f32)
        for k in self.active():
            added = [self.adjustments[row, k] for row in self.rows]
            z = z + self.logs[k] * in_order([self.expert_weights[k, self.buckets[k]], *added])
        for bucket, token in self.matches:
            z[token] += self.match_weights[bucket]
        for place, token in self.latest:
            z[token] += self.latest_weights[place]
        powers = exp(z - z[: self.V].max())
        powers[self.V :] = 0
        self.p = powers / tree(in_order(powers.reshape(-1, 128)))
        self.p[: self.V] = self.p[: self.V] * (ONE - f32(self.V) * m.FLOOR) + m.FLOOR
        return self.p

    def look_up(self) -> None:
        """The counts of each context, and the latest token of each with the place of its weight."""
        self.hashes, self.known, self.latest = self.text.contexts(), [], []
        for k, h in enumerate(self.hashes):
            pages = self.counts.pages_of(h)
            self.known.append([entry for page in pages for entry in page.counts.items()])
            if k > 0 and pages and pages[0].latest >= 0:
                bucket = pages[0].run * 6 + min(len(self.known[k]).bit_length(), 5)
                self.latest.append(((k - 1, bucket), pages[0].latest))

    def set_distributions(self) -> None:
        """The distribution P and the back-off weight λ of each context, by absolute discounting."""
        self.P: list[Array] = []
        self.backoff: list[f32] = []
        for k, entries in enumerate(self.known):
            below = self.P[min(k, at.N_ORDERS) - 1] if k else np.full(self.C, ONE / f32(self.V), f32)
            P, backoff = below.copy(), ONE
            if entries:
                distinct, total = f32(len(entries)), f32(sum(count for _, count in entries))
                x = distinct * e.DISCOUNT / total
                backoff = min(x, e.MAX_BACKOFF)
                if k < at.N_ORDERS:
                    odds = exp(-self.backoff_logits[k, [count_bucket(entries)]])[0]
                    backoff = x / (x + (ONE - x) * odds)
                P = below * backoff
                scale = (ONE - backoff) / (total - distinct * e.DISCOUNT)
                for token, count in entries:
                    P[token] += scale * (f32(count) - e.DISCOUNT)
            self.P.append(P)
            self.backoff.append(backoff)

    def set_buckets(self, network: Array) -> None:
        """Choose the weights: a bucket for each expert, -1 if it has no prediction, and the rows of adjustments."""
        text, known = self.text, [len(entries) for entries in self.known]
        self.buckets = [count_bucket(entries) if entries else -1 for entries in self.known[1:]]
        longest = max([k for k in range(1, at.N_ORDERS) if known[k]], default=0)
        is_certain = int(longest > 0 and known[longest] == 1)
        if longest < at.LONGEST_ORDER:
            self.buckets[at.LONGEST_ORDER - 1] = at.COUNT_BUCKETS + longest
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
        extras = sum(n > 0 for n in known[at.N_ORDERS :])
        self.rows = [
            at.FIELD_ROWS + min(text.field, at.N_FIELDS - 1),
            at.COLUMN_ROWS + min(text.column, at.N_COLUMNS - 1),
            at.KNOWN_ROWS + longest * (at.N_CONTEXTS - at.N_ORDERS + 1) + extras,
            at.CLASS_ROWS + text.class_history,
            at.SYMBOL_ROWS + 1 + text.last(1),
            at.AGE_ROWS + min(len(text.seen).bit_length(), at.N_AGES - 1),
            at.SURPRISAL_ROWS + self.surprisals,
            at.BRACKET_ROWS + (bracket * 4 + min(text.brackets.depth, 3)) * 8 + text.class_history % 8,
            at.MATCH_ROWS + self.match_row(longest),
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

    def observe(self, token: int) -> None:
        """Learn from the symbol after `predict`: first the weights, then the counts."""
        if self.text.seen:
            self.learn_weights(token)
        bits = -log2(self.p[[token]])[0]
        self.surprisals = (self.surprisals * 4 + sum(bits >= step for step in (0.25, 1.5, 4))) % at.N_SURPRISALS
        for order in range(at.LONGEST_ORDER, -1, -1):
            if self.counts.add(self.hashes[order], token, e.ORDER_LIMIT):
                break
        for h in self.hashes[at.N_ORDERS :]:
            self.counts.add(h, token, e.EXTRA_LIMIT)
        self.text.advance(token)

    def learn_weights(self, token: int) -> None:
        """One step of all that the mixture learns, up ln p(token)."""
        self.update_weights(token)
        for bucket, expected in self.matches:
            self.match_weights[bucket] += m.MATCH_RATE * (f32(expected == token) - self.p[expected])
        for place, latest in self.latest:
            self.latest_weights[place] += m.LATEST_RATE * (f32(latest == token) - self.p[latest])
        self.update_backoff(token)

    def update_weights(self, token: int) -> None:
        """A Newton step of the mixing weights, up ln p(token)."""
        g, active = np.zeros(at.N_EXPERTS, f32), self.active()
        for k in active:
            g[k] = self.logs[k][token] - tree(in_order((self.p * self.logs[k]).reshape(-1, 128)))
        self.curvature += (g * g[:, None] - self.curvature) * m.CURVATURE_RATE
        step = in_order([self.inverse[k] * g[k] for k in range(at.N_EXPERTS)])
        if len(self.text.seen) % m.NEWTON_EVERY == 0:
            self.inverse[:] = inverted(self.curvature)
        for k in active:
            self.expert_weights[k, self.buckets[k]] += step[k] * m.MIXING_RATE
        for row in self.rows:
            n_uses = self.n_uses[row]
            rate = m.MIXING_RATE * (m.ROW_BASE + m.ROW_BOOST / (ONE + n_uses / m.ROW_HALF_LIFE))
            self.adjustments[row, active] += (step * rate)[active]
            self.n_uses[row] += ONE

    def update_backoff(self, token: int) -> None:
        """A gradient step of the back-off logits, up the log-likelihood of the token under order 6."""
        slope = ONE / max(self.P[at.LONGEST_ORDER][token], f32(1e-30))
        for order in range(at.LONGEST_ORDER, -1, -1):
            if self.known[order]:
                slope = slope * self.backoff[order]
                below = self.P[order - 1][token] if order else ONE / f32(self.V)
                g = min(max(slope * (below - self.P[order][token]), -e.MAX_SLOPE), e.MAX_SLOPE)
                self.backoff_logits[order, count_bucket(self.known[order])] += e.BACKOFF_RATE * g


def count_bucket(entries: list[tuple[int, int]]) -> int:
    """How much is known about a context, as one number below COUNT_BUCKETS."""
    total = sum(count for _, count in entries)
    return min(total.bit_length(), 9) * 6 + min(len(entries).bit_length(), 5)


def inverted(matrix: Array) -> Array:
    """The inverse of a positive definite matrix + DAMPING on its diagonal, by Gauss-Jordan elimination."""
    a = matrix.copy()
    a[np.diag_indices(len(a))] += m.DAMPING
    for j in range(len(a)):
        factor, a[j, j] = ONE / a[j, j], ONE
        a[j] *= factor
        for i in range(len(a)):
            if i != j:
                factor, a[i, j] = a[i, j], f32(0)
                a[i] -= a[j] * factor
    return a
