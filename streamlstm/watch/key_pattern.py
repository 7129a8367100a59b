"""The key of a line, or its session: what a regular expression finds in it."""

from __future__ import annotations

import re

MAX_KEY_LENGTH = 256
"""Of a longer key at most this many characters count."""

_OUTSIDE = re.compile(r"\W")


class KeyPattern:
    """Finds the key of a line.

    regex  the key is what its first group matches or, without a group, the whole match; None: no line has a key

    Raises ValueError if it is not a valid regular expression, as a str.

    >>> KeyPattern(r"host-(\\d+)").key_of("from host-12 to host-7"), KeyPattern(r"\\d+").key_of("none")
    ('12', '')
    """

    def __init__(self, regex: str | None) -> None:
        if not (regex is None or isinstance(regex, str)):
            raise ValueError(f"a regular expression for lines must be a str, not {regex!r}")
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

    def replaced(self, line: str) -> tuple[str, str]:
        """The key of a line, as `key_of` finds it, and the line with `#` for the key wherever the expression finds it.

        >>> KeyPattern(r"user=(\\w+)").replaced("user=o wrote to user=o and user=p")
        ('o', 'user=# wrote to user=# and user=p')
        """
        if self._regex is None or self._regex.search(line) is None:
            return "", line
        group = 1 if self._regex.groups else 0
        key, parts, at = None, [], 0
        for match in self._regex.finditer(line):
            found = match[group] or ""
            key = found if key is None else key
            if not key:
                return "", line
            if found == key:
                parts += [line[at : match.start(group)], "#"]
                at = match.end(group)
        return (key or "")[:MAX_KEY_LENGTH], "".join([*parts, line[at:]])


def without_word(line: str, word: str) -> str:
    """A line with `#` for each occurrence of `word` that is not part of a longer word.

    >>> without_word("o wrote to user=o: no", "o")
    '# wrote to user=#: no'
    """
    parts, done, at = [], 0, line.find(word) if word else -1
    while at >= 0:
        end = at + len(word)
        if _is_in_word(line[at - 1 : at]) or _is_in_word(line[end : end + 1]):
            outside = _OUTSIDE.search(
                line, at
            )  # no occurrence can be whole before the word that this one is in has ended
            at = -1 if outside is None else line.find(word, outside.end())
        else:
            parts += [line[done:at], "#"]
            done, at = end, line.find(word, end)
    return "".join([*parts, line[done:]])


def _is_in_word(character: str) -> bool:
    return character.isalnum() or character == "_"
