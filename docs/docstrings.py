"""A griffe extension that turns the package's plain-text docstrings into Markdown.

Aligned columns of names and descriptions become lists, doctests become code blocks.
"""

import re
from typing import Any

import griffe

COLUMN = re.compile(r"^(\S.*?) {2,}(\S.*)$")
PROMPT = ">>> "


def markdown(text: str) -> str:
    """A docstring as Markdown.

    >>> print(markdown("Sum.\\n\\na    first\\n     number\\n\\n>>> 1 + 1\\n2"))
    Sum.
    <BLANKLINE>
    - `a`: first number
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    """
    return "\n\n".join(_block(paragraph) for paragraph in text.split("\n\n"))


def _block(paragraph: str) -> str:
    lines = paragraph.splitlines()
    first = next((index for index, line in enumerate(lines) if line.startswith(PROMPT)), None)
    if first is not None:
        before = "\n".join(lines[:first])
        return "\n".join([*([before, ""] if before else []), "```pycon", *lines[first:], "```"])
    if lines and COLUMN.match(lines[0]) and not lines[0].startswith(" "):
        return "\n".join(_items(lines))
    return paragraph


def _items(lines: list[str]) -> list[str]:
    """The rows of two aligned columns as list items; an indented line continues the row above it."""
    items: list[str] = []
    for line in lines:
        match = COLUMN.match(line)
        if line.startswith(" ") and items:
            items[-1] += f" {line.strip()}"
        elif match:
            items.append(f"- `{match[1]}`: {match[2].strip()}")
        else:
            items.append(f"\n{line}")
    return items


class PlainDocstrings(griffe.Extension):
    """Rewrites the docstring of every object that griffe loads."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each object with its docstring."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
