"""Live typing: the text and its reader, then the screen in a terminal of its own."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import numpy as np
import pytest
from commands import run
from nets import random_predictor
from no_network import CAN_FORBID, FORBIDDEN

from streamlstm import SGD, Config, StreamPredictor, Vocabulary, top_characters
from streamlstm.render.live import LiveText, continuation

TINY = Config(hidden=16, layers=1)
FRESH = ["--hidden", "16", "--layers", "1"]
SENTENCE = "the green bottles hang on the wall, and "


def reader(text: str = SENTENCE * 30) -> StreamPredictor:
    predictor = StreamPredictor(config=TINY)
    predictor.observe_many(text)
    return predictor


# The continuation


def test_the_continuation_goes_on_to_the_end_of_the_word():
    predictor = reader()
    for typed, rest in [("the gr", "een"), ("een", " bottles"), (" bottles hang on the wal", "l"), ("l", ", and")]:
        predictor.observe_many(typed)
        assert continuation(predictor) == rest


def test_the_continuation_is_the_most_probable_word_not_the_most_probable_letters():
    """After "a" comes b in two of three words, but with ten ways to go on; c is always the end of the word."""
    predictor = StreamPredictor(Vocabulary.from_text("abc .0123456789"), TINY)
    words = [word for n in range(10) for word in (f"ab{n}. ", "ac. ", f"ab{9 - n}. ")]
    order = np.random.default_rng(0).permutation(len(words) * 40) % len(words)
    predictor.observe_many("".join(words[index] for index in order) + "a")
    assert top_characters(predictor, 1)[0][0] == "b"
    assert continuation(predictor) == "c"


@pytest.mark.parametrize(
    ("typed", "ghost"),
    [
        ("the history of the wor", "ld"),
        ("It rains in the mount", "ains"),
        ("So it goes, ", "and"),
        ("He said — ", "and"),
        ("1.0 added, and lets it\n", "is"),
        ("state-of-the-", "of"),
        ("Grüße aus Mün", "e"),
        ("def observe(self, symb", "ol"),
        ("    return ", "self"),
        ("the end.", " The"),
        ("don", "'t"),
        ("https://exam", "ple"),
    ],
)
def test_the_continuation_is_the_one_that_version_1_0_showed(typed, ghost):
    predictor = StreamPredictor.pretrained()
    predictor.observe_many(typed)
    assert continuation(predictor) == ghost


def test_a_continuation_changes_nothing_and_is_never_empty():
    predictor, twin = random_predictor(TINY, Vocabulary.bytes()), random_predictor(TINY, Vocabulary.bytes())
    assert 0 < len(continuation(predictor)) <= 20
    assert np.array_equal(predictor.predict(), twin.predict())
    assert np.array_equal(predictor.observe_many(b"abc" * 20), twin.observe_many(b"abc" * 20))


# The text


def test_what_was_typed_has_the_surprisals_of_a_frozen_reader():
    live, frozen = LiveText(reader()), reader()
    frozen.learning = False
    live.add("the né€😀")
    assert [typed.bits for typed in live.typed] == [frozen.observe(character) for character in "the né€😀"]
    assert live.bits_per_character == pytest.approx(np.mean([typed.bits for typed in live.typed]))


def test_a_deleted_character_leaves_no_trace():
    live, other = LiveText(reader()), LiveText(reader())
    live.add("the wrong")
    for _ in "wrong":
        live.delete_last()
    live.add("green\n")
    other.add("the green\n")
    assert (live.text, live.typed) == (other.text, other.typed)
    live.settle()
    other.settle()
    assert np.array_equal(live.learner.predict(), other.learner.predict())
    assert live.learner.n_symbols == other.learner.n_symbols


def test_a_finished_line_is_learned_and_cannot_be_changed():
    live, plain = LiveText(reader()), reader()
    live.add("one line\nthe ")
    plain.observe_many("one line\n")
    assert np.array_equal(live.learner.predict(), plain.predict())
    assert all(
        np.array_equal(a, b) for a, b in zip(live.learner.weights().values(), plain.weights().values(), strict=True)
    )
    for _ in range(5):
        live.delete_last()
    assert live.text == "one line\n"
    assert live.note == "a finished line cannot be changed"


def test_with_learning_off_the_weights_stay_and_the_context_moves_on():
    live = LiveText(reader())
    live.switch_learning()
    before, state = live.learner.weights(), live.learner.predict()
    live.add("something new\n" * 3)
    live.settle()
    assert all(np.array_equal(before[name], weight) for name, weight in live.learner.weights().items())
    assert not np.array_equal(live.learner.predict(), state)
    live.switch_learning()
    assert live.learner.learning


def test_a_character_that_the_vocabulary_lacks_is_noted_and_changes_nothing():
    live = LiveText(StreamPredictor(Vocabulary.from_text("abc\n"), TINY))
    live.add("abxc")
    assert (live.text, live.note) == ("ab", "the model does not know x")
    live.add("c")
    assert (live.text, live.note) == ("abc", "")


def test_accepting_types_the_continuation():
    live = LiveText(reader())
    live.add("the gr")
    ghost = live.ghost
    live.accept()
    assert live.text == "the gr" + ghost == "the green"


def test_the_views_show_text_colours_cursor_ghost_bars_and_figures():
    live = LiveText(reader())
    live.add("the gr\x1b")
    fragments = live.text_view(24, 80)
    drawn = "".join(text for _, text in fragments)
    cursor = fragments.index(("[SetCursorPosition]", ""))
    assert "".join(text for _, text in fragments[:cursor]) == "the gr\\x1b"
    assert drawn == "the gr\\x1b" + live.ghost
    assert fragments[cursor - 1][0] == "class:level-8"
    bars = "".join(text for _, text in live.guesses_view(3, 60)).splitlines()
    assert len(bars) == 3
    chances = [chance for _, chance in top_characters(live.reader, 3)]
    assert [re.search(r"[\d.]+%$", bar)[0] for bar in bars] == [f"{chance:.1%}" for chance in chances]
    assert all(len(bar) <= 60 for bar in bars)
    status = "".join(text for _, text in live.status_view())
    assert "7 characters" in status
    assert "learning on" in status


def test_a_view_of_a_long_text_is_its_last_rows():
    live = LiveText(StreamPredictor(config=TINY))
    live.add("".join(f"line {n}\n" for n in range(50)))
    drawn = "".join(text for style, text in live.text_view(4, 80) if style != "class:ghost")
    assert drawn == "line 47\nline 48\nline 49\n"
    live.add("x" * 1000)
    assert len("".join(text for style, text in live.text_view(4, 80) if style != "class:ghost")) == 320


# The screen


class Terminal:
    """`streamlstm live` in a terminal of 80 columns; `before` is Python code that it runs first."""

    def __init__(self, *arguments: object, before: str = "", rows: int = 24, **variables: str) -> None:
        self.rows, self.needed = rows, 11 if "--top" not in arguments else 3 + int(arguments[-1])
        self.screen, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
        script = f"{before}\nfrom streamlstm.cli import main\nmain()"
        command = [sys.executable, "-c", script, "live", *map(str, arguments)]
        environment = {**os.environ, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **variables}
        self.process = subprocess.Popen(
            command, stdin=inside, stdout=inside, stderr=subprocess.PIPE, env=environment, start_new_session=True
        )
        os.close(inside)
        self.seen = ""

    def __enter__(self) -> "Terminal":
        self.wait_for("Ctrl-D end" if self.rows >= self.needed else "rows")
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self.screen)

    def press(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def wait_for(self, pattern: str) -> None:
        """Read until the pattern was written, in what has come since the last wait."""
        deadline, come = time.monotonic() + 90, ""
        while not re.search(pattern, come):
            ready, _, _ = select.select([self.screen], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{pattern!r} did not come, but {come!r}"
            come += os.read(self.screen, 65536).decode("utf-8", "replace")
        self.seen += come

    def end(self, key: str = "", number: int = 0) -> tuple[int, str, str]:
        """End it by a key or a signal: the exit code, and stdout and stderr after the screen was restored."""
        self.press(key)
        if number:
            self.process.send_signal(number)
        come = ""
        while True:
            try:
                data = os.read(self.screen, 65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            come += data.decode("utf-8", "replace")
        _, stderr = self.process.communicate(timeout=60)
        assert "\x1b[?1049l" in come
        out = re.sub(r"\x1b\[[?\d;]*[a-z]", "", come.rpartition("\x1b[?1049l")[2], flags=re.IGNORECASE)
        return self.process.returncode, out.replace("\r\n", "\n"), stderr.decode()


@pytest.fixture
def toolkit() -> None:
    pytest.importorskip("prompt_toolkit", reason="needs the extra `live`")


def test_typing_shows_the_surprisal_and_the_text_is_written_at_the_end(toolkit):
    with Terminal(*FRESH) as terminal:
        terminal.press("h")
        terminal.wait_for(r"8\.00")  # a fresh net expects each of 256 bytes alike
        terminal.press("é\x7fi\x1b[A\r€")  # the arrow is no text
        terminal.wait_for("€")
        code, out, err = terminal.end("\x04")
    assert (code, out) == (0, "hi\n€\n")
    assert re.fullmatch(r"4 characters, [\d.]+ bits per character\n", err)


@pytest.mark.parametrize("top", [2, 8, 12])
def test_a_terminal_with_too_few_rows_says_how_many_it_needs(toolkit, top):
    for rows in (1, 4, top + 2, top + 3):
        with Terminal(*FRESH, "--top", top, rows=rows) as terminal:
            assert (f"{top + 3} rows are needed" in terminal.seen) == (rows < top + 3)
            terminal.press("hi")
            code, out, _ = terminal.end("\x04")
        assert (code, out) == (0, "hi\n")


def test_where_the_locale_has_no_other_characters_than_ascii_it_says_that_it_ignores_them(toolkit):
    with Terminal(*FRESH, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") as terminal:
        terminal.press("hé")
        terminal.wait_for("ASCII only")
        terminal.press("i")
        code, out, _ = terminal.end("\x04")
    assert (code, out) == (0, "hi\n")


def test_it_uses_no_network(toolkit):
    if not CAN_FORBID:
        pytest.skip("the filter is for Linux on x86-64 and aarch64")
    with Terminal(*FRESH, before=FORBIDDEN) as terminal:
        terminal.press("ab")
        terminal.wait_for("last b")
        assert terminal.end("\x04")[0] == 0


def test_tab_accepts_what_is_expected_and_a_paste_is_read(toolkit, tmp_path):
    reader().save(tmp_path / "m")
    with Terminal("--model", tmp_path / "m") as terminal:
        terminal.press("\x1b[200~the green\r\nthe gr\x1b[201~")
        terminal.wait_for("een")
        terminal.press("\t")
        terminal.wait_for("bottles")
        code, out, _ = terminal.end("\x04")
    assert (code, out) == (0, "the green\nthe green\n")


def test_ctrl_l_switches_learning(toolkit):
    with Terminal(*FRESH) as terminal:
        terminal.press("\x0c")
        terminal.wait_for("ff")
        terminal.press("\x0c")
        terminal.wait_for("n")
        assert terminal.end("\x04")[0] == 0


def test_ctrl_c_saves_what_was_read_and_exits_130(toolkit, tmp_path):
    with Terminal(*FRESH, "--save", tmp_path / "m") as terminal:
        terminal.press("ab\rc")
        terminal.wait_for("c")
        code, out, _ = terminal.end("\x03")
    twin = StreamPredictor(config=TINY)
    twin.observe_many("ab\nc")
    saved = StreamPredictor.load(tmp_path / "m")
    assert (code, out) == (130, "ab\nc\n")
    assert saved.n_symbols == 4
    assert np.array_equal(saved.predict(), twin.predict())


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_saves_what_was_read(toolkit, tmp_path, number, expected):
    with Terminal(*FRESH, "--save", tmp_path / "m") as terminal:
        terminal.press("ab\rc")
        terminal.wait_for("c")
        code, out, err = terminal.end(number=number)
    assert (code, out) == (expected, "ab\nc\n")
    assert re.fullmatch(r"4 characters, [\d.]+ bits per character\n", err)
    assert StreamPredictor.load(tmp_path / "m").n_symbols == 4


def test_a_terminal_that_is_closed_saves_what_was_read(toolkit, tmp_path):
    with Terminal(*FRESH, "--save", tmp_path / "m") as terminal:
        terminal.press("ab\rc")
        terminal.wait_for("c")
        os.close(terminal.screen)
        terminal.screen = os.open(os.devnull, os.O_RDONLY)
        _, stderr = terminal.process.communicate(timeout=60)
    assert (terminal.process.returncode, stderr) == (129, b"")
    assert StreamPredictor.load(tmp_path / "m").n_symbols == 4


# What is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--top", "0"], ["--top", "0"]),
        (["--vocab", "text"], ["--vocab", "text"]),
        ([], ["terminal", "predict"]),
    ],
)
def test_a_senseless_option_or_a_pipe_is_refused_in_one_line(toolkit, arguments, words):
    result = run("live", *arguments)
    message = result.stderr.decode()
    assert (result.returncode, result.stdout) == (1, b"")
    assert re.fullmatch(r"streamlstm: [^\n]+\n", message)
    assert all(word in message for word in words)


def test_without_its_extra_live_says_how_to_install_it():
    result = run("live", before="import sys; sys.modules['prompt_toolkit'] = None")
    assert (result.returncode, result.stdout) == (1, b"")
    assert (
        result.stderr == b"streamlstm: live requires prompt_toolkit; install it with: pip install 'streamlstm[live]'\n"
    )


def test_a_line_on_which_learning_diverges_leaves_a_screen_that_can_be_drawn():
    text = LiveText(StreamPredictor(config=TINY, optimizer=SGD(lr=1e38)))
    text.add("a line that is longer than two windows, so that the weights are updated twice")
    with pytest.raises(FloatingPointError):
        text.finish_line()
    assert text.guesses_view(1, 80)
