"""The matches, in plain Python; the readable twin of `memory.matches`."""

from collections.abc import Callable
from dataclasses import dataclass

from .arithmetic import combine

RING_PER_PAGE = 4
MIN_LENGTHS = 16, 6
"""How many of the last symbols must equal those before a new match, for each match."""
MAX_CHECKED, MAX_MISSES = 32, 8
SYMBOLS_FAMILY, MATCH_FAMILY = 2**40, 9 * 2**40
"""What the hashes of the last symbols begin with, and those of the places where they occurred."""

Last = Callable[[int], int]
"""The token that many symbols ago; -1 before the beginning."""


@dataclass
class Match:
    """An earlier place at which the last `length` symbols occurred; -1 for none."""

    position: int = -1
    length: int = 0
    misses: int = 0  # one bit for each of the last 16 predictions, the last one the lowest: 1 if it was wrong
    recoveries: int = 0  # how often 16 predictions in a row were right after one that was wrong
    token: int = -1  # what it predicts

    def follow(self, token: int, ring_size: int, end: int) -> None:
        """Move past a token; end if it was wrong too often, or if nothing was learned after it."""
        if self.position >= 0:
            is_wrong = self.token != token
            self.position = (self.position + 1) % ring_size
            self.length = 0 if is_wrong else self.length + 1
            self.recoveries += self.misses == 2**15 and not is_wrong
            self.misses = (self.misses * 2 + is_wrong) % 2**16
            if self.misses.bit_count() > MAX_MISSES or self.position == end:
                self.position = -1

    def is_short(self, min_length: int) -> bool:
        """Whether it is missing, or shorter than the minimum because it was wrong."""
        return self.position < 0 or self.length < min_length

    @property
    def is_robust(self) -> bool:
        """Whether it was wrong of late, but had been right again after that before: as in a copy with changes."""
        return self.misses > 0 and self.recoveries > 1

    @property
    def strength(self) -> int:
        """Its length and how often it was wrong, as one number."""
        length_bucket: int = sum(self.length >= least for least in (*range(1, 9), 12, 16, 24, 32, 64, 128, 512))
        last_8, last_16 = (self.misses % 2**8).bit_count(), self.misses.bit_count()
        miss_bucket: int = (min(last_16, 2), 2 + min(last_16, 2))[last_8] if last_8 < 2 else min(3 + last_8, 7)
        return length_bucket * 8 + miss_bucket


class Matches:
    """A ring of the last tokens that were learned, where in it the last symbols occurred, and the matches found there.

    heads  the last two places of the symbols with a certain hash, the later one first
    """

    def __init__(self, n_pages: int) -> None:
        self.ring, self.n_learned, self.n_heads = [0] * (RING_PER_PAGE * n_pages), 0, n_pages // 2
        self.heads: dict[int, list[int]] = {}
        self.matches = [Match() for _ in MIN_LENGTHS]

    def follow(self, token: int, last: Last, learn: bool) -> None:
        """Take a token, and append it if it is learned: each match continues, or another one is found."""
        if learn:
            self.ring[self.n_learned % len(self.ring)] = token
            self.n_learned += 1
        end = self.n_learned % len(self.ring)
        for match in self.matches:
            match.follow(token, len(self.ring), end)
        for number, min_length in enumerate(MIN_LENGTHS):
            last_symbols = combine(SYMBOLS_FAMILY, *map(last, range(1, min_length + 1)))
            head = (combine(MATCH_FAMILY + number, last_symbols) >> 31) % self.n_heads
            places = self.heads.get(head, [])
            if self.matches[number].is_short(min_length):
                self.promote(number, min_length)
            match = self.matches[number]
            if match.is_short(min_length):
                self.find(match, min_length, [place for place in places if place != end], last)
            if learn:
                self.heads[head] = [end, *places][:2]
            match.token = self.ring[match.position] if match.position >= 0 else -1

    def promote(self, number: int, min_length: int) -> None:
        """Exchange a match for the next one if that is long enough."""
        pair = self.matches[number : number + 2]
        if len(pair) == 2 and not pair[1].is_short(min_length):
            self.matches[number : number + 2] = reversed(pair)

    def find(self, match: Match, min_length: int, places: list[int], last: Last) -> None:
        """Move a match to the first of the places where enough of the last symbols occurred and no other match is."""
        for place in places:
            length = 0
            while length < MAX_CHECKED and self.ring[(place - 1 - length) % len(self.ring)] == last(length + 1):
                length += 1
            if length >= min_length and all(place != other.position for other in self.matches):
                match.position, match.length, match.misses, match.recoveries = place, length, 0, 0
                return
