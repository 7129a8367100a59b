"""A message comes back from two bytes more than its surprisals, and says in one line what is wrong with it.

python tests/test_message.py known       writes the known answers anew (after VERSION was raised)
python tests/test_message.py damage N    tries N damaged messages, and prints how many were noticed
"""

import json
import random
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from commands import run
from golden import text
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm import MessageCoder, StreamPredictor, compress_message, decompress_message
from streamlstm.codec import coder as kernels
from streamlstm.codec.coder import identity
from streamlstm.codec.message import MAX_BYTES, MODEL, VERSION
from streamlstm.jit.decorators import native

KNOWN = Path(__file__).parent / "compressed" / "messages.json"
CODER = MessageCoder()
NOTE = "The train leaves at ten past nine, so we should meet in front of the station at nine."
TEXTS = [
    "",
    "a",
    "OK",
    "See you at ten.",
    NOTE,
    "Größe: 5 µm – naïve façade, 日本語の文字 🙂",
    '{"id": 1, "name": "x"}\n',
    "2026-11-26 17:42:33 ERROR [db] connection to 10.0.0.7:5432 refused\n",
]


def ideal(data: bytes) -> float:
    """The sum of the surprisals, in bytes."""
    return float(StreamPredictor.pretrained(MODEL).observe_many(data).sum(dtype=np.float64)) / 8


def assert_refused(message: bytes, words: str = "damaged") -> None:
    with pytest.raises(ValueError, match=rf"^[^\n]*{words}[^\n]*$"):
        CODER.decompress(message)


# Round trips


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_come_back(data):
    message = CODER.compress(data)
    assert CODER.decompress(message) == data
    assert len(message) <= len(data) + 1


@given(st.text(max_size=100))
@settings(max_examples=40, deadline=None)
def test_any_text_comes_back(content):
    assert CODER.decompress(CODER.compress(content)).decode() == content


def test_all_byte_values_come_back():
    for data in [bytes([value]) for value in range(256)] + [bytes(range(256)), bytes(range(255, -1, -1))]:
        assert CODER.decompress(CODER.compress(data)) == data


@pytest.mark.parametrize("content", TEXTS[1:], ids=lambda content: repr(content[:20]))
def test_a_message_takes_at_most_two_bytes_more_than_its_surprisals(content):
    assert len(CODER.compress(content)) <= ideal(content.encode()) + 2


def test_a_message_takes_about_one_byte_more_than_its_surprisals_on_average():
    texts = [text(100 * n + 130)[-130:][: 20 + n] for n in range(100)]
    over = np.mean([len(CODER.compress(data)) - ideal(data) for data in texts[::5]])
    assert 0.3 < over < 1.4


def test_a_text_of_repetitions_takes_little_more():
    """Hundreds of ends are as probable as the true one."""
    assert len(CODER.compress(NOTE * 9)) <= ideal(NOTE.encode() * 9) + 3


def test_an_empty_text_is_an_empty_message():
    assert CODER.compress(b"") == CODER.compress("") == CODER.decompress(b"") == b""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "zeros", "random"])
def test_the_longest_text_comes_back(kind):
    random_bytes = np.random.default_rng(4).bytes(MAX_BYTES)
    data = {"text": text(MAX_BYTES), "zeros": bytes(MAX_BYTES), "random": random_bytes}[kind]
    message = CODER.compress(data)
    assert CODER.decompress(message) == data
    assert len(message) < {"text": 16_000, "zeros": 100, "random": MAX_BYTES + 2}[kind]


def test_messages_do_not_depend_on_each_other():
    messages = [CODER.compress(content) for content in TEXTS]
    assert [CODER.compress(content) for content in reversed(TEXTS)] == messages[::-1]
    assert [CODER.decompress(message).decode() for message in reversed(messages)] == TEXTS[::-1]
    assert compress_message(NOTE) == CODER.compress(NOTE)
    assert decompress_message(memoryview(CODER.compress(bytearray(NOTE.encode())))) == NOTE.encode()


def test_an_interrupted_call_does_not_change_the_next_one(monkeypatch):
    message = CODER.compress(NOTE)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("streamlstm.codec.message._message", interrupt)
    with pytest.raises(KeyboardInterrupt):
        CODER.compress(NOTE * 3)
    monkeypatch.undo()
    assert CODER.compress(NOTE) == message


# What the format is


def known() -> dict[str, object]:
    """What is kept of the format: whatever changes one of these must raise VERSION."""
    messages = {content: CODER.compress(content).hex() for content in TEXTS}
    return {"version": VERSION, "identity": identity(StreamPredictor.pretrained(MODEL)).hex(), "messages": messages}


def test_the_known_messages_are_written_and_read():
    expected = json.loads(KNOWN.read_text())
    assert known() == expected
    for content, message in expected["messages"].items():
        assert CODER.decompress(bytes.fromhex(message)).decode() == content


def decoded_exactly(message: bytes, frequencies: list[int]) -> list[int]:
    """The tokens of a message whose symbols all have the same frequencies, as docs/pages/formats.md describes it.

    The interval is that of the kernels, which round down at each step; its numbers are Python's.
    """
    n_bytes, tokens = len(message), []
    low, width, written = 1 << (56 - VERSION), 1 << (56 - VERSION), 0
    marks = [(0, 0), (0, 0)]
    number = int.from_bytes(message + bytes(100), "big")

    def take(sizes):
        nonlocal low, width, written
        unit = width // sum(sizes)
        place = (number >> (8 * (n_bytes + 100 - written - 7))) - low
        index = next(k for k in range(len(sizes)) if place < unit * sum(sizes[: k + 1]))
        low, width = low + unit * sum(sizes[:index]), unit * sizes[index]
        while width < 1 << 48:
            low, width, written = low << 8, width << 8, written + 1
        return index

    while True:
        if tokens:
            left = 8 * (n_bytes - written - 1) + (width >> 48).bit_length() - 1
            used = 8 * n_bytes - left
            if used >= marks[1][0] + 8:
                marks = [marks[1], (used, len(tokens))]
            mean = max((used - marks[0][0] + 4 << 20) // (len(tokens) - marks[0][1] + 2), 1)
            last = next(bits for bits in range(8, 99) if mean << (bits - 8) >= 6 << 20)
            end = (mean // max(left, 1)) >> (2 * max(left - last, 0))
            end = min(max(end, 1), 3 << 18)
            if take([end, (1 << 20) - end]) == 0:
                return tokens
        tokens.append(take(frequencies))


@given(st.integers(0, 10**9), st.integers(1, 300), st.sampled_from([0.1, 3.0, 10.0]))
@settings(max_examples=60, deadline=None)
def test_a_message_is_what_its_format_says(seed, n, sharpness):
    generator = np.random.default_rng(seed)
    p = np.exp(generator.normal(0, sharpness, 7))
    frequencies = [1 + int(x) for x in 2**30 * p / p.sum()]
    tokens = generator.choice(7, n, p=p / p.sum())
    parts = [(sum(frequencies[:token]), frequencies[token], sum(frequencies)) for token in tokens]
    flat, code = np.array(parts, dtype=np.int64).ravel(), np.zeros(15 * n + 9, dtype=np.uint8)
    for n_bytes in range(1, len(code)):
        code[:] = 0
        state = kernels.message_coder(VERSION, n_bytes, code[:0])
        if native(kernels.encode_message)(flat, code, state) <= n_bytes:
            break
    assert decoded_exactly(code[:n_bytes].tobytes(), frequencies) == tokens.tolist()
    bits = -sum(np.log2(frequencies[token] / sum(frequencies)) for token in tokens)
    assert 8 * n_bytes <= bits + 32


# What is wrong with a message


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="at most 65,536 bytes"):
        CODER.compress(bytes(MAX_BYTES + 1))


@pytest.mark.parametrize("version", range(2, 9))
def test_a_message_of_another_version_is_refused(version):
    first = 1 << (8 - version)
    assert_refused(bytes([first]) + b"abc", f"version {version};.* version 1$")


@pytest.mark.parametrize("message", [b"\0", b"\0" + NOTE.encode(), b"\0" + bytes(MAX_BYTES + 1), b"\x80" * 70_000])
def test_what_no_text_is_compressed_to_is_refused(message):
    assert_refused(message)


def damage(n: int, seed: int) -> float:
    """The fraction of n damaged messages that were refused in one line."""
    dice, noticed = random.Random(seed), 0
    messages = [CODER.compress(content) for content in TEXTS[3:]]
    for _ in range(n):
        whole = dice.choice(messages)
        message = bytearray(whole)
        place = dice.randrange(len(message))
        accident = dice.randrange(4)
        if accident == 0:
            message[place] ^= 1 << dice.randrange(8)
        elif accident == 1:
            message[place] = (message[place] + dice.randrange(1, 256)) % 256
        elif accident == 2:
            del message[place:]
        else:
            message += dice.randbytes(dice.randrange(1, 5))
        try:
            assert CODER.decompress(message) != CODER.decompress(whole)
        except ValueError as error:
            noticed += "\n" not in str(error)
    return noticed / n


def test_most_damage_is_noticed():
    assert damage(100, seed=0) > 0.6


# The commands


def test_the_commands_give_back_a_message_without_a_container(tmp_path):
    for data in (b"", NOTE.encode(), bytes(range(256))):
        packed = run("compress", "--message", stdin=data)
        assert (packed.returncode, packed.stdout) == (0, CODER.compress(data))
        assert re.match(rb"[\d,]+ bytes to [\d,]+: [\d.]+ %, [\d.]+ bits per byte\n$", packed.stderr), packed.stderr
        unpacked = run("decompress", "--message", stdin=packed.stdout)
        assert (unpacked.returncode, unpacked.stdout, unpacked.stderr) == (0, data, b"")
    (tmp_path / "note").write_text(NOTE)
    assert run("compress", "--message", tmp_path / "note", "-o", tmp_path / "packed").returncode == 0
    assert run("decompress", tmp_path / "packed", "--message", "-o", tmp_path / "back").returncode == 0
    assert (tmp_path / "back").read_text() == NOTE


@pytest.mark.parametrize(
    ("command", "options", "data", "words"),
    [
        ("compress", [], bytes(MAX_BYTES + 1), b"stdin: .*at most 65,536 bytes"),
        ("decompress", [], b"\x40abc", b"stdin: .*version 2"),
        ("decompress", [], b"\0" + NOTE.encode(), b"stdin: .*damaged"),
        ("compress", ["--model", "large"], b"abc", b"--message always uses the bundled model small"),
        ("decompress", ["--freeze"], b"abc", b"--message always uses the bundled model small"),
    ],
)
def test_what_is_wrong_is_one_line_and_no_file_is_written(tmp_path, command, options, data, words):
    result = run(command, "--message", "-o", tmp_path / "out", *options, stdin=data)
    assert (result.returncode, result.stdout) == (1, b"")
    assert re.fullmatch(rb"streamlstm: " + words + rb"[^\n]*\n", result.stderr), result.stderr
    assert not list(tmp_path.iterdir())


def extra_bytes(coder, text):
    """How many bytes a message has beyond the surprisal of its text."""
    surprisal = float(StreamPredictor.pretrained("small").observe_many(text.encode()).sum(dtype=np.float64))
    return len(coder.compress(text)) - surprisal / 8


def test_a_message_takes_on_average_one_byte_more_than_its_surprisal_and_a_repetitive_one_up_to_four():
    coder = MessageCoder()
    page = (Path(__file__).parent.parent / "docs/pages/index.md").read_text("utf-8")
    sentences = [each.strip() for each in re.split(r"(?<=[.:])\s", page) if 20 < len(each.strip()) < 200][:40]
    usual = [extra_bytes(coder, each) for each in sentences]
    assert len(usual) >= 15
    assert 0.5 < np.mean(usual) < 1.25
    assert np.mean(np.array(usual) > 2) < 0.05
    units = ["\n", " ", "a", "abc", "é", "0", "\0", "the "]
    repetitive = [extra_bytes(coder, unit * n) for unit in units for n in (1, 10, 100, 600)]
    repetitive += [extra_bytes(coder, unit * n + other * n) for unit, other in pairwise(units) for n in (20, 200)]
    assert 2 < max(repetitive) < 4


if __name__ == "__main__":
    if sys.argv[1] == "known":
        KNOWN.write_text(json.dumps(known(), indent=1, ensure_ascii=False) + "\n")
    else:
        print(f"{damage(int(sys.argv[2]), seed=1):.1%} of the damaged messages were noticed")
