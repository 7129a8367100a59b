"""Templates: lines with their variable parts taken out, which is what "a kind of line" is.

There are three grains of them, from fine to coarse. Each decides something that users see, so none can take the place
of another without changing what 1.0 gave:

- that of `line_tables` masks each number, and tells lines apart by their white space. It is compiled, and decides
  which lines are familiar and need not be read in full, and so all scores after them.
- `kind_of` also takes a run of numbers, such as an address or a date, as one. It is the `kind` of records, and what a
  budget raises once per period.
- `event_type_of` masks whole words, so that the lines that one statement of a program writes have one type. The scores
  of sessions count these. Lines of one kind have one type, unless they have a `#` of their own or are truncated.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from ..predictor import StreamPredictor
from ..ranges import Real, check_values
from ..text.units import readable
from ..vocabulary import Tokens

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


MAX_TYPES = 1024
"""Further event types are never known."""

MAX_UNKNOWN = 4096
"""The bits of this many types that are not known are kept; the least recently used one is forgotten."""


class EventTypes:
    """Event types as symbols.

    predictor  reads the text of each type once, when it comes first, and learns from it

    symbols  from each known type to its symbol, from 1; 0 is what is not known

    >>> from streamlstm import Config
    >>> types = EventTypes(StreamPredictor(config=Config(hidden=16, layers=1)))
    >>> foreseen = types.foreseen_bits("# is full")
    >>> 50 < foreseen == types.bits("# is full")
    True
    >>> types.learn(["# is full"])
    >>> types.symbols
    {'# is full': 1}
    """

    def __init__(self, predictor: StreamPredictor) -> None:
        self.symbols: dict[str, int] = {}
        self._names: list[str] = []
        self._predictor = predictor
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._foreseen: dict[str, float] = {}

    def name(self, symbol: int) -> str:
        """The type that a symbol stands for."""
        return self._names[symbol - 1] if symbol else "a new event"

    def bits(self, event_type: str) -> float:
        """What the text of a type costs that is not known, in bits, by the model before it read that text.

        Raises ValueError, with nothing changed, if the vocabulary lacks a symbol.
        """
        bits = self._unknown.get(event_type)
        if bits is None:
            bits = self.foreseen_bits(event_type)
            self._predictor.observe_many(self._tokens(event_type))
            self._foreseen.clear()
            self._unknown[event_type] = bits
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
        else:
            self._unknown.move_to_end(event_type)
        return bits

    def foreseen_bits(self, event_type: str) -> float:
        """What `bits` would return; the model does not read it."""
        if event_type in self._unknown:
            return self._unknown[event_type]
        if event_type not in self._foreseen:
            if len(self._foreseen) >= MAX_UNKNOWN:
                self._foreseen.clear()
            bits = 0.0
            for each in self._predictor.fork(learning=False).observe_many(self._tokens(event_type)).tolist():
                bits += each
            self._foreseen[event_type] = bits
        return self._foreseen[event_type]

    def learn(self, event_types: Iterable[str]) -> None:
        """From now on these types are known, if there are not too many."""
        for event_type in event_types:
            if len(self._names) < MAX_TYPES and event_type not in self.symbols:
                self._names.append(event_type)
                self.symbols[event_type] = len(self._names)
                self._unknown.pop(event_type, None)

    def check(self, event_type: str) -> None:
        """Raise ValueError if the vocabulary lacks a symbol of a type whose text would be read."""
        if event_type not in self.symbols:
            self._tokens(event_type)

    def _tokens(self, event_type: str) -> Tokens:
        return self._predictor.vocabulary.encode(readable(event_type + "\n", self._predictor.vocabulary))

    def describe(self) -> dict[str, Any]:
        """The state as JSON values, for `restore`; the model is not in it."""
        return {"known": self._names, "unknown": list(self._unknown.items())}

    def restore(self, described: dict[str, Any]) -> None:
        """Continue from what `describe` returned. Raises ValueError, with nothing changed, if it is not that."""
        check_values(described, {"known": [str], "unknown": [(str, Real(0))]}, "the types of events")
        names, unknown = described["known"], OrderedDict(described["unknown"])
        symbols = {name: symbol for symbol, name in enumerate(names, 1)}
        if len(symbols) < len(names) or len(names) > MAX_TYPES or len(unknown) > MAX_UNKNOWN:
            raise ValueError(f"{len(names)} known and {len(unknown)} unknown types, {len(symbols)} of them distinct")
        self._names, self.symbols, self._unknown = names, symbols, unknown
