"""Every 1.x reads what an earlier 1.x wrote, archives to the byte and models to the bit; what is older is refused.

python tests/compat_files.py writes the files, as long as they are not those of a release.
"""

import hashlib
import json
import re

import pytest
from commands import run
from compat_files import DATA, FOLDER, FRAMES, continued, pool_of

from streamlstm import MessageCoder, StreamPredictor, decompress
from streamlstm.tasks.compress import ARITHMETIC

EXPECTED = json.loads((FOLDER / "expected.json").read_text("utf-8"))
BEFORE = FOLDER.parent / "before"


def model(name: str) -> StreamPredictor:
    return StreamPredictor.load(FOLDER / f"{name}.safetensors")


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_a_model_goes_on_to_the_last_bit(name):
    assert continued(model(name)) == EXPECTED["models"][name]


def test_archives_are_read_to_the_byte():
    archives = sorted(path.stem for path in FOLDER.glob("*.slz"))
    assert archives == ["counts", "frames", "memory", "network", "small"]
    for name in archives:
        reader = StreamPredictor.pretrained(name) if name == "small" else model("network" if name == "frames" else name)
        assert decompress((FOLDER / f"{name}.slz").read_bytes(), reader) == (FRAMES if name == "frames" else DATA), name


def test_messages_are_read_to_the_byte():
    coder = MessageCoder()
    for content, message in EXPECTED["messages"].items():
        assert coder.decompress(bytes.fromhex(message)).decode() == content


def test_a_stream_is_restored_from_a_snapshot_and_goes_on_to_the_last_bit():
    with pool_of(model("memory")) as pool:
        pool.restore("again", (FOLDER / "memory.snapshot").read_bytes())
        bits = pool.observe("again", DATA)
    assert hashlib.sha256(bits.tobytes()).hexdigest() == EXPECTED["snapshot"]


def test_the_arithmetic_is_that_of_the_files():
    assert EXPECTED["arithmetic"] == ARITHMETIC


WHO_READS_IT = r"before version 1\.0; streamlstm 0\.1 or 0\.2, whichever wrote it, reads it"


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_models_and_archives_of_0_x_are_refused_with_one_line_that_says_who_reads_them(version):
    for arguments, stdin in (
        (["info", BEFORE / f"{version}.safetensors"], b""),
        (["predict", "--model", BEFORE / f"{version}.safetensors"], b"x"),
        (["decompress", BEFORE / f"{version}.slz"], b""),
        (["decompress"], (BEFORE / f"{version}.slz").read_bytes()),
    ):
        result = run(*arguments, stdin=stdin)
        assert (result.returncode, result.stdout) == (1, b"")
        assert re.fullmatch(rf"streamlstm: [^\n]*{WHO_READS_IT}[^\n]*\n", result.stderr.decode()), result.stderr


def test_a_snapshot_of_0_x_is_refused_with_one_line_that_says_who_reads_it():
    with pool_of(model("memory")) as pool, pytest.raises(ValueError, match=rf"^the snapshot was .*{WHO_READS_IT}$"):
        pool.restore("key", (BEFORE / "0.2.snapshot").read_bytes())
