"""Every 1.x reads what an earlier 1.x wrote, archives to the byte and models to the bit; what is older is refused.

python tests/compat_files.py writes the files of a version.
"""

import hashlib
import re
import shutil
from pathlib import Path

import pytest
from commands import run
from compat_files import ALL, BUNDLED, DATA, FOLDER, FRAMES, continued, expected_of, pool_of, store_of

from streamlstm import Config, MessageCoder, StreamPredictor, Trainer, TrainingPlan, Vocabulary, decompress
from streamlstm.codec.coder import ARITHMETIC

BEFORE = ALL / "before"
RELEASES = sorted(path.parent for path in ALL.glob("*/expected.json"))


def model(folder: Path, name: str) -> StreamPredictor:
    return StreamPredictor.load(folder / f"{name}.safetensors")


def test_there_are_files_of_this_version():
    assert FOLDER in RELEASES


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", ["counts", "letters", "memory", "network"])
def test_a_model_goes_on_to_the_last_bit(folder, name):
    assert continued(model(folder, name)) == expected_of(folder)["models"][name]


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", ["counts", "frames", "memory", "network", *BUNDLED])
def test_an_archive_is_read_to_the_byte(folder, name):
    of = {"frames": "network"}.get(name, name)
    reader = StreamPredictor.pretrained(name) if name in BUNDLED else model(folder, of)
    assert decompress((folder / f"{name}.slz").read_bytes(), reader) == (FRAMES if name == "frames" else DATA)


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_messages_are_read_to_the_byte(folder):
    coder = MessageCoder()
    for content, message in expected_of(folder)["messages"].items():
        assert coder.decompress(bytes.fromhex(message)).decode() == content


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_a_stream_is_restored_from_a_snapshot_and_goes_on_to_the_last_bit(folder):
    with pool_of(model(folder, "memory")) as pool:
        pool.restore("again", (folder / "memory.snapshot").read_bytes())
        bits = pool.observe("again", DATA)
    assert hashlib.sha256(bits.tobytes()).hexdigest() == expected_of(folder)["snapshot"]


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_a_store_is_opened_and_its_streams_go_on_to_the_last_bit(folder, tmp_path):
    store = shutil.copy(folder / "memory.db", tmp_path)
    with store_of(model(folder, "memory"), store) as pool:
        assert {key: pool.n_symbols(key) - model(folder, "memory").n_symbols for key in pool} == {
            "key": 500,
            b"key": 20,
        }
        bits = pool.observe("key", DATA)
        pool.save()
    assert hashlib.sha256(bits.tobytes()).hexdigest() == expected_of(folder)["store"]


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_the_arithmetic_is_that_of_the_files(folder):
    assert expected_of(folder)["arithmetic"] == ARITHMETIC


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


def test_a_message_of_0_2_is_refused_with_one_line_that_says_who_reads_it():
    result = run("decompress", "--message", stdin=(BEFORE / "0.2.msg").read_bytes())
    assert (result.returncode, result.stdout) == (1, b"")
    assert re.fullmatch(r"streamlstm: [^\n]*message of streamlstm 1\.0 or later[^\n]*0\.2\n", result.stderr.decode())


def test_a_snapshot_of_0_x_is_refused_with_one_line_that_says_who_reads_it():
    with (
        pool_of(model(FOLDER, "memory")) as pool,
        pytest.raises(ValueError, match=rf"^the snapshot was .*{WHO_READS_IT}$"),
    ):
        pool.restore("key", (BEFORE / "0.2.snapshot").read_bytes())


def test_a_training_run_that_1_0_began_goes_on_to_the_last_bit():
    text = "".join(f"{n}: the cat (no. {n * n % 17}) sat on the mat.\n" for n in range(60))
    vocabulary, shape = Vocabulary.from_text(text), Config(hidden=2, layers=1, window=8, memory=False)
    plan = TrainingPlan(epochs=2, batch=1, window=8, warmup=2, pieces=(16, 300), crlf=0.3, seed=3)
    run = Trainer(vocabulary.encode(text), vocabulary, shape, plan)
    run.restore(ALL / "1.0" / "run.resume")
    assert run.step == 11
    bits = [progress.bits for progress in run.run()]
    assert (len(bits), sum(bits).hex()) == (532, "0x1.07429fc246db7p+11")
    digest = hashlib.sha256(run.theta.tobytes()).hexdigest()
    assert digest == "5c377cb2411f112a5de4afe41c2e6aa93b16ea9e1f2193385186d2641f147820"
