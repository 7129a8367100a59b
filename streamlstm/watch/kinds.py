"""An inventory of the kinds of lines: what kinds there are, when each was seen, how often and in how many keys.

Numbers are in columns, one row for each kind, so that a kind takes a few hundred bytes. If there are too many kinds,
an eighth of them gives way: of the half that was not seen for longest, the rarest.

The number of keys is counted by the bits of a word that hashes of them set, so it is exact for few keys and about right
for many: Whang et al., A linear-time probabilistic counting algorithm for database applications (1990).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple
from zlib import crc32

from ..ranges import FINITE, Real, Text, Whole, check_values

MAX_KINDS = 100_000
"""The most kinds that are kept."""

MAX_EXAMPLE = 200
"""A longer example is truncated."""

KEY_BITS = 1024
"""The number of keys is about right up to a few times as many."""

DESCRIBED = {
    "kinds": [Text()],
    "counts": [(Whole(1), Whole(1), Whole(1))],
    "bits": [(Real(0), Real(0))],
    "keys": [Text()],
    "texts": [(Text(), Text(), Text())],
    "n": (Whole(), Whole()),
}
"""What `Kinds.describe` returns; see `ranges`."""


class Kind(NamedTuple):
    """What is known of a kind of line.

    kind                    its template
    n_lines                 how many lines it has had
    n_keys                  in about how many keys; 1 if lines have none
    first, last             the numbers of its first and its last line, from 1
    first_time, last_time   their time stamps; "" if they have none
    mean_bits, largest_bits the mean and the largest surprisal of its lines, in bits per character
    example                 its first line
    """

    kind: str
    n_lines: int
    n_keys: int
    first: int
    last: int
    first_time: str
    last_time: str
    mean_bits: float
    largest_bits: float
    example: str


class Kinds:
    """Counts the kinds of the lines that it is given.

    capacity  the most kinds that are kept

    n_lines      the lines so far
    n_forgotten  kinds that gave way to others

    >>> kinds = Kinds()
    >>> for n in range(3):
    ...     is_new = kinds.add("job # done", f"job {n} done", bits=1.0 + n, key=f"web-{n}", time=f"10:0{n}")
    >>> kinds.all()  # doctest: +NORMALIZE_WHITESPACE
    [Kind(kind='job # done', n_lines=3, n_keys=3, first=1, last=3, first_time='10:00', last_time='10:02',
          mean_bits=2.0, largest_bits=3.0, example='job 0 done')]
    """

    def __init__(self, capacity: int = MAX_KINDS) -> None:
        self._capacity = capacity
        self._rows: dict[str, int] = {}
        self._n_lines, self._first, self._last = array("q"), array("q"), array("q")
        self._sums, self._largest = array("d"), array("d")
        self._keys: list[int] = []
        self._first_times: list[bytes] = []
        self._last_times: list[bytes] = []
        self._examples: list[bytes] = []
        self.n_lines = self.n_forgotten = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, kind: str) -> bool:
        return kind in self._rows

    def add(self, kind: str, text: str, bits: float, *, key: str = "", time: str = "") -> bool:
        """Count a line. Returns whether its kind is new.

        text  the line, kept as an example of a new kind
        bits  its surprisal, in bits per character
        time  its time stamp, as it is to be shown
        """
        self.n_lines += 1
        row = self._rows.get(kind)
        if row is None:
            self._append(kind, text, bits, key, time)
            return True
        self._n_lines[row] += 1
        self._last[row] = self.n_lines
        self._sums[row] += bits
        if bits > self._largest[row]:
            self._largest[row] = bits
        if time:
            self._last_times[row] = time.encode("utf-8", "surrogateescape")
        if key:
            self._keys[row] |= _bit_of(key)
        return False

    def _append(self, kind: str, text: str, bits: float, key: str, time: str) -> None:
        if len(self._rows) >= self._capacity:
            self._make_room()
        self._rows[kind] = len(self._rows)
        self._n_lines.append(1)
        self._first.append(self.n_lines)
        self._last.append(self.n_lines)
        self._sums.append(bits)
        self._largest.append(bits)
        self._keys.append(_bit_of(key) if key else 0)
        time_stamp = time.encode("utf-8", "surrogateescape")
        self._first_times.append(time_stamp)
        self._last_times.append(time_stamp)
        self._examples.append(text[:MAX_EXAMPLE].encode("utf-8", "surrogateescape"))

    def _make_room(self) -> None:
        """Forget an eighth of the kinds: of the half that was not seen for longest, the rarest."""
        n = len(self._rows)
        oldest = sorted(range(n), key=self._last.__getitem__)[: (n + 1) // 2]
        gone = set(sorted(oldest, key=lambda row: (self._n_lines[row], self._last[row]))[: max(n // 8, 1)])
        kept = [row for row in range(n) if row not in gone]
        names = list(self._rows)
        self._rows = {names[row]: index for index, row in enumerate(kept)}
        for name in ("_n_lines", "_first", "_last", "_sums", "_largest"):
            column = getattr(self, name)
            setattr(self, name, array(column.typecode, [column[row] for row in kept]))
        for name in ("_keys", "_first_times", "_last_times", "_examples"):
            column = getattr(self, name)
            setattr(self, name, [column[row] for row in kept])
        self.n_forgotten += len(gone)

    def all(self) -> list[Kind]:
        """All kinds that are kept, in the order in which they came."""
        return list(self)

    def __iter__(self) -> Iterator[Kind]:
        for kind, row in self._rows.items():
            n = self._n_lines[row]
            texts = (self._first_times[row], self._last_times[row], self._examples[row])
            first_time, last_time, example = (each.decode("utf-8", "surrogateescape") for each in texts)
            yield Kind(
                kind, n, _n_keys(self._keys[row]), self._first[row], self._last[row], first_time, last_time,
                self._sums[row] / n, self._largest[row], example,
            )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """The inventory as JSON values, for `restore`."""
        columns = zip(self._first_times, self._last_times, self._examples, strict=True)
        return {
            "kinds": list(self._rows),
            "counts": [list(each) for each in zip(self._n_lines, self._first, self._last, strict=True)],
            "bits": [list(each) for each in zip(self._sums, self._largest, strict=True)],
            "keys": [format(each, "x") for each in self._keys],
            "texts": [[each.decode("utf-8", "surrogateescape") for each in row] for row in columns],
            "n": [self.n_lines, self.n_forgotten],
        }

    def restore(self, described: dict[str, Any]) -> None:
        """Continue from what `describe` returned. Raises ValueError, with nothing changed, if it is not that."""
        check_values(described, DESCRIBED, "the kinds of lines")
        kinds, keys = described["kinds"], [int(each, 16) for each in described["keys"]]
        if len(kinds) > self._capacity:
            raise ValueError(f"the kinds of lines: there are {len(kinds):,}, where {self._capacity:,} is the most")
        new = Kinds(self._capacity)
        new.n_lines, new.n_forgotten = described["n"]
        columns = (described["counts"], described["bits"], described["texts"])
        for kind, key, counts, bits, texts in zip(kinds, keys, *columns, strict=True):
            if kind in new._rows or not 0 <= key < 1 << KEY_BITS or max(counts) > new.n_lines or max(bits) > FINITE:
                raise ValueError(f"the kinds of lines: {kind!r} has {counts} and {bits}, of {new.n_lines} lines")
            new._rows[kind] = len(new._rows)
            for column, value in zip((new._n_lines, new._first, new._last), counts, strict=True):
                column.append(value)
            for numbers, number in zip((new._sums, new._largest), bits, strict=True):
                numbers.append(number)
            new._keys.append(key)
            first_time, last_time, example = (each.encode("utf-8", "surrogateescape") for each in texts)
            new._first_times.append(first_time)
            new._last_times.append(last_time)
            new._examples.append(example)
        self.__dict__.update(new.__dict__)


class Change(NamedTuple):
    """How a kind differs between two logs.

    what      "new", "gone", "more" or "less" in the second log
    kind      what is known of it in the second log or, if it is gone, in the first
    n_before  how many lines it has in the first log
    n_now     how many it has in the second
    ratio     of its rates per line, the second by the first: infinite for a new kind, 0 for one that is gone
    p         of a two-sided test that the rates are the same
    """

    what: str
    kind: Kind
    n_before: int
    n_now: int
    ratio: float
    p: float


ORDER = ("new", "gone", "more", "less")


def changes(before: Kinds, now: Kinds, largest_p: float = 0.01) -> list[Change]:
    """What differs in a second log: first the kinds that are new, then those that are gone, and changed rates.

    largest_p  that of a changed rate, multiplied by the number of kinds, as so many tests are made (Bonferroni)

    New and gone kinds are listed whatever their p. Of one sort, the least probable come first.
    """
    first, second = ({each.kind: each for each in kinds} for kinds in (before, now))
    found = []
    n_kinds = len(first.keys() | second.keys())
    for kind in [*second, *(each for each in first if each not in second)]:
        old, new = first.get(kind), second.get(kind)
        n_before, n_now = old.n_lines if old else 0, new.n_lines if new else 0
        p = two_sided_p(n_now, max(now.n_lines, 1), n_before, max(before.n_lines, 1))
        ratio = n_now * before.n_lines / (n_before * now.n_lines) if n_before and now.n_lines else math.inf
        what = "new" if old is None else "gone" if new is None else "more" if ratio > 1 else "less"
        if what in ("new", "gone") or p * n_kinds <= largest_p:
            known = new or old
            assert known is not None
            found.append(Change(what, known, n_before, n_now, 0.0 if new is None else ratio, p))
    return sorted(found, key=lambda each: (ORDER.index(each.what), each.p, -max(each.n_before, each.n_now)))


def _bit_of(key: str) -> int:
    hashed = crc32(key.encode("utf-8", "surrogateescape")) * 0x9E3779B1 % 2**32  # crc32 alone is linear
    return 1 << hashed // (2**32 // KEY_BITS)


def _n_keys(word: int) -> int:
    """About how many keys set the bits of a word."""
    n_zero = KEY_BITS - word.bit_count()
    return max(round(KEY_BITS * math.log(KEY_BITS / max(n_zero, 1))), 1)


def two_sided_p(n: int, total: int, n_other: int, total_other: int) -> float:
    """The p of a two-sided test that a kind is equally frequent in two logs.

    n, n_other  how many of the `total` and `total_other` lines are of the kind

    It is the normal approximation with a pooled rate and the continuity correction, as in a chi-squared test of a
    table of two by two; where fewer than ten lines are expected in a log, the exact binomial test of how the lines of
    the kind fall on both logs, with twice the smaller tail.

    >>> two_sided_p(50, 1000, 48, 1000) > 0.8, two_sided_p(0, 1000, 30, 1000) < 1e-6, two_sided_p(1, 1000, 0, 1000)
    (True, True, 1.0)
    """
    both, share = n + n_other, total / (total + total_other)
    if both * min(share, 1 - share) < 10:
        lower = math.fsum(_binomial(k, both, share) for k in range(n + 1))
        upper = math.fsum(_binomial(k, both, share) for k in range(n, both + 1))
        return min(2 * min(lower, upper), 1.0)
    pooled = both / (total + total_other)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / total + 1 / total_other))
    if deviation == 0.0:
        return 1.0
    gap = abs(n / total - n_other / total_other) - (1 / total + 1 / total_other) / 2
    return math.erfc(max(gap, 0.0) / deviation / math.sqrt(2))


def _binomial(k: int, n: int, p: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + (k * math.log(p) if k else 0.0) + ((n - k) * math.log1p(-p) if n > k else 0.0))
