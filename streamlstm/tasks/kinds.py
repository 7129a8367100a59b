"""The kind of a line: its text with everything that varies, such as numbers and addresses, replaced."""

import re

MAX_KIND_LENGTH = 200
"""A longer kind is truncated."""

_WITH_DIGIT = re.compile(r"0[xX][0-9a-fA-F]+|\b(?=[a-fA-F]*[0-9])[0-9a-fA-F]+\b|[0-9]+")
_RUN = re.compile(r"[-+]?#(?:[-.:,/_]?#)*")


def kind_of(text: str) -> str:
    """The kind of a line: `#` stands for each number, hexadecimal word, address, date and time.

    >>> kind_of("blk_-3544 of 10.250.19.102:50010 took 0x7ffe ms, id 9f8e7d6c-1a2b")
    'blk_# of # took # ms, id #'
    """
    return _RUN.sub("#", _WITH_DIGIT.sub("#", text))[:MAX_KIND_LENGTH]
