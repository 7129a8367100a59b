"""Text as a terminal, a table or JSON can show it: what is not printable, which a terminal might obey, is escaped."""

import json
import re
import unicodedata
from base64 import b64encode
from typing import Any

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_BYTES = re.compile("[\udc80-\udcff]+")


def counted(n: int, noun: str) -> str:
    """A number of things, in words.

    >>> counted(1, "line"), counted(12345, "line")
    ('1 line', '12,345 lines')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def rejoined(text: str) -> str:
    r"""A text in which escaped bytes (`surrogateescape`) that are UTF-8 together are characters.

    In a locale of ASCII, Python decodes each byte of a name or an argument like this.

    >>> rejoined("caf\udcc3\udca9 \udcff") == "café \udcff"
    True
    """
    if text.isascii():
        return text
    return _ESCAPED_BYTES.sub(
        lambda run: run[0].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"), text
    )


def escaped(symbol: str | bytes) -> str:
    r"""A symbol as text for a table: itself, or an escape such as \n or \xff if it is not printable.

    >>> escaped("é"), escaped("\n"), escaped(b"\xff"), escaped("\\")
    ('é', '\\n', '\\xff', '\\\\')
    """
    if isinstance(symbol, bytes):
        return "".join(f"\\x{byte:02x}" for byte in symbol)
    if symbol == "\\":
        return "\\\\"
    return symbol if symbol.isprintable() else symbol.encode("unicode_escape").decode()


def escaped_text(text: str) -> str:
    r"""A text for one cell of a table: each character that is not printable is escaped, and each backslash.

    >>> print(escaped_text("a\tb \udcff"))
    a\tb \xff
    """
    if text.isprintable() and "\\" not in text:
        return text
    text = rejoined(text)
    return "".join(escaped(c.encode("utf-8", "surrogateescape") if "\udc80" <= c <= "\udcff" else c) for c in text)


def csv_quoted(text: str) -> str:
    """A text for one cell of a table in CSV (RFC 4180): with a comma or a quotation mark in it, it is quoted.

    >>> print(csv_quoted('"I'), csv_quoted("I"))
    \"""I" I
    """
    return '"' + text.replace('"', '""') + '"' if re.search('[,;"\r\n\t]', text) else text


def json_string(text: str) -> str:
    r"""A text as a JSON string; characters that are not printable, which a terminal might obey, are escaped.

    A byte that is not valid UTF-8, a lone surrogate in Python (`surrogateescape`), is replaced by U+FFFD.

    >>> print(json_string("é\x9b\n\udcff"))
    "é\u009b\n�"
    """
    return printable_json(_LONE_SURROGATE.sub("\ufffd", json.dumps(rejoined(text), ensure_ascii=False)))


def json_object(values: dict[str, Any]) -> str:
    r"""A JSON object on one line, with its strings as in `json_string`.

    After the other fields, each text NAME in which a byte was replaced has a field NAME_base64 with its exact bytes.

    >>> print(json_object({"line": 7, "text": "é\udcff"}))
    {"line": 7, "text": "é�", "text_base64": "w6n/"}
    """
    text = json.dumps(values, ensure_ascii=False)
    if text.isprintable():
        return text
    values = {name: rejoined(each) if isinstance(each, str) else each for name, each in values.items()}
    exact = {base64_name(name): base64_of(each) for name, each in values.items() if is_replaced(each)}
    return printable_json(_LONE_SURROGATE.sub("\ufffd", json.dumps(values | exact, ensure_ascii=False)))


def is_replaced(value: object) -> bool:
    """Whether a value is a text that JSON cannot express exactly, because it has bytes that are not valid UTF-8."""
    return isinstance(value, str) and _LONE_SURROGATE.search(rejoined(value)) is not None


def base64_name(name: str) -> str:
    """The name of the field with the exact bytes of a text."""
    return f"{name}_base64"


def base64_of(text: str) -> str:
    """The bytes of a text in Base64."""
    return b64encode(text.encode("utf-8", "surrogateescape")).decode()


def printable_json(text: str) -> str:
    """JSON on one line with all characters escaped that are not printable, lone surrogates too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


_DECEPTIVE = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\ufff9-\ufffb\U000e0000-\U000e007f]")
"""Characters of the category Cf that show text in another order, or hide text: the bidirectional controls, the
deprecated ones beside them, annotations, and tags. The others shape words or symbols, or end lines well: joiners, the
soft hyphen, spaces without a width, the signs of Arabic numbers."""


def is_safe(character: str) -> bool:
    r"""Whether a terminal may get a character as it is: not if it could obey it, or show other text than there is.

    These are controls, ends of lines, lone surrogates, and `_DECEPTIVE` characters.

    >>> [is_safe(c) for c in ("é", "\u3000", "\u200d", "\x9b", "\u2028", "\u202e")]
    [True, True, True, False, False, False]
    """
    if character.isprintable():
        return True
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") and not _DECEPTIVE.match(character)


def terminal_text(text: str) -> str:
    r"""A text for a terminal: each character that is not safe is escaped, except tabs.

    >>> print(terminal_text("a\\b \x1b"))
    a\b \x1b
    """
    if text.isprintable():
        return text
    return "".join(c if c == "\t" or is_safe(c) else escaped_text(c) for c in rejoined(text))


def terminal_lines(text: str) -> str:
    """Lines of text for a terminal: newlines stay; see `terminal_text`."""
    return "\n".join(map(terminal_text, text.split("\n")))


def display_width(text: str) -> int:
    """The number of terminal columns that a text takes: a wide character takes two, a combining or invisible one none.

    >>> display_width("日本"), display_width("e\u0301")
    (4, 1)
    """
    return sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf") and character != "\xad":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
