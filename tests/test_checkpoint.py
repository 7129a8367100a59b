"""Files that are written completely or not at all, and readers that refuse what is not a whole, valid checkpoint."""

import contextlib
import copy
import errno
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest
from allocation import allocated_by
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nets import random_predictor
from safetensors import safe_open
from safetensors.numpy import save_file

from streamlstm import Adam, Config, StreamPool, StreamPredictor, Vocabulary
from streamlstm.checkpoint import FORMAT, dump_checkpoint, parse_checkpoint, read_checkpoint, write_checkpoint
from streamlstm.optim import describe_optimizer
from streamlstm.system.files import append_text, opened_atomically, write_atomically

SMALL = Config(hidden=6, layers=2, window=4)
BENT_PROGRESS = [
    {"n_steps": -1, "powers": [0.5, 0.9]},
    {"n_steps": 1.5, "powers": [0.5, 0.9]},
    {"n_steps": 2, "powers": [0.5, 1.1]},
    {"n_steps": 2, "powers": [0.5]},
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a checkpoint with everything in it: slots, state, and an unfinished window."""
    path = tmp_path_factory.mktemp("good") / "model.safetensors"
    predictor = random_predictor(SMALL, optimizer=Adam())
    predictor.observe_many("abcdefghijab")
    predictor.save(path)
    return path.read_bytes()


def refusal(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the message is asserted below
        StreamPredictor.load(path)
    message = str(caught.value)
    assert "model.safetensors" in message
    assert "\n" not in message
    return message


def test_a_file_cut_anywhere_is_refused(good, tmp_path):
    for length in [0, 1, 7, 8, 9, 100, len(good) // 2, len(good) - 1]:
        refusal(tmp_path, good[:length])


@settings(max_examples=150)
@given(st.data())
def test_a_file_with_a_changed_byte_is_refused(good, tmp_path_factory, data):
    position = data.draw(st.integers(0, len(good) - 1))
    flip = data.draw(st.integers(1, 255))
    content = bytearray(good)
    content[position] ^= flip
    path = tmp_path_factory.mktemp("flip") / "model.safetensors"
    path.write_bytes(content)
    try:
        loaded = StreamPredictor.load(path)
    except ValueError:
        pass
    else:  # a byte of the header that means nothing, such as a space at its end
        path.write_bytes(good)
        assert np.array_equal(loaded.predict(), StreamPredictor.load(path).predict())


def test_bytes_after_the_end_are_refused(good, tmp_path):
    refusal(tmp_path, good + b"more")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(500), b"\xff" * 4096, bytes(4096)])
def test_a_foreign_file_is_refused(content, tmp_path):
    refusal(tmp_path, content)


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": np.zeros(3, dtype=np.float32)}, path)
    assert "streamlstm did not write it" in refusal(tmp_path, path.read_bytes())


NESTED = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "about",
    ["[1]", "null", "{}", "no JSON", '{"sha256": ""}', NESTED, f'{{"format": 2, "sha256": "", "x": {NESTED}}}']
    + [f'{{"format": {version}, "sha256": ""}}' for version in ("0", "-1", "[1]", '"1"', "NaN", "1e999", "9" * 5000)],
    ids=lambda about: about[:30],
)
def test_a_safetensors_file_with_strange_metadata_is_refused(tmp_path, about):
    path = tmp_path / "model.safetensors"
    save_file({"weight": np.zeros(3, dtype=np.float32)}, path, {"streamlstm": about})
    assert "streamlstm did not write it" in refusal(tmp_path, path.read_bytes())


def test_a_file_of_a_newer_version_is_refused(good, tmp_path, monkeypatch):
    monkeypatch.setattr("streamlstm.checkpoint.FORMAT", FORMAT + 1)
    random_predictor(SMALL).save(tmp_path / "newer.safetensors")
    monkeypatch.undo()
    assert "newer" in refusal(tmp_path, (tmp_path / "newer.safetensors").read_bytes())


HUGE = 2**40
EMPTY, FOUR_BYTES = {"data_offsets": [0, 0]}, {"data_offsets": [0, 4]}


def safetensors_file(tensor, data=bytes(4), metadata="{}"):
    """The bytes of a file whose header describes one tensor."""
    header = json.dumps({"a\nb": tensor, "__metadata__": {"streamlstm": metadata}}).encode()
    return len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize(
    "content",
    [
        (2**63).to_bytes(8, "little") + b"{}",
        (99_000_000).to_bytes(8, "little") + b"{}",
        safetensors_file({"dtype": "F32", "shape": [HUGE], **FOUR_BYTES}),
        safetensors_file({"dtype": "F32", "shape": [HUGE, HUGE], **FOUR_BYTES}),
        safetensors_file({"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}),
        safetensors_file({"dtype": "F32", "shape": [0, HUGE, HUGE], **EMPTY}, b""),
        safetensors_file({"dtype": "F32", "shape": [0, 2**62], **EMPTY}, b""),
        safetensors_file({"dtype": "F32", "shape": [-1], **FOUR_BYTES}),
        safetensors_file({"dtype": "BF16", "shape": [2], **FOUR_BYTES}),
        safetensors_file({"dtype": "F8_E4M3", "shape": [4], **FOUR_BYTES}),
        safetensors_file({"dtype": "a\nb", "shape": [4], **FOUR_BYTES}),
        safetensors_file({"dtype": "F32", "shape": [1], **FOUR_BYTES}, metadata='{"format": 2, "sha256": "0"}'),
    ],
    ids=lambda content: str(content[8:90]),
)
def test_a_file_whose_header_lies_is_refused_in_one_line_and_nothing_large_is_allocated(content, tmp_path):
    refusal(tmp_path, content)

    def refuse():
        with pytest.raises(ValueError, match=r"^the file "):
            parse_checkpoint(content, "the file")

    assert allocated_by(refuse).peak < 100_000


def test_a_config_too_large_for_the_weights_is_refused_before_anything_large_is_allocated(good, tmp_path):
    (tmp_path / "good.safetensors").write_bytes(good)
    arrays, values = read_checkpoint(tmp_path / "good.safetensors")
    config = values["config"] | {"hidden": 4096, "layers": 16, "window": 4096, "memory": True, "memory_bits": 26}
    write_checkpoint(tmp_path / "bent.safetensors", arrays, values | {"config": config})
    bent = (tmp_path / "bent.safetensors").read_bytes()
    assert allocated_by(lambda: refusal(tmp_path, bent)).peak < 1_000_000


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_neither_written_nor_read(tmp_path, monkeypatch, poison):
    path, predictor = tmp_path / "poisoned.safetensors", random_predictor(SMALL)
    predictor.save(path)
    whole = path.read_bytes()
    arrays, values = predictor.to_checkpoint()
    arrays["weight_hh_l1"][2, 3] = poison
    with pytest.raises(ValueError, match="'weight_hh_l1' holds a number that is not finite"):
        write_checkpoint(path, arrays, values)
    assert path.read_bytes() == whole
    monkeypatch.setattr("streamlstm.checkpoint._check_finite", lambda path, arrays: None)
    write_checkpoint(path, arrays, values)
    monkeypatch.undo()
    assert "weight_hh_l1" in refusal(tmp_path, path.read_bytes())


@pytest.mark.parametrize(
    ("key", "value"),
    [("config", {"hidden": 7, "layers": 2, "window": 4, "connections": "skip"}), ("config", {"hidden": "6"})]
    + [("config", None), ("vocabulary", {"characters": "abc", "unknown": None}), ("optimizer", {"name": "lion"})]
    + [("optimizer", None), ("learn", None), ("n_symbols", -1), ("n_symbols", 1.5)]
    + [("optimizer", {**describe_optimizer(Adam()), **bent}) for bent in BENT_PROGRESS],
)
def test_values_that_do_not_fit_the_weights_are_refused(good, tmp_path, key, value):
    (tmp_path / "good.safetensors").write_bytes(good)
    arrays, values = read_checkpoint(tmp_path / "good.safetensors")
    write_checkpoint(tmp_path / "bent.safetensors", arrays, values | {key: value})
    refusal(tmp_path, (tmp_path / "bent.safetensors").read_bytes())


def test_a_config_that_is_none_is_refused_whatever_learns(good, tmp_path):
    (tmp_path / "good.safetensors").write_bytes(good)
    arrays, values = read_checkpoint(tmp_path / "good.safetensors")
    write_checkpoint(tmp_path / "bent.safetensors", arrays, values | {"config": 7, "learn": "memory"})
    refusal(tmp_path, (tmp_path / "bent.safetensors").read_bytes())


@pytest.mark.parametrize("name", ["h", "c", "tokens", "bias_l0", "optimizer.1.weight_out"])
def test_a_missing_or_misshapen_array_is_refused(good, tmp_path, name):
    (tmp_path / "good.safetensors").write_bytes(good)
    arrays, values = read_checkpoint(tmp_path / "good.safetensors")
    for bent in ({key: array for key, array in arrays.items() if key != name}, arrays | {name: np.ones((2, 3, 5))}):
        write_checkpoint(tmp_path / "bent.safetensors", bent, values)
        refusal(tmp_path, (tmp_path / "bent.safetensors").read_bytes())


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (np.zeros(3, dtype=np.float32), "bits must be 4 surprisals"),
        (np.full(4, -1, dtype=np.float32), "a surprisal is -1.0, where it must be from 0 to"),
        (np.zeros(4), "bits must be 4 surprisals"),
    ],
)
def test_surprisals_that_do_not_fit_the_unfinished_window_are_refused(good, tmp_path, bits, expected):
    (tmp_path / "good.safetensors").write_bytes(good)
    arrays, values = read_checkpoint(tmp_path / "good.safetensors")
    assert arrays["bits"].shape == arrays["tokens"].shape == (4,)
    write_checkpoint(tmp_path / "bent.safetensors", arrays | {"bits": bits}, values)
    assert expected in refusal(tmp_path, (tmp_path / "bent.safetensors").read_bytes())


def test_the_first_weights_are_saved_exactly_and_small(tmp_path):
    predictor = random_predictor(SMALL, optimizer=Adam(pull_back=0.1))
    halves = {name: weight.astype(np.float16) for name, weight in predictor.weights().items()}
    for weights, dtype in ((predictor.weights(), np.float32), (halves, np.float16)):
        adapted = StreamPredictor.from_weights(weights, predictor.vocabulary, SMALL, predictor.optimizer)
        assert not [name for name in adapted.to_checkpoint()[0] if name.startswith("first.")]
        adapted.observe_many("abcdefghij")
        saved = adapted.to_checkpoint()[0]
        assert np.array_equal(saved["first.weight_out"], weights["weight_out"])
        assert saved["first.weight_out"].dtype == dtype


def test_a_mean_squared_gradient_below_0_is_refused(good, tmp_path):
    (tmp_path / "good.safetensors").write_bytes(good)
    arrays, values = read_checkpoint(tmp_path / "good.safetensors")
    arrays["optimizer.0.weight_hh_l1"][2, 3] = -1e-9
    write_checkpoint(tmp_path / "bent.safetensors", arrays, values)
    assert "a mean squared gradient is -9.99" in refusal(tmp_path, (tmp_path / "bent.safetensors").read_bytes())


def test_a_checkpoint_holds_pytorchs_names_and_shapes(good, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(good)
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["streamlstm"])
    assert shapes["weight_ih_l0"] == (24, 10)
    assert shapes["weight_ih_l1"] == (24, 10 + 6)
    assert shapes["weight_hh_l1"] == (24, 6)
    assert shapes["weight_out"] == (10, 12)
    assert about["config"] == asdict(Config(hidden=6, layers=2, window=4, memory=False))


def test_an_error_while_writing_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for operation in ("fsync", "replace", "chmod"):
        monkeypatch.setattr(os, operation, _fails)
        with pytest.raises(OSError, match="disk"):
            write_atomically(path, b"new")
        monkeypatch.undo()
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def _fails(*args, **kwargs):
    raise OSError("the disk is full")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_atomically(tmp_path / "file", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(tmp_path / "file")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_synced_is_not_an_error(tmp_path, monkeypatch):
    def open_no_folder(path, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError("Windows cannot open a folder")
        return opened(path, *args, **kwargs)

    opened = os.open
    monkeypatch.setattr(os, "open", open_no_folder)
    write_atomically(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_an_interrupt_while_writing_leaves_the_old_file_and_no_litter(tmp_path):
    (tmp_path / "file").write_bytes(b"old")

    def interrupted():
        with opened_atomically(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_respects_the_umask_which_is_never_changed(tmp_path, mask, mode, monkeypatch):
    before = os.umask(mask)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask of the whole process is changed"))
        write_atomically(tmp_path / "file", b"content")
        monkeypatch.undo()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_a_private_file_is_private_while_it_is_written(tmp_path):
    (tmp_path / "file").touch(mode=0o600)
    with opened_atomically(tmp_path / "file") as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


@pytest.mark.parametrize("name", ["n" * 250, "é" * 125, ".hidden"])
def test_a_file_may_have_any_name_that_the_system_allows(tmp_path, name):
    write_atomically(tmp_path / name, b"content")
    assert os.listdir(tmp_path) == [name]


def test_a_file_keeps_its_permissions_and_a_new_one_gets_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "new", b"x")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    os.chmod(tmp_path / "new", 0o600)
    write_atomically(tmp_path / "new", b"y")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_symbolic_link_is_followed_not_replaced(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_directory_and_a_missing_file_have_errors_of_their_own(tmp_path):
    with pytest.raises(IsADirectoryError):
        StreamPredictor.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        StreamPredictor.load(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        random_predictor(SMALL).save(tmp_path)


KILLED = """
import sys
from streamlstm import Config, StreamPredictor
predictor = StreamPredictor(config=Config(hidden=64, layers=2, window=4))
print("ready", flush=True)
while True:
    predictor.observe_many(b"kill me while I write")
    predictor.save(sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_kill_9_while_saving_leaves_a_whole_file(tmp_path):
    path = tmp_path / "model.safetensors"
    for attempt in range(0, 8, 2):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
        child.stdout.readline()
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.01 + 0.013 * attempt)
        child.kill()
        child.wait()
        child.stdout.close()
        assert StreamPredictor.load(path).n_symbols > 0


def test_temporary_files_of_a_process_that_was_killed_are_deleted_after_a_minute(tmp_path):
    old, new, other = (
        tmp_path / f".{name}.{digit * 16}.part" for name, digit in (("m[1]", "a"), ("m[1]", "b"), ("n", "a"))
    )
    for path in (old, new, other):
        path.write_bytes(b"x")
    for path in (old, other):
        os.utime(path, (1, 1))
    write_atomically(tmp_path / "m[1]", b"content")
    assert sorted(tmp_path.iterdir()) == sorted([new, other, tmp_path / "m[1]"])


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no locks of files")
def test_a_temporary_file_that_is_still_written_to_stays_however_old_it_is(tmp_path):
    with opened_atomically(tmp_path / "m") as file:
        file.write(b"from a slow pipe")
        (temporary,) = tmp_path.iterdir()
        os.utime(temporary, (1, 1))
        write_atomically(tmp_path / "m", b"by another process")
        assert temporary.exists()
    assert (tmp_path / "m").read_bytes() == b"from a slow pipe"
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.parametrize(("number", "is_told"), [(errno.EIO, True), (errno.ENOSPC, True), (errno.EINVAL, False)])
def test_a_disk_that_cannot_keep_the_new_name_is_an_error(tmp_path, monkeypatch, number, is_told):
    def fail(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="m") if is_told else contextlib.nullcontext() as caught:
        write_atomically(tmp_path / "m", b"content")
    assert not is_told or (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "m"))
    assert (tmp_path / "m").read_bytes() == b"content"


@pytest.mark.parametrize("operation", ["open", "fsync", "chmod", "replace"])
def test_an_error_names_the_file_and_not_a_temporary_one(tmp_path, monkeypatch, operation):
    def fail(path, *arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "the temporary file")

    (tmp_path / "m").write_bytes(b"old")
    monkeypatch.setattr(os, operation, fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        write_atomically(tmp_path / "m", b"content")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "m"), None)


def test_lines_are_appended_as_lines_of_their_own(tmp_path):
    path = tmp_path / "rows"
    append_text(path, "one\n")
    append_text(path, "two\n")
    with open(path, "a") as file:
        file.write("cut o")
    append_text(path, "three\n")
    assert path.read_text() == "one\ntwo\ncut o\nthree\n"


SMALLEST = Config(hidden=1, layers=1, window=2, memory_bits=10)
SURROGATES = st.sampled_from("\ud800\ud83d\udbff\udc00\ude00\udfff\ue000\uffff\U00010000\U0001f600a")


@settings(max_examples=25)
@given(st.text(st.one_of(SURROGATES, st.characters(exclude_categories=[])), min_size=1, max_size=12))
@example("a\ud83d\ude00x")
def test_a_vocabulary_of_any_code_points_survives_everything_that_is_written(characters):
    predictor = StreamPredictor(Vocabulary.from_text(characters, unknown=characters[0]), SMALLEST)
    predictor.observe_many(characters)
    vocabulary, saved = predictor.vocabulary, dump_checkpoint(*predictor.to_checkpoint())
    assert Vocabulary.from_description(json.loads(json.dumps(vocabulary.describe()))) == vocabulary
    for again in (
        StreamPredictor.from_checkpoint(*parse_checkpoint(saved, "it")),
        pickle.loads(pickle.dumps(predictor)),
        copy.deepcopy(predictor),
    ):
        assert again.vocabulary == vocabulary
        assert dump_checkpoint(*again.to_checkpoint()) == saved
    with StreamPool(predictor) as pool, StreamPool(again) as other:
        pool.observe("k", characters)
        other.restore("k", pool.snapshot("k"))
        assert np.array_equal(other.observe("k", characters), pool.observe("k", characters))


def test_the_form_of_a_vocabulary_that_json_keeps_is_that_of_version_1_0():
    assert Vocabulary.from_text("b\ude00a").describe() == {"characters": "ab\ude00", "unknown": None}
    assert Vocabulary.from_text("\ud83d\ude00").describe() == {"characters": [0xD83D, 0xDE00], "unknown": None}


@pytest.mark.parametrize("characters", ["a\ud83d\ude00x", "\ud800\ud83d\ude00\U0001f600", "\ud83d\ude00\ude01\ue000"])
def test_a_pair_of_surrogates_that_version_1_0_wrote_as_one_character_is_taken_apart(tmp_path, characters):
    predictor = StreamPredictor(Vocabulary.from_text(characters), SMALLEST)
    arrays, values = predictor.to_checkpoint()
    values["vocabulary"] = {"characters": json.loads(json.dumps(predictor.vocabulary.characters)), "unknown": None}
    write_checkpoint(tmp_path / "model", arrays, values)
    assert StreamPredictor.load(tmp_path / "model").vocabulary == predictor.vocabulary


@pytest.mark.parametrize("characters", [[-1], [0x110000], [True], [1.5], ["a"], [98, 97], [], {"a": 1}, 7])
def test_code_points_that_are_none_are_refused(characters):
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary.from_description({"characters": characters, "unknown": None})
