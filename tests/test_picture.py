"""Heat maps: colours, the terminal, the page, and the page in a real browser."""

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm import Config, StreamPredictor, Trace, Vocabulary
from streamlstm.render.picture import (
    EDGES,
    PALETTES,
    Picture,
    ansi_legend,
    ansi_text,
    levels,
    page_data,
    page_end,
    page_start,
    picture,
    rgb,
)
from streamlstm.text.characters import character, trace_characters

ESCAPE = re.compile(r"\x1b\[[\d;]*m")
TEXT = "The cat.\nA naïve cat: 10 €, <b>&amp;</script> 😀\n"


def traced(text: str, bits: list[float], guesses: str = "") -> Trace:
    """A trace of characters with these surprisals; the same guesses after each, with chances 1/2, 1/4, …"""
    n, k = len(text), len(guesses)
    return Trace(
        np.array([ord(c) for c in text], dtype=np.int32),
        np.array(bits, dtype=np.float32),
        np.ones(n, dtype=np.int32),
        np.tile(np.array([ord(c) for c in guesses], dtype=np.int32), (n, 1)),
        np.tile(0.5 ** np.arange(1, k + 1, dtype=np.float32), (n, 1)),
    )


def page(trace: Trace, title: str = "test") -> str:
    return page_start(title, "character") + page_data(trace, character) + page_end()


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 256 colours of which nothing else is known."""
    for name in ("NO_COLOR", "COLORTERM", "COLORFGBG"):
        monkeypatch.delenv(name, raising=False)


# Colours


def lightness(colour: str) -> float:
    """The relative luminance of WCAG."""
    parts = [channel / 255 for channel in rgb(colour)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_a_level_starts_at_each_edge():
    assert levels(np.array([0.0, *EDGES])).tolist() == list(range(9))
    assert levels(np.array(EDGES) - 1e-6).tolist() == list(range(8))


@pytest.mark.parametrize("theme", PALETTES)
def test_a_higher_level_differs_more_from_the_paper_in_lightness(theme):
    backs = [lightness(back) for back, _ in PALETTES[theme]]
    assert len(backs) == len(EDGES)
    assert backs == sorted(backs, reverse=theme == "light")
    assert min(abs(np.diff(np.cbrt(backs)))) > 0.02


@pytest.mark.parametrize(("theme", "fgbg"), [("light", "0;15"), ("dark", "15;0")])
def test_with_256_colours_the_levels_differ_in_lightness_and_the_text_is_readable(monkeypatch, theme, fgbg):
    monkeypatch.setenv("COLORFGBG", fgbg)
    shades = ["00", "5f", "87", "af", "d7", "ff"]

    def seen(index: str) -> float:
        n = int(index) - 16
        return lightness("#" + shades[n // 36] + shades[n // 6 % 6] + shades[n % 6])

    colours = [(seen(back), seen(ink)) for back, ink in re.findall(r"48;5;(\d+);38;5;(\d+)m", ansi_legend())]
    backs = [back for back, _ in colours]
    assert len(set(backs)) == len(EDGES)
    assert backs == sorted(backs, reverse=theme == "light")
    assert all((max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5 for pair in colours)


@pytest.mark.parametrize("theme", PALETTES)
def test_the_text_of_each_level_is_readable_on_its_background(theme):
    for back, ink in PALETTES[theme]:
        dark, light = sorted([lightness(back), lightness(ink)])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, back


# The terminal


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Zs"])))
def test_without_its_colours_a_heat_map_is_the_text(text):
    bits = np.arange(len(text)) % 20
    assert ESCAPE.sub("", ansi_text(traced(text, bits.tolist()), character)) == text


def test_a_line_ends_without_colour_and_a_surprising_newline_is_visible():
    out = ansi_text(traced("a\nb\nc", [9, 0, 9, 9, 0]), character)
    first, second, third = out.split("\n")
    assert first.endswith("a\x1b[0m")
    assert second.endswith("b↵\x1b[0m")
    assert third == "c"


def test_control_characters_are_escaped_in_a_heat_map():
    out = ansi_text(traced("\x1b[2J\r\x07\t\x9b", [0.0] * 8), character)
    assert out == "\\x1b[2J\\r\\x07\t\\x9b"


def test_invalid_bytes_are_escaped_in_a_heat_map():
    trace = trace_characters(StreamPredictor(config=Config(hidden=16, layers=1)), b"a\xff", 0)
    assert ESCAPE.sub("", ansi_text(trace, character)) == "a\\xff"


@pytest.mark.parametrize(
    ("environment", "sequence"),
    [
        ({}, "\x1b[48;5;221;38;5;16m"),
        ({"COLORTERM": "truecolor"}, "\x1b[48;2;251;216;99;38;2;28;27;25m"),
        ({"COLORTERM": "24bit", "COLORFGBG": "0;15"}, "\x1b[48;2;77;26;79;38;2;255;255;255m"),
        ({"NO_COLOR": "1", "COLORTERM": "truecolor"}, "\x1b[0;1;7m"),
    ],
)
def test_colours_suit_the_terminal(monkeypatch, environment, sequence):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ansi_text(traced("x", [20]), character) == f"{sequence}x\x1b[0m"
    assert sequence in ansi_legend()


def test_with_no_color_no_colour_is_sent(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = ansi_legend() + ansi_text(traced("abcdefghi", [0, *EDGES]), character)
    assert not re.search(r"\x1b\[[\d;]*(38|48);", out)


def test_the_legend_names_the_first_bits_of_each_level():
    assert ESCAPE.sub("", ansi_legend()).split() == ["bits", "0", *map(str, EDGES)]


# The page


def test_the_data_of_a_page_can_be_read_back():
    bits = [0.25 * n for n in range(len(TEXT))]
    found = re.findall(r'<script type="application/json">(.*?)</script>', page(traced(TEXT, bits, "e😀")), re.DOTALL)
    (values,) = map(json.loads, found)
    assert values["text"] == TEXT
    assert values["bits"] == [25 * n for n in range(len(TEXT))]
    assert (values["k"], values["guesses"]) == (2, "e😀" * len(TEXT))
    assert values["chances"] == [500, 250] * len(TEXT)


def test_invalid_bytes_are_lone_surrogates_in_the_data_and_the_page_is_utf8():
    trace = trace_characters(StreamPredictor(config=Config(hidden=16, layers=1)), b"\xff<\xe2\x82", 0)
    data = page_data(trace, character)
    assert '"text":"\\udcff\\u003c\\udce2\\udc82"' in data
    data.encode()


def test_a_page_is_self_contained():
    content = page(traced(TEXT, [1.0] * len(TEXT)))
    assert "http:" not in content
    assert "https:" not in content
    assert set(re.findall(r'(?:src|href)="([^"]*)"', content)) == {"data:,"}
    assert "url(" not in content
    assert "@import" not in content


def test_a_title_is_text_not_markup():
    assert "<h1>&lt;i&gt;.txt</h1>" in page(traced("a", [1.0]), "<i>.txt")


@pytest.mark.parametrize("title", ["{edges}", "{unit}", "{title}", "/* light palette */"])
def test_a_title_may_contain_a_placeholder_of_the_page(title):
    assert f"<h1>{title}</h1>" in page(traced("a", [1.0]), title)


def test_a_picture_is_displayed_by_a_notebook():
    shown = picture(StreamPredictor(config=Config(hidden=16, layers=1)), TEXT)
    inner = re.fullmatch(r'<iframe srcdoc="([^"]*)" sandbox="allow-scripts"[^>]*></iframe>', shown._repr_html_())
    assert inner
    assert html.unescape(inner[1]) == shown.html()
    assert ESCAPE.sub("", shown.ansi()).partition("\n")[2].replace("↵", "") == TEXT


def test_a_picture_of_bytes_is_that_of_their_text():
    one, other = (
        picture(StreamPredictor(config=Config(hidden=16, layers=1)), text, top=2) for text in (TEXT, TEXT.encode())
    )
    assert one.html() == other.html()


# The page in a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the extra `browser`")
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1300,850"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Page:
    """An open page: what it shows, and what one does with it."""

    def __init__(self, driver: Any, path: Path, content: str) -> None:
        path.write_text(content, "utf-8")
        self.driver = driver
        driver.get(path.as_uri())

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def hover(self, element: Any) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).move_to_element(element).perform()

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def guesses(self) -> list[list[str]]:
        return [
            [part.text for part in row.find_elements("css selector", "kbd, data")] for row in self.all("#guesses li")
        ]

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture
def cat(browser: Any, tmp_path: Path) -> Page:
    """A page of "The cat.⏎mat" where e, t and a space were expected everywhere, and the m was a surprise."""
    trace = traced("The cat.\nmat", [3, 1, 0.5, 1, 2, 5, 1, 2, 0.1, 9, 1, 2], "et ")
    return Page(browser, tmp_path / "page.html", page(trace))


def test_a_browser_shows_the_text_in_its_colours_without_an_error(cat):
    assert [line.text for line in cat.all("#text .line")] == ["The cat.↵", "mat"]
    cells = cat.all("#text .line span")
    classes = [cell.get_attribute("class") for cell in cells]
    assert classes[:3] == ["level-3", "level-1", ""]
    assert classes[9] == "level-6"
    assert cat.one("#summary").text == "12 characters, 28 bits, 2.30 bits per character"
    assert cat.one("#sparkline path").get_attribute("d").startswith("M0 ")
    assert cat.errors() == []


def test_the_first_lines_are_drawn_without_waiting_for_the_observer(browser, tmp_path):
    source = "IntersectionObserver = class { observe() {} };"
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    shown = Page(browser, tmp_path / "page.html", page(traced("The cat.\nmat\n" * 100, [1.0] * 1300)))
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    assert len(shown.all("#text .line span")) == 25 * len("The cat.\nmat\n")


def test_pointing_at_a_character_shows_its_surprisal_and_the_guesses(cat):
    cat.hover(cat.all("#text .line span")[5])
    assert cat.one("#character").text == "a"
    assert cat.one("#bits").text == "5.00 bits, 1 in 32"
    assert cat.one("#position").text == "line 1, column 6"
    assert cat.guesses() == [["e", "50.0 %"], ["t", "25.0 %"], ["␣", "12.5 %"], ["▸ a", "3.1 %"]]
    cat.hover(cat.all("#text .line span")[3])
    assert cat.guesses() == [["e", "50.0 %"], ["t", "25.0 %"], ["▸ ␣", "12.5 %"]]
    assert cat.errors() == []


def test_before_the_first_character_nothing_was_expected(cat):
    cat.hover(cat.all("#text .line span")[0])
    assert (cat.one("#heading").text, cat.guesses()) == ("Nothing had been read yet", [])


def test_the_keyboard_moves_to_the_next_character_and_to_the_next_surprise(cat):
    from selenium.webdriver import Keys

    def position() -> str:
        return str(cat.one("#position").text)

    cat.press(Keys.ARROW_RIGHT)
    assert position() == "line 1, column 1"
    cat.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert position() == "line 1, column 3"
    cat.press(Keys.ARROW_DOWN)
    assert position() == "line 2, column 3"
    cat.press(Keys.HOME, Keys.ARROW_LEFT)
    assert position() == "line 1, column 9"
    cat.press("n")
    assert position() == "line 2, column 1"
    assert cat.one("#spoken").get_attribute("textContent").startswith("m, 9.00 bits, 1 in 512. Expected: e50.0 %")
    assert cat.driver.switch_to.active_element.get_attribute("id") == "text"
    cat.press("p", Keys.ARROW_UP, Keys.END)
    assert position() == "line 1, column 9"
    assert cat.errors() == []


def test_a_page_is_light_or_dark_as_the_reader_prefers(cat):
    papers = []
    for theme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        cat.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        papers.append(cat.one("body").value_of_css_property("background-color"))
        warm = cat.all(".level-6")[0].value_of_css_property("background-color")
        red, green, blue = rgb(PALETTES[theme][5][0])
        assert warm == f"rgba({red}, {green}, {blue}, 1)"
    assert papers == ["rgba(255, 254, 251, 1)", "rgba(22, 21, 26, 1)"]


def test_a_page_loads_nothing_from_elsewhere(cat):
    assert cat.driver.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_markup_control_characters_and_invalid_bytes_are_shown_as_text(browser, tmp_path):
    trace = trace_characters(
        StreamPredictor(config=Config(hidden=16, layers=1)), b"<b>&lt;</script>\x1b\xff\xf0\x9f\x98\x80", 5
    )
    shown = Page(browser, tmp_path / "page.html", page(trace))
    assert shown.one("#text .line").text == "<b>&lt;</script>\\u001b\\xff😀"
    assert len(shown.all("#text .line span")) == 19
    assert shown.errors() == []


def test_only_the_visible_part_of_a_long_text_is_drawn_and_the_sparkline_scrolls_to_a_position(browser, tmp_path):
    text = "".join(f"line {n} of a long text\n" for n in range(4000)) + "x" * 2500
    shown = Page(browser, tmp_path / "page.html", page(traced(text, [1.0] * len(text), "e")))
    drawn = "return document.querySelectorAll('#text .line span').length"
    assert 0 < browser.execute_script(drawn) < len(text) / 10
    from selenium.webdriver import ActionChains

    ActionChains(browser).move_to_element_with_offset(shown.one("#sparkline"), 0, 0).click().perform()
    found = re.fullmatch(r"line (\d+), column \d+", shown.one("#position").text)
    assert found
    assert 2000 < int(found[1]) < 2300
    assert shown.one(".here").is_displayed()
    shown.press("p", "n")
    assert shown.errors() == []


def test_an_empty_text_is_a_page_without_an_error(browser, tmp_path):
    shown = Page(browser, tmp_path / "page.html", page_start("nothing", "symbol") + page_end())
    assert shown.one("#summary").text == "An empty text."
    shown.press("n")
    assert shown.errors() == []


def test_a_page_by_symbol_says_so(browser, tmp_path):
    vocabulary = Vocabulary.bytes()
    trace = StreamPredictor(config=Config(hidden=16, layers=1)).trace("é", 2)
    content = page_start("bytes", "symbol") + page_data(trace, vocabulary.symbol) + page_end()
    shown = Page(browser, tmp_path / "page.html", content)
    assert shown.one("#text .line").text == "\\xc3\\xa9"
    assert "2 symbols" in shown.one("#summary").text


def test_a_picture_in_a_notebook_runs_in_its_frame(browser, tmp_path):
    content = Picture(traced("ab", [1.0, 9.0], "e"))._repr_html_()
    shown = Page(browser, tmp_path / "notebook.html", f"<!doctype html><meta charset=utf-8><title>n</title>{content}")
    browser.switch_to.frame(0)
    assert shown.one("#text .line").text == "ab"
    assert [entry for entry in shown.errors() if "favicon" not in entry] == []
