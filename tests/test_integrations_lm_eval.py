"""The lm-evaluation-harness: likelihoods to the byte, generation, and a task of its own from end to end."""

import json
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from extras import library

from streamlstm import Config, StreamPredictor, generate, score_many

library("lm_eval")
from streamlstm.integrations.lm_eval import Decoding, StreamLM  # noqa: E402


@pytest.fixture(scope="module")
def predictor():
    predictor = StreamPredictor(config=Config(hidden=24, layers=1, memory_bits=12))
    predictor.observe_many("one two three. é – €\n" * 40)
    predictor.reset()
    return predictor


def requests(*arguments):
    return [SimpleNamespace(args=each) for each in arguments]


def test_the_likelihood_of_a_continuation_is_the_predictors(predictor):
    pairs = [("one ", "two"), ("one ", "tow"), ("", "one"), ("é ", "– €"), ("one two ", "three.")]
    results = StreamLM(predictor).loglikelihood(requests(*pairs))
    for (context, continuation), (nats, _) in zip(pairs, results, strict=True):
        assert nats == pytest.approx(-math.log(2) * score_many(predictor, [continuation], context)[0], rel=1e-6)


def test_cutting_a_text_anywhere_between_context_and_continuation_gives_the_same_total(predictor):
    model, text = StreamLM(predictor), "one two é three."
    totals = []
    for cut in range(len(text) + 1):
        before, after = model.loglikelihood(requests(("", text[:cut]), (text[:cut], text[cut:])))
        totals.append(before[0] + after[0])
    assert np.allclose(totals, totals[0], rtol=1e-5)


def test_a_continuation_is_greedy_if_greedy_decoding_gives_it(predictor):
    data = b"".join(s if isinstance(s, bytes) else s.encode() for s in generate(predictor, 12, "one ", temperature=0))
    greedy = data.decode("utf-8", "ignore")
    (_, is_greedy), (_, other), (_, empty) = StreamLM(predictor).loglikelihood(
        requests(("one ", greedy), ("one ", "\x00" + greedy), ("one ", ""))
    )
    assert (is_greedy, other, empty) == (True, False, True)


def test_a_rolling_likelihood_is_that_of_the_whole_text_from_the_begin_of_a_stream(predictor):
    texts = ["one two three.", "é – €" * 50]
    nats = StreamLM(predictor).loglikelihood_rolling(requests(*((text,) for text in texts)))
    assert nats == pytest.approx((-math.log(2) * score_many(predictor, texts)).tolist(), rel=1e-6)
    assert all(isinstance(each, float) for each in nats)


def test_generation_is_greedy_and_stops_before_a_stop_string(predictor):
    model = StreamLM(predictor)
    first, second, third = model.generate_until(
        requests(
            ("one ", {"until": ["\n", "three"], "max_gen_toks": 50}),
            ("one ", {"until": "\n", "max_gen_toks": 3}),
            ("one two three. ", {"until": ["–"], "max_gen_toks": 20}),
        )
    )
    assert (first, second, third) == ("two ", "two", "é ")


def test_sampling_follows_the_options(predictor):
    options = {"do_sample": True, "temperature": 2.0, "max_gen_toks": 40, "seed": 1}
    a, b, c = StreamLM(predictor).generate_until(
        requests(("one ", options), ("one ", {**options, "seed": 2}), ("one ", options))
    )
    assert a == c != b
    assert Decoding.parse({}).temperature == 0
    assert Decoding.parse({"do_sample": False, "temperature": 0.7}).temperature == 0
    assert Decoding.parse({"temperature": 0.7}).temperature == 0.7
    assert StreamLM(predictor, max_gen_toks="5").generate_until(requests(("one ", {})))[0] == "two t"


def test_requests_are_independent_and_learning_is_within_a_request(predictor):
    before = predictor.predict()
    context = "zq zw " * 30
    frozen, learning = StreamLM(predictor), StreamLM(predictor, learn="true", batch_size=8, device="cpu")
    pair = requests((context, "zq zw"))
    assert learning.loglikelihood(pair)[0][0] > frozen.loglikelihood(pair)[0][0]
    assert learning.loglikelihood(pair * 2) == learning.loglikelihood(pair) * 2
    assert np.array_equal(predictor.predict(), before)


def test_the_model_is_registered_by_its_name():
    from lm_eval.api.registry import get_model

    assert get_model("streamlstm") is StreamLM


NUMBERS = {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": "gold"}
ROLLING = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}three."}
ROLLING |= {"metric_list": [{"metric": "bits_per_byte"}]}
GENERATED = {"output_type": "generate_until", "doc_to_target": "three", "metric_list": [{"metric": "exact_match"}]}
GENERATED |= {"generation_kwargs": {"until": ["."], "max_gen_toks": 20}}
TASKS = {"numbers": NUMBERS, "rolling": ROLLING, "generated": GENERATED}


@pytest.mark.slow
def test_the_harness_evaluates_tasks_of_each_kind_without_network(predictor, tmp_path):
    model, folder, cache = tmp_path / "model.safetensors", tmp_path / "tasks", tmp_path / "cache"
    predictor.save(model)
    folder.mkdir()
    rows = [{"text": "one two ", "choices": ["three", "tree"], "gold": 0} for _ in range(4)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}}}
    data |= {"test_split": "test", "doc_to_text": "{{text}}", "target_delimiter": ""}
    for name, task in TASKS.items():
        (folder / f"{name}.yaml").write_text(json.dumps({"task": name, **data, **task}))  # JSON is YAML
    command = [sys.executable, "-m", "streamlstm.integrations.lm_eval", "--model", "streamlstm"]
    command += ["--model_args", f"pretrained={model}", "--include_path", str(folder), "--tasks", ",".join(TASKS)]
    command += ["--output_path", str(tmp_path / "out")]
    offline = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    result = subprocess.run(command, env={**os.environ, **offline}, capture_output=True, encoding="utf-8", timeout=600)
    assert result.returncode == 0, result.stderr
    (report,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(report.read_text())["results"]
    text = "one two three."
    assert results["numbers"]["acc,none"] == 1.0
    bits = float(score_many(predictor, [text])[0]) / len(text)
    assert results["rolling"]["bits_per_byte,none"] == pytest.approx(bits, rel=1e-5)
    assert results["generated"]["exact_match,none"] == 1.0
