"""Text as a terminal, a table or JSON can show it: what is not printable, which a terminal might obey, is escaped."""

import json
import unicodedata


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
    return "".join(escaped(c.encode("utf-8", "surrogateescape") if "\udc80" <= c <= "\udcff" else c) for c in text)


def json_string(text: str) -> str:
    r"""A text as a JSON string; characters that are not printable, which a terminal might obey, are escaped.

    >>> print(json_string("é\x9b\n"))
    "é\u009b\n"
    """
    return printable_json(json.dumps(text, ensure_ascii=False))


def printable_json(text: str) -> str:
    """JSON on one line, in which the characters of strings that are not printable are escaped as well."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def terminal_text(text: str) -> str:
    r"""A text for a terminal: each character that is not printable is escaped, except tabs.

    >>> print(terminal_text("a\\b \x1b"))
    a\b \x1b
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\t\\" else escaped_text(c) for c in text)


def display_width(text: str) -> int:
    """The number of terminal columns that a text takes: a wide character takes two, a combining one none.

    >>> display_width("日本"), display_width("e\u0301")
    (4, 1)
    """
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
