"""The bundled models: their files, and that they predict, adapt and stay small."""

import numpy as np
import pytest

from streamlstm import StreamPredictor
from streamlstm.checkpoint import read_checkpoint
from streamlstm.predictor import PRETRAINED

NAMES = sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))
PROSE = "The old lighthouse keeper climbed the stairs slowly, as he had done every evening for thirty years. "
LOG = "".join(
    f"2026-03-0{day} 12:{day}1:07 INFO worker-{day}: request finished in {17 * day:03} ms\n" for day in range(1, 9)
)


def test_the_default_is_small():
    assert "small" in NAMES
    assert StreamPredictor.pretrained().about["name"] == "small"


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_has_its_card_and_its_curve_beside_it(name):
    card = (PRETRAINED / f"{name}.md").read_text()
    assert card.startswith(f"# Model card: `{name}`")
    for part in ("Licences", "Commands", "Curve", "## How it adapts", "## Held out", "## Limits"):
        assert part in card, part
    assert (PRETRAINED / f"{name}.curve.tsv").read_text().count("\n") > 5
    assert (PRETRAINED / "NOTICE").stat().st_size > 1000


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_is_stored_as_float16(name):
    arrays = read_checkpoint(PRETRAINED / f"{name}.safetensors")[0]
    weights = {key: array for key, array in arrays.items() if "weight_" in key}
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float16)}
    loaded = StreamPredictor.pretrained(name).weights()
    assert all(np.array_equal(loaded[key], arrays[key]) for key in loaded if key in arrays)


def test_the_bundled_models_together_are_below_12_megabytes():
    assert sum(path.stat().st_size for path in PRETRAINED.iterdir()) < 12e6


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_predicts_english_and_adapts_to_what_it_reads(name):
    predictor = StreamPredictor.pretrained(name, memory=False)
    assert predictor.learning
    assert predictor.fork().observe_many(PROSE).mean() < 2.5
    bits = predictor.observe_many(LOG).reshape(8, -1).mean(axis=1)
    assert bits[-1] < bits[0] / 2


@pytest.mark.parametrize("name", NAMES)
def test_the_memory_of_a_bundled_model_helps_when_a_text_repeats(name):
    with_memory, without = (StreamPredictor.pretrained(name, memory) for memory in (True, False))
    assert with_memory.observe_many(LOG + LOG).sum() < 0.9 * without.observe_many(LOG + LOG).sum()
