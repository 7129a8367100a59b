"""Every promise stands once in docs/pages/promises.md, and has tests that CI runs.

The README, the changelog and the pages that were parts of the README promise nothing else: where a paragraph or a list
item has a word of promise, it links to a numbered promise.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "pages" / "promises.md"
PROMISE = re.compile(r'^<a id="(\d+)"></a>\*\*\1\.\*\* (.+?)\n\n((?:- `[^`]+`\n)+)', re.M | re.S)
PROMISES = {
    int(number): (text, re.findall("`(.+)`", tests)) for number, text, tests in PROMISE.findall(PAGE.read_text("utf-8"))
}
PAGES = [
    "README.md",
    "CHANGELOG.md",
    *(f"docs/pages/{name}.md" for name in ("commands", "design", "developing", "security")),
]
LINK = re.compile(r"promises\.md#(\d+)\)")
WORD_OF_PROMISE = re.compile(
    r"\b(always|at most|bit for bit|cannot|every 1\.x|exactly|guarantees?|independent|is lost|last bit|lossless|never|"
    r"nothing|safe|same bits|same results|survives?|to the bit|to the byte|whatever|without loss)\b",
    re.I,
)
NO_PROMISE = (
    "lossless compression.",  # what it is for
    "that the model has never seen",
    "`train` does nothing else",
    "memorise",
    'or "nothing"',
    "The same bits on every CPU.",  # what 0.1 had
)
"""Parts of paragraphs that have such a word and promise nothing."""


def paragraphs(path):
    """The paragraphs, list items and rows of a page, without its code."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.M | re.S)
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n|\n(?=\s*[-|])", text)]


def test_promises_are_numbered_from_1_on_and_each_is_one_sentence():
    assert list(PROMISES) == list(range(1, len(PROMISES) + 1))
    assert PAGE.read_text("utf-8").count("<a id=") == len(PROMISES)
    for text, _ in PROMISES.values():
        assert re.fullmatch(r"[^.]*(\.\w[^.]*)*\.", text), text
    assert len({text for text, _ in PROMISES.values()}) == len(PROMISES)


@cache
def functions_in(path):
    """The functions of a test module, with their decorators."""
    nodes = ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
    return {node.name: [*map(ast.unparse, node.decorator_list)] for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("number", PROMISES)
def test_the_tests_of_a_promise_exist_and_are_not_skipped_where_ci_runs(number):
    _, tests = PROMISES[number]
    for test in tests:
        path, name = test.split("::")
        assert name in functions_in(path), test
        assert not re.search(r"mark\.(skip\b|xfail)", " ".join(functions_in(path)[name])), test


@pytest.mark.parametrize("page", PAGES)
def test_what_promises_something_links_to_a_promise(page):
    unlinked = [
        part
        for part in paragraphs(ROOT / page)
        if WORD_OF_PROMISE.search(part) and not LINK.search(part) and not any(known in part for known in NO_PROMISE)
    ]
    assert unlinked == []


@pytest.mark.parametrize("page", PAGES)
def test_a_link_leads_to_a_promise(page):
    assert {int(number) for number in LINK.findall((ROOT / page).read_text("utf-8"))} <= set(PROMISES)
