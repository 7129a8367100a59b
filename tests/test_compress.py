"""Compression loses nothing, on any machine, and says in one line what is wrong with a container.

python tests/test_compress.py known      writes the known answers anew (after ARITHMETIC has changed)
python tests/test_compress.py fuzz N     tries N damaged containers, and tells the figures
"""

import io
import itertools
import os
import pty
import random
import re
import resource
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import run, start
from golden import text
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import random_predictor

from streamlstm import SGD, Adam, Config, StreamPredictor, Vocabulary
from streamlstm.codec import archive as module
from streamlstm.codec import coder
from streamlstm.codec.archive import (
    FRAME_SYMBOLS,
    MAX_FRAME_CODE,
    compress,
    compress_file,
    decompress,
    decompress_file,
    identity,
)
from streamlstm.jit.decorators import native
from streamlstm.kernels.arrays import Stream

HERE = Path(__file__).parent
KNOWN = HERE / "compressed"
HEAD, END = 25, 9
TINY = ["--hidden", "8", "--layers", "1", "--window", "4", "--memory-bits", "10"]


def config(**others) -> Config:
    return Config(**{"hidden": 8, "layers": 1, "window": 4, "memory_bits": 10, **others})


def tiny(**options) -> StreamPredictor:
    return StreamPredictor(config=config(), **options)


def reader_of(data: bytes, memory: bool = False) -> StreamPredictor:
    """A tiny frozen predictor that has read `data`."""
    predictor = StreamPredictor(config=config(memory=memory))
    predictor.observe_many(data)
    predictor.learning = False
    return predictor


def skewed(n: int) -> bytes:
    """n random bytes, of which some come often: about 7 bits each."""
    return (256 * np.random.default_rng(0).random(n) ** 2).astype(np.uint8).tobytes()


def ideal(data: bytes, predictor: StreamPredictor) -> float:
    """The sum of the surprisals, in bytes."""
    return float(predictor.fork().observe_many(data).sum(dtype=np.float64)) / 8


def assert_holds(data: bytes, predictor: StreamPredictor) -> bytes:
    """Data comes back, and its container is as small as promised; returns the container."""
    packed = compress(data, predictor)
    assert decompress(packed, predictor) == data
    assert len(packed) <= ideal(data, predictor) * 1.0005 + 64
    assert len(packed) <= len(data) * 1.001 + 64
    return packed


# The coder


class Exact:
    """The coder in Python's integers of any length: nothing leaves the interval, and there is no carry to handle."""

    def __init__(self, symbols=()):
        self.low, self.width, self.n_bytes = 0, 1 << 56, 0
        for token, p in symbols:
            self.add(token, p)

    def add(self, token, p):
        frequencies = [1 + int(float(x) * 2**30) for x in p]
        unit = self.width // sum(frequencies)
        self.low, self.width = self.low + unit * sum(frequencies[:token]), unit * frequencies[token]
        while self.width < 1 << 48:
            self.low, self.width, self.n_bytes = self.low << 8, self.width << 8, self.n_bytes + 1

    def code(self) -> bytes:
        return ((self.low + (1 << 48) - 1) >> 48).to_bytes(self.n_bytes + 1, "big")


def code_of(symbols: list[tuple[int, np.ndarray]]) -> bytes:
    layout = np.zeros(16, dtype=np.int64)
    layout[coder.VOCABULARY] = layout[coder.SLOT] = len(symbols[0][1])
    tape = np.concatenate([p for _, p in symbols]).astype(np.float32)
    tokens = np.array([token for token, _ in symbols], dtype=np.int32)
    stream = Stream(tape, tokens, np.zeros(0, np.float32), layout, np.zeros(3, np.int64))
    code = np.zeros(coder.PER_SYMBOL * len(symbols) + 1, dtype=np.uint8)
    state = coder.initial_coder(code[:0])
    native(coder.encode)(stream, 0, tokens, code, state)
    return code[: native(coder.finish)(code, state)].tobytes()


@given(st.integers(0, 10**9), st.integers(2, 40), st.sampled_from([0.1, 3.0, 30.0]))
@settings(max_examples=60)
def test_the_code_is_that_of_exact_arithmetic(seed, n_symbols, sharpness):
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, sharpness, (200, n_symbols))
    chances = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float32)
    chances /= chances.sum(axis=1, keepdims=True, dtype=np.float32)
    symbols = [(int(generator.integers(n_symbols)), p) for p in chances]
    assert code_of(symbols) == Exact(symbols).code()


@pytest.mark.parametrize(("last", "bytes_written"), [(0, b"\x7f\xff\xff\xff\xff\xff"), (2, b"\x80\0\0\0\0\0")])
def test_a_carry_runs_through_many_bytes(last, bytes_written):
    """Narrower and narrower around ½, until the last symbol decides on which side."""
    exact, symbols = Exact(), []
    for n in range(9):
        below = ((1 << (55 + 8 * exact.n_bytes)) - exact.low) / exact.width
        p = np.array([below - 2**-8, 2**-7, 1 - below - 2**-8], dtype=np.float32)
        symbols.append((1 if n < 8 else last, p))
        exact.add(*symbols[-1])
    code = code_of(symbols)
    assert code == exact.code()
    assert code.startswith(bytes_written)


def test_what_is_no_distribution_breaks_nothing():
    p = np.array([np.nan, np.inf, -np.inf, -1, 0, 1e30, 1e-45, 1], dtype=np.float32)
    assert len(code_of([(token, p) for token in range(8)] * 20)) > 100


# Round trips


@given(st.binary(max_size=400), st.booleans(), st.booleans(), st.integers(1, 9), st.binary(max_size=30))
@settings(max_examples=60)
def test_any_bytes_come_back(data, learning, memory, window, before):
    predictor = random_predictor(config(layers=2, window=window, memory=memory), Vocabulary.bytes(), SGD())
    predictor.observe_many(before)
    predictor.learning = learning
    assert decompress(compress(data, predictor), predictor) == data


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("learning", [True, False])
def test_small_and_strange_data_come_back_at_the_size_of_their_surprisals(learning, memory):
    predictor = random_predictor(config(layers=2, memory=memory), Vocabulary.bytes())
    predictor.learning = learning
    for data in (b"", b"x", bytes(range(256)), bytes(3000), text(3000), skewed(3000)):
        assert_holds(data, predictor)


def test_a_megabyte_of_zeros_becomes_a_hundred_bytes():
    assert len(assert_holds(bytes(1 << 20), reader_of(bytes(2000)))) < 600


def test_random_bytes_are_stored_raw_and_hardly_grow():
    data = np.random.default_rng(1).bytes(1 << 20)
    packed = assert_holds(data, reader_of(text(2000)))
    assert len(data) < len(packed) <= len(data) * 1.001 + 64


def test_many_coded_frames_are_as_small_as_promised():
    data = skewed(400_000)
    packed = assert_holds(data, reader_of(skewed(3000)))
    assert len(packed) > 4 * module.FRAME_CODE


def test_coded_and_raw_frames_follow_each_other_while_learning():
    data = text(20_000) + np.random.default_rng(2).bytes(150_000) + text(20_000)
    predictor = tiny(optimizer=SGD())
    assert decompress(compress(data, predictor), predictor) == data


def test_a_stream_can_be_compressed_by_what_was_learned_from_another():
    predictor = tiny()
    fresh = compress(text(2000), predictor)
    predictor.observe_many(text(5003))
    assert len(assert_holds(text(2000), predictor)) < len(fresh)


@pytest.mark.parametrize("learning", [True, False])
def test_neither_direction_changes_the_predictor(learning):
    predictor = tiny()
    predictor.observe_many(text(50))
    predictor.learning = learning
    predictor.observe_many(text(30))
    before = identity(predictor)
    decompress(compress(text(500), predictor), predictor)
    assert identity(predictor) == before
    twin = predictor.fork()
    assert np.array_equal(predictor.observe_many(text(99)), twin.observe_many(text(99)))


def test_the_decoder_learns_what_the_encoder_learned(monkeypatch):
    """Seen on the predictors themselves, not on forks of them."""
    monkeypatch.setattr(StreamPredictor, "fork", lambda self: self)
    encoder, decoder, reader = tiny(), tiny(), tiny()
    decompress(compress(text(1001), encoder), decoder)
    reader.observe_many(text(1001))
    assert identity(encoder) == identity(decoder) == identity(reader)
    assert decoder.n_symbols == encoder.n_symbols == 1001
    assert np.array_equal(decoder.predict(), reader.predict())


def test_the_identity_is_that_of_all_that_a_predictor_goes_on_from(tmp_path):
    predictor = tiny()
    predictor.observe_many(text(50))
    predictor.save(tmp_path / "m")
    assert identity(StreamPredictor.load(tmp_path / "m")) == identity(predictor) == identity(predictor.fork())
    predictor.about["name"] = "what a model is called does not matter"
    assert identity(StreamPredictor.load(tmp_path / "m")) == identity(predictor)
    others = [tiny(), tiny(seed=1), tiny(optimizer=SGD()), tiny(optimizer=Adam()), tiny(optimizer=SGD(lr=0.2))]
    shapes = [{"window": 5}, {"connections": "stacked"}, {"memory": False}, {"memory_bits": 11}]
    others += [StreamPredictor(config=config(**shape)) for shape in shapes]
    frozen, one_more, reset = tiny(), predictor.fork(), predictor.fork()
    frozen.learning = False
    one_more.observe("x")
    reset.reset()
    identities = {identity(other) for other in [predictor, frozen, one_more, reset, *others]}
    assert len(identities) == 13


@pytest.mark.parametrize(
    ("name", "expected"), [("small", "f8a47d871c12677c4978015f7b725968"), ("large", "e950d8861d8ec83d2643f44e4ed0463a")]
)
def test_the_identity_of_a_bundled_model_is_what_archives_of_it_say(name, expected):
    assert identity(StreamPredictor.pretrained(name)).hex() == expected


def test_another_arithmetic_is_another_identity(monkeypatch):
    before = identity(tiny())
    monkeypatch.setattr("streamlstm.codec.coder.ARITHMETIC", "0123456789abcdef")
    assert identity(tiny()) != before


def test_a_model_of_characters_is_refused():
    predictor = StreamPredictor(Vocabulary.from_text("abc"), config())
    for direction in (compress, decompress):
        with pytest.raises(ValueError, match="vocabulary of characters"):
            direction(b"abc", predictor)


# What is wrong with a container


class Source(io.BytesIO):
    """Notes the most that was asked for at once, and gives it in small parts, as a pipe may."""

    largest = 0

    def read(self, size=-1):
        self.largest = max(self.largest, size if size >= 0 else 1 << 40)
        return super().read(min(size, 50))


def refusal(blob: bytes, predictor: StreamPredictor) -> tuple[str, bytes]:
    """The message, and what was given out before it."""
    target = io.BytesIO()
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        decompress_file(Source(blob), target, predictor)
    return str(refused.value), target.getvalue()


def three_frames() -> tuple[bytes, list[bytes], StreamPredictor]:
    """Data, its container's head, frames and end, and the predictor."""
    data, predictor = np.random.default_rng(3).bytes(120_000), reader_of(text(500))
    packed = compress(data, predictor)
    cuts = [0, HEAD]
    while packed[cuts[-1]]:
        cuts.append(cuts[-1] + 15 + int.from_bytes(packed[cuts[-1] + 4 : cuts[-1] + 7], "little"))
    assert len(cuts) == 5
    return data, [packed[a:b] for a, b in zip(cuts, [*cuts[1:], len(packed)], strict=True)], predictor


def test_each_kind_of_bad_container_has_its_own_line():
    predictor = tiny()
    packed = compress(text(300), predictor)
    damaged = bytearray(packed)
    damaged[HEAD + 50] ^= 4
    cases = {
        "not a container": b"PK\x03\x04" + packed[4:],
        "format 9 of a newer": packed[:4] + b"\x09" + packed[5:],
        "before version 1.0; streamlstm 0.1 or 0.2": packed[:4] + b"\x01" + packed[5:],
        "its header": packed[:9] + b"\x00" + packed[10:],
        "frame 1,": bytes(damaged),
        "other bytes follow": packed + b"\n",
        "digest of all": packed[:-1] + bytes([packed[-1] ^ 1]),
        "truncated": packed[:-1],
    }
    for words, blob in cases.items():
        assert words in refusal(blob, predictor)[0]
    for other in (tiny(seed=1), reader_of(b"")):
        message, output = refusal(packed, other)
        assert "another model" in message
        assert "--freeze" in message
        assert output == b""


def test_a_container_cut_anywhere_is_truncated():
    predictor = tiny()
    packed = compress(text(100), predictor)
    for size in range(len(packed)):
        assert "truncated" in refusal(packed[:size], predictor)[0]


def test_what_precedes_the_damage_is_given_out_and_nothing_more():
    data, (head, one, two, three, end), predictor = three_frames()
    first = int.from_bytes(one[1:4], "little")
    second = int.from_bytes(two[1:4], "little")
    broken = two[:1000] + bytes([two[1000] ^ 1]) + two[1001:]
    for blob, n_bytes in (
        (head + one + broken + three + end, first),
        (head + one + two + three[:500], first + second),
        (head + one + three + two + end, first),
        (head + one + one + two + three + end, first),
        (head + one + two + end, first + second),
        (head + two + three + end, 0),
        (head + one + two + three + end + b"x", len(data)),
    ):
        assert refusal(blob, predictor)[1] == data[:n_bytes]


def test_no_frame_can_ask_for_more_than_the_bound():
    predictor = tiny()
    packed = bytearray(compress(text(100), predictor))
    for place, value in ((1, b"\xff\xff\xff"), (1, bytes(3)), (4, b"\xff\xff\xff"), (4, bytes(3)), (0, b"\x03")):
        blob = packed[:]
        blob[HEAD + place : HEAD + place + len(value)] = value
        source = Source(bytes(blob))
        with pytest.raises(ValueError, match="corrupt: frame 1"):
            decompress_file(source, io.BytesIO(), predictor)
        assert source.largest <= MAX_FRAME_CODE
    assert max(MAX_FRAME_CODE, FRAME_SYMBOLS) <= 1 << 21


# Known answers, and other CPUs


def known() -> dict[str, tuple[StreamPredictor, bytes]]:
    """Predictors and data by the name of the container."""
    shape = Config(hidden=12, layers=2, window=5, memory_bits=10)
    frozen = StreamPredictor(config=shape, optimizer=Adam(lr=0.01), seed=2)
    frozen.observe_many(text(600))
    frozen.learning = False
    return {
        "learning": (StreamPredictor(config=shape, seed=1), text(2000)),
        "adam": (StreamPredictor(config=shape, optimizer=Adam(), seed=4), text(1500)),
        "network": (StreamPredictor(config=replace(shape, memory=False)), text(1000)),
        "frozen": (frozen, text(1200)[600:]),
        "raw": (StreamPredictor(config=shape, optimizer=SGD(), seed=3), bytes(range(256)) * 2),
        "empty": (StreamPredictor(config=shape), b""),
    }


@pytest.mark.parametrize("name", ["learning", "adam", "network", "frozen", "raw", "empty"])
def test_a_known_container_is_read_and_written(name):
    predictor, data = known()[name]
    packed = (KNOWN / f"{name}.slz").read_bytes()
    assert decompress(packed, predictor) == data
    assert compress(data, predictor) == packed


# Damage of all kinds


def containers(predictor: StreamPredictor) -> dict[bytes, bytes]:
    """Data by container; some of the containers have many short frames."""
    found = {}
    for frame_code in (1 << 16, 40):
        module.FRAME_CODE = frame_code
        for data in (b"", b"x", text(40), text(300), bytes(500), bytes(range(256)), text(80) + bytes(range(99, 180))):
            found[compress(data, predictor)] = data
    module.FRAME_CODE = 1 << 16
    return found


def with_checksums(blob: bytearray) -> bytearray:
    """The container as one would write it who knows the checksums of heads and codes, but has no model."""
    blob[HEAD - 4 : HEAD] = zlib.crc32(blob[: HEAD - 4]).to_bytes(4, "little")
    place = HEAD
    while place + 11 < len(blob) and blob[place]:
        end = place + 11 + int.from_bytes(blob[place + 4 : place + 7], "little")
        checksum = zlib.crc32(blob[place : place + 7] + blob[place + 11 : end])
        blob[place + 7 : place + 11] = checksum.to_bytes(4, "little")
        place = end + 4
    return blob


def damaged(dice: random.Random, originals: list[bytes]) -> bytes:
    """One of the containers after one to three accidents."""
    blob = bytearray(dice.choice(originals))
    for _ in range(dice.randint(1, 3)):
        other, size = dice.choice(originals), dice.choice((1, 1, 2, 3, 4, 8, 40))
        place = dice.choice((dice.randrange(len(blob) + 1), min(dice.randrange(50), len(blob))))
        accident = dice.randrange(9)
        if accident <= 1 and place < len(blob):
            blob[place] ^= 1 << dice.randrange(8)
        elif accident == 2:
            blob[place : place + size] = dice.randbytes(size)
        elif accident == 3:
            blob[place : place + size] = dice.choice((b"\0", b"\xff")) * size
        elif accident == 4:
            del blob[place:]
        elif accident == 5:
            del blob[place : place + size]
        elif accident == 6:
            blob[place:place] = blob[place : place + size]
        elif accident == 7:
            blob[place:] = other[min(place, len(other)) :]
        else:
            start = dice.randrange(len(other))
            blob[place:place] = other[start : start + size * 4]
    if dice.random() < 0.2:
        blob[:HEAD] = originals[0][:HEAD]
    return bytes(with_checksums(blob) if len(blob) > HEAD and dice.random() < 0.7 else blob)


def fuzz(n: int, seconds: float, seed: int = 0) -> dict[str, float]:
    """Try n damaged containers, or as many as the time allows; figures. AssertionError for a wrong one."""
    dice, known = random.Random(seed), []
    for memory in (False, True):
        predictor = StreamPredictor(config=config(memory=memory))
        known.append((predictor, containers(predictor)))
        assert {decompress(packed, predictor) for packed in known[-1][1]} == set(known[-1][1].values())
    figures = {"tried": 0, "still whole": 0, "most read at once": 0, "slowest ms": 0.0}
    memory_kb, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    while figures["tried"] < n and time.monotonic() - started < seconds:
        predictor, found = known[dice.random() < 0.05]
        contents = found.values()
        source, target, before = Source(damaged(dice, list(found))), io.BytesIO(), time.monotonic()
        try:
            decompress_file(source, target, predictor)
            figures["still whole"] += 1
            assert target.getvalue() in contents, source.getvalue()
        except ValueError as error:
            message = str(error)
            assert "\n" not in message, source.getvalue()
            assert any(content.startswith(target.getvalue()) for content in contents), source.getvalue()
        figures["tried"] += 1
        figures["most read at once"] = max(figures["most read at once"], source.largest)
        figures["slowest ms"] = max(figures["slowest ms"], 1000 * (time.monotonic() - before))
    figures["more memory kB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb
    figures["seconds"] = time.monotonic() - started
    return figures


@pytest.mark.parametrize("seconds", [2, pytest.param(15, marks=pytest.mark.slow)])
def test_no_damage_gives_wrong_bytes_a_crash_or_a_large_allocation(seconds):
    figures = fuzz(20_000, seconds, seed=time.time_ns())
    assert figures["tried"] > 20  # on a busy machine; some 300 else
    assert figures["most read at once"] <= MAX_FRAME_CODE
    assert figures["more memory kB"] < 50_000


# The commands


def test_pipes_give_back_what_went_in_whatever_the_model():
    for options in ([*TINY, "--freeze"], [*TINY, "--seed", "3", "--optimizer", "adam"], []):
        packed = run("compress", *options, stdin=text(3000))
        assert packed.returncode == 0
        assert re.match(rb"3,000 bytes to [\d,]+: [\d.]+ %, [\d.]+ bits per byte\n$", packed.stderr), packed.stderr
        unpacked = run("decompress", *options, stdin=packed.stdout)
        assert (unpacked.returncode, unpacked.stdout, unpacked.stderr) == (0, text(3000), b"")


def test_files_are_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "text").write_bytes(text(3000))
    assert run("compress", tmp_path / "text", "-o", tmp_path / "packed", *TINY).returncode == 0
    assert run("decompress", tmp_path / "packed", "-o", tmp_path / "back", *TINY).returncode == 0
    assert (tmp_path / "back").read_bytes() == text(3000)
    damaged = bytearray((tmp_path / "packed").read_bytes())
    damaged[200] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    (tmp_path / "old").write_bytes(b"old")
    for name in ("new", "old"):
        result = run("decompress", tmp_path / "damaged", "-o", tmp_path / name, *TINY)
        assert result.returncode == 1
        assert re.fullmatch(rb"streamlstm: [^\n]*damaged: it is corrupt: frame 1,[^\n]*\n", result.stderr)
    assert (tmp_path / "old").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "damaged", "old", "packed", "text"]


BUNDLED = [
    *itertools.product(("small", "large"), (["--learn", "memory"], ["--freeze"], ["--no-memory"], [])),
    ("small", ["--no-memory", "--freeze"]),
]


@pytest.mark.parametrize(("name", "way"), BUNDLED)
def test_decompress_finds_the_bundled_model_that_a_file_was_compressed_with(name, way):
    packed = run("compress", "--model", name, *way, stdin=text(300)).stdout
    unpacked = run("decompress", stdin=packed)
    assert (unpacked.returncode, unpacked.stdout, unpacked.stderr) == (0, text(300), b"")
    assert decompress(packed) == text(300)


def test_a_model_that_is_not_bundled_is_not_found_and_a_given_one_is_not_replaced():
    packed = run("compress", *TINY, stdin=text(200)).stdout
    with pytest.raises(ValueError, match=r"another model \([0-9a-f]{8}…\) than the bundled ones; decompress with the"):
        decompress(packed)
    result = run("decompress", "--model", "small", stdin=run("compress", "--freeze", stdin=text(200)).stdout)
    assert (result.returncode, result.stdout) == (1, b"")


def test_another_model_is_told_in_one_line():
    packed = run("compress", *TINY, stdin=text(200)).stdout
    for options in (["--hidden", "16"], [*TINY, "--freeze"], [*TINY, "--seed", "1"]):
        result = run("decompress", *options, stdin=packed)
        assert (result.returncode, result.stdout) == (1, b"")
        assert re.fullmatch(rb"streamlstm: stdin: it was compressed with another model [^\n]+\n", result.stderr)


def test_on_stdout_the_frames_before_the_damage_are_written(tmp_path):
    data, (head, one, two, three, _), predictor = three_frames()
    predictor.save(tmp_path / "m")
    result = run("decompress", "--model", tmp_path / "m", stdin=head + one + two + three[:50])
    n_bytes = sum(int.from_bytes(frame[1:4], "little") for frame in (one, two))
    assert (result.returncode, result.stdout) == (1, data[:n_bytes])
    assert re.fullmatch(rb"streamlstm: stdin: it is truncated[^\n]+\n", result.stderr)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_is_stopped_leaves_no_output_file(tmp_path, stop):
    with start("compress", "-o", tmp_path / "packed", *TINY) as process:
        process.stdin.write(skewed(200_000))
        process.stdin.flush()
        while not any(path.stat().st_size for path in tmp_path.iterdir()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(stop)
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == (-signal.SIGKILL if stop == signal.SIGKILL else 130)
    assert not (tmp_path / "packed").exists()


def test_compressed_bytes_are_not_written_to_a_terminal():
    controller, terminal = pty.openpty()
    process = run("compress", *TINY, stdin=b"abc", stdout=terminal)
    os.close(terminal)
    os.close(controller)
    assert process.returncode == 1
    assert b"terminal" in process.stderr


MEMORY = """
import re, sys
from streamlstm import Config, StreamPredictor
from streamlstm.codec.archive import compress_file, decompress_file
predictor = StreamPredictor(config=Config(hidden=8, layers=1, memory=False))
predictor.learning = False
direction = {"compress": compress_file, "decompress": decompress_file}[sys.argv[1]]
direction(sys.stdin.buffer, sys.stdout.buffer, predictor)
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak from")
def test_memory_does_not_grow_with_the_data():
    peaks = {}
    for n in (1_000_000, 4_000_000):
        content = skewed(n)
        for direction in ("compress", "decompress"):
            result = subprocess.run([sys.executable, "-c", MEMORY, direction], input=content, capture_output=True)
            peaks[direction, n] = int(result.stderr)
            content = result.stdout
        assert content == skewed(n)
    for direction in ("compress", "decompress"):
        assert peaks[direction, 4_000_000] < peaks[direction, 1_000_000] + 10_000


def test_a_file_object_is_told_how_far_it_is():
    seen = []
    packed = io.BytesIO()
    compress_file(io.BytesIO(skewed(100_000)), packed, reader_of(b""), lambda *progress: seen.append(progress))
    assert [n_read for n_read, _ in seen] == [*range(8192, 100_000, 8192), 100_000]
    assert 0 < seen[-1][1] <= len(packed.getvalue())


if __name__ == "__main__":
    if sys.argv[1] == "known":
        KNOWN.mkdir(exist_ok=True)
        for name, (predictor, data) in known().items():
            (KNOWN / f"{name}.slz").write_bytes(compress(data, predictor))
    else:
        for name, value in fuzz(int(sys.argv[2]), seconds=1e9, seed=int(time.time())).items():
            print(f"{name:<20} {value:>12,.0f}")
