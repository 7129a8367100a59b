"""The second decoder: archives are read in plain NumPy, by nothing that the compiled code has written."""

import subprocess
import sys

import pytest
from compat_files import DATA, FOLDER, FRAMES, expected_of
from nets import random_predictor

from streamlstm import SGD, Config, StreamPredictor, Vocabulary, compress
from streamlstm.codec.coder import identity
from streamlstm.modelfile import bundled_model
from streamlstm.reference import model as model_file
from streamlstm.reference.decoder import decompress, decompress_message

ALONE = """
import sys
from pathlib import Path
from streamlstm.reference.decoder import decompress
archive, model = (Path(name).read_bytes() for name in sys.argv[1:])
sys.stdout.buffer.write(decompress(archive, model))
names = [name for name in sys.modules if name.split(".")[0] in ("streamlstm", "numba", "llvmlite", "safetensors")]
print(*[name for name in names if not name.startswith("streamlstm.reference")], file=sys.stderr)
"""


def test_an_archive_is_decoded_without_the_rest_of_the_package():
    files = [str(FOLDER / name) for name in ("memory.slz", "memory.safetensors")]
    result = subprocess.run([sys.executable, "-c", ALONE, *files], capture_output=True)
    assert (result.stdout, result.stderr) == (DATA, b"streamlstm\n")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("network", "network"),
        ("counts", "counts"),
        ("frames", "network"),
        pytest.param("small", None, marks=pytest.mark.slow),
        pytest.param("large", None, marks=pytest.mark.slow),
    ],
)
def test_archives_of_all_kinds_of_models_are_decoded(name, model):
    path = FOLDER / f"{model}.safetensors" if model else bundled_model(name)
    data = decompress((FOLDER / f"{name}.slz").read_bytes(), path.read_bytes())
    assert data == (FRAMES if name == "frames" else DATA)
    assert len(data) >= 300


def test_a_fresh_network_whose_first_gradients_are_zero_is_decoded(tmp_path):
    predictor = StreamPredictor(None, Config(3, 1, 5, memory_bits=10), SGD(l2=0.01))
    predictor.save(tmp_path / "model")
    archive = compress(DATA[:120] * 3, predictor)
    assert archive[25] == 1  # coded
    assert decompress(archive, (tmp_path / "model").read_bytes()) == DATA[:120] * 3


NESTED = b"<p>a > b -> c</p>" + b"([{" * 7 + b"x > y" + b"}])" * 7 + b"<i>deep</i>) > <b>1</b>"


@pytest.mark.parametrize(
    ("before", "learn", "data"),
    [
        (b"", "all", NESTED * 2),
        (b"", "memory", b"\0" * 9 + b"ab\0\0ab\0" * 5),
        (DATA[:150], "nothing", DATA[100:150] + DATA[:150] + DATA[:20]),
    ],
    ids=["nested deeply", "zero bytes first", "read to the end of what was learned"],
)
def test_what_is_rare_is_decoded_as_the_pages_say(tmp_path, before, learn, data):
    predictor = StreamPredictor(None, Config(3, 1, 5, memory_bits=10), SGD(), seed=5)
    predictor.observe_many(before)
    predictor.learn = learn
    predictor.save(tmp_path / "model")
    assert decompress(compress(data, predictor), (tmp_path / "model").read_bytes()) == data


@pytest.mark.parametrize("at", [30, 60, 100, 180])
def test_what_is_damaged_is_refused(at):
    archive = bytearray((FOLDER / "network.slz").read_bytes())
    archive[at] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        decompress(bytes(archive), (FOLDER / "network.safetensors").read_bytes())


def test_an_archive_of_another_model_is_refused():
    with pytest.raises(ValueError, match="another model"):
        decompress((FOLDER / "network.slz").read_bytes(), (FOLDER / "counts.safetensors").read_bytes())


@pytest.mark.parametrize("n_symbols", [0, 3])
def test_a_model_has_the_identity_that_archives_of_it_name(tmp_path, n_symbols):
    predictor = random_predictor(Config(hidden=3, layers=1, memory_bits=10), Vocabulary.bytes(), memory=True)
    predictor.observe_many(DATA[:n_symbols])
    predictor.save(tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    assert model_file.identity(model_file.read_model(content)) == identity(predictor)


def test_messages_are_decoded():
    model = bundled_model("small").read_bytes()
    for content, message in expected_of(FOLDER)["messages"].items():
        assert decompress_message(bytes.fromhex(message), model).decode() == content
