"""The key of a line, or its session: what a regular expression finds in it."""

from __future__ import annotations

import re

MAX_KEY_LENGTH = 256
"""Of a longer key at most this many characters count."""


class KeyPattern:
    """Finds the key of a line.

    regex  the key is what its first group matches or, without a group, the whole match; None: no line has a key

    Raises ValueError if it is not a valid regular expression.

    >>> KeyPattern(r"host-(\\d+)").key_of("from host-12 to host-7"), KeyPattern(r"\\d+").key_of("none")
    ('12', '')
    """

    def __init__(self, regex: str | None) -> None:
        try:
            self._regex = None if regex is None else re.compile(regex)
        except re.error as error:
            raise ValueError(f"{regex!r} is not a valid regular expression: {error}") from None

    def key_of(self, line: str) -> str:
        """The key of a line, truncated; "" if it has none."""
        match = self._regex.search(line) if self._regex else None
        if match is None:
            return ""
        return ((match[1] if match.re.groups else match[0]) or "")[:MAX_KEY_LENGTH]
