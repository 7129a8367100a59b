"""The kind of a line: its text with everything that varies, such as numbers and addresses, replaced.

There are two: `kind_of` keeps the letters around a number, and tells lines apart by the paths and names in them.
`event_type_of` is coarser. It replaces whole words, so that the lines that one statement of a program writes have one
type; their order and number can then be counted.
"""

import re

MAX_KIND_LENGTH = 200
"""A longer kind is truncated."""

_WITH_DIGIT = re.compile(r"0[xX][0-9a-fA-F]+|\b(?=[a-fA-F]*[0-9])[0-9a-fA-F]+\b|[0-9]+")
_VARIABLE_WORD = re.compile(r"(?<!\S)\S*[0-9/]\S*")  # without the first part it takes quadratic time in a long word
_WORDS = re.compile(r"#(?: #)+")
_RUN = re.compile(r"[-+]?#(?:[-.:,/_]?#)*")


def kind_of(text: str) -> str:
    """The kind of a line: `#` stands for each number, hexadecimal word, address, date and time.

    >>> kind_of("blk_-3544 of 10.250.19.102:50010 took 0x7ffe ms, id 9f8e7d6c-1a2b")
    'blk_# of # took # ms, id #'
    """
    return _RUN.sub("#", _WITH_DIGIT.sub("#", text))[:MAX_KIND_LENGTH]


def event_type_of(text: str) -> str:
    """The event type of a line: `#` stands for each run of words that have a digit or a slash in them.

    >>> event_type_of("081109 203530 147 INFO DataXceiver: Receiving block blk_-35 src: /10.250.19.102:54106")
    '# INFO DataXceiver: Receiving block # src: #'
    """
    words = " ".join(_VARIABLE_WORD.sub("#", text).split())
    return _WORDS.sub("#", words)[:MAX_KIND_LENGTH]
