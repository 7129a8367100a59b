"""The numbers that public functions and classes take: what is none, or out of range, is refused in one line.

The table CALLS has a call for each of them; which there are is read from the interface of version 1.0.
"""

import inspect
import json
import math

import numpy as np
import pytest
from interface import COMPAT, resolve

import streamlstm
from streamlstm import (
    SGD,
    Adam,
    Config,
    InitConfig,
    RMSprop,
    SessionWatcher,
    StreamPool,
    StreamPredictor,
    Trainer,
    TrainingPlan,
    Vocabulary,
    Watcher,
)
from streamlstm.integrations.regions import region_table, sentence_table
from streamlstm.watch.surprising import SurprisingKinds

SHAPE = Config(hidden=4, layers=1, window=8, memory_bits=10)
HUGE = 10**400
NOT_NUMBERS = [True, np.bool_(True), "1", [1], 1j]
NEVER = [*NOT_NUMBERS, math.nan, np.float64("nan"), -math.inf, -HUGE]
"""What no number may be."""
COUNT, REAL = "a whole number of at least 0", "a number"


def predictor():
    model = StreamPredictor(config=SHAPE)
    model.observe_many(b"abc abd\n" * 20)
    return model


MODEL = predictor()
LETTERS = Vocabulary.from_text("abc \n")
LINES = ["a", "b"] * 8


def pool(**options):
    StreamPool(MODEL, threads=options.pop("threads", 1), **options).close()


def top_of_pool(**options):
    with StreamPool(MODEL, threads=1) as streams:
        streams.observe("a", b"abc")
        streams.top("a", **options)


def trained(**options):
    Trainer(np.arange(50) % 256, Vocabulary.bytes(), SHAPE, TrainingPlan(batch=2), **options)


def watched(**options):
    return Watcher(MODEL.fork(), alarms="5/hour", **options)


def sessions(**options):
    return SessionWatcher(MODEL.fork(), alarms="5/hour", **options)


OF_OPTIMIZERS = {
    name: REAL
    for name in [
        "lr",
        "half_life",
        "floor",
        "candidate_lr_scale",
        "output_lr_scale",
        "clip",
        "l2",
        "pull_back",
        "repetition",
        "skip_below",
    ]
}
CALLS = {
    "Adam": (Adam, {**OF_OPTIMIZERS, "beta1": REAL, "beta2": REAL, "epsilon": REAL}),
    "RMSprop": (RMSprop, {**OF_OPTIMIZERS, "beta2": REAL, "epsilon": REAL}),
    "SGD": (SGD, {**OF_OPTIMIZERS, "momentum": REAL}),
    "Config": (Config, dict.fromkeys(("hidden", "layers", "window", "memory_bits"), COUNT)),
    "InitConfig": (InitConfig, dict.fromkeys(("table", "gain", "forget_bias"), REAL)),
    "SessionWatcher": (sessions, {"idle_seconds": REAL, "max_open": COUNT, "threshold": REAL, "warmup": COUNT}),
    "SessionWatcher.observe": (lambda **given: sessions().observe("x", **given), {"seconds": REAL}),
    "SessionWatcher.pass_time": (lambda **given: sessions().pass_time(**given), {"seconds": REAL}),
    "SessionWatcher.repeated": (lambda **given: sessions().repeated(**given), {"n": COUNT}),
    "Watcher": (
        watched,
        {"threshold": REAL, "warmup": COUNT, "max_keys": COUNT, "memory_budget": COUNT, "new_weight": REAL},
    ),
    "Watcher.observe": (lambda **given: watched().observe("x", **given), {"seconds": REAL}),
    "Watcher.repeated": (lambda **given: watched().repeated(**given), {"n": COUNT}),
    "StreamPool": (
        pool,
        {**dict.fromkeys(("memory_budget", "max_pages", "max_keys", "threads"), COUNT), "ttl": REAL},
    ),
    "StreamPool.top": (top_of_pool, {"k": COUNT}),
    "StreamPredictor": (lambda **given: StreamPredictor(config=SHAPE, **given), {"seed": COUNT}),
    "StreamPredictor.observe_token": (lambda **given: MODEL.fork().observe_token(**given), {"token": COUNT}),
    "StreamPredictor.steps": (lambda **given: list(MODEL.fork().steps(b"abc", **given)), {"n": COUNT}),
    "StreamPredictor.top": (MODEL.top, {"k": COUNT}),
    "StreamPredictor.trace": (lambda **given: MODEL.fork().trace(b"abc", **given), {"top": COUNT}),
    "TextEntry.backspace": (lambda **given: streamlstm.TextEntry(MODEL).backspace(**given), {"n": COUNT}),
    "TextEntry.complete": (
        lambda **given: streamlstm.TextEntry(MODEL).complete(**{"length": 1, **given}),
        {"k": COUNT, "length": COUNT},
    ),
    "TextEntry.top": (lambda **given: streamlstm.TextEntry(MODEL).top(**given), {"k": COUNT}),
    "Trainer": (trained, {"threads": COUNT}),
    "TrainingPlan": (
        TrainingPlan,
        {
            **dict.fromkeys(("batch", "window", "warmup", "seed"), COUNT),
            **dict.fromkeys(("epochs", "lr", "beta2", "clip", "crlf"), REAL),
        },
    ),
    "Vocabulary.encode": (lambda **given: LETTERS.encode("abc", **given), {"position": COUNT}),
    "Vocabulary.symbol": (LETTERS.symbol, {"token": COUNT}),
    "complete": (
        lambda **given: streamlstm.complete(MODEL, prompt="a", **given),
        {"k": COUNT, "length": COUNT, "width": COUNT},
    ),
    "fill": (lambda **given: streamlstm.fill(MODEL, "a?b", **given), {"k": COUNT, "width": COUNT}),
    "generate": (
        lambda **given: next(streamlstm.generate(MODEL, **{"length": 1, **given}), None),
        {"length": COUNT, "temperature": REAL, "top_k": COUNT, "top_p": REAL, "seed": COUNT},
    ),
    "integrations.regions.region_table": (
        lambda **given: region_table(MODEL.fork(), [("1", "ab")], **given),
        {"first": COUNT, "order": REAL},
    ),
    "integrations.regions.sentence_table": (
        lambda **given: sentence_table(MODEL.fork(), [{"text": "ab"}], **given),
        {"first": COUNT, "order": REAL},
    ),
    "picture": (lambda **given: streamlstm.picture(MODEL.fork(), "abc", **given), {"top": COUNT}),
    "surprising": (lambda **given: streamlstm.surprising(MODEL.fork(), LINES, **given), {"top": COUNT}),
    "watch.surprising.SurprisingKinds": (lambda **given: SurprisingKinds(MODEL.fork(), **given), {"warmup": COUNT}),
    "watch.surprising.SurprisingKinds.top": (lambda **given: SurprisingKinds(MODEL.fork()).top(**given), {"n": COUNT}),
    "top_characters": (lambda **given: streamlstm.top_characters(MODEL, **given), {"k": COUNT}),
    "trace_characters": (
        lambda **given: streamlstm.trace_characters(MODEL.fork(), "abc", **given),
        {"top": COUNT, "position": COUNT},
    ),
    "verify": (lambda **given: next(streamlstm.verify(b"abc" * 9, MODEL.fork(), **given)), {"seed": COUNT}),
}  # fmt: skip
"""How each is called, and what its numbers are."""

ARITHMETIC = {"lr_after", "lr_factor", "pull_after"}
"""Functions of optimizers that compute with a number whatever it is; `lr_after(math.inf)` is the lowest rate."""
RESULTS = {"Candidate", "EndedSession", "ExpertReport", "PoolStats", "Score", "Step", "TrainingProgress", "WatchedLine"}
"""Records that functions return."""
OTHERS = {
    ("optim.Optimizer", None),  # the base of the three
    ("Vocabulary.from_description", "n_symbols"),  # what arrays of a file have
    ("Vocabulary.encode", "symbols"),
    ("Vocabulary.encode_symbol", "symbol"),
    ("complete", "prompt"),
    ("generate", "prompt"),
    ("picture", "text"),
    ("StreamPool", "clock"),
    ("TrainingPlan", "pieces"),  # two: `test_the_lengths_of_pieces_are_whole_numbers`
    ("integrations.surprising.read_tail", None),  # `mcp` checks them
    ("integrations.surprising.surprising_lines", None),
    ("render.live.LiveText.guesses_view", None),  # sizes of a terminal
    ("render.live.LiveText.text_view", None),
}

NEED_AN_EXTRA = tuple(
    f"integrations.{name}." for name in ("lm_eval", "mcp", "minicons", "quix", "ray", "river", "sklearn", "torch")
)
"""What these classes take is what other libraries give them; their own tests are about that."""


def numeric_parameters():
    """The function and the name of each parameter of version 1.0 that is annotated as a number."""
    for name, what in json.loads((COMPAT / "1.0" / "interface.json").read_text())["names"].items():
        name = name.removeprefix("streamlstm.")
        if name.startswith(NEED_AN_EXTRA):
            continue
        found = resolve(f"streamlstm.{name}")
        functions = {name: found} if "parameters" in what else {}
        functions |= {f"{name}.{key}": getattr(found, key) for key, given in what.get("members", {}).items() if given}
        for function, each in functions.items():
            for parameter in inspect.signature(each).parameters.values():
                if any(kind in str(parameter.annotation) for kind in ("int", "float")):
                    yield function, parameter.name


def test_the_table_has_each_number_of_the_interface():
    known = {(name, each) for name, (_, parameters) in CALLS.items() for each in parameters}
    missing = [
        (function, name)
        for function, name in numeric_parameters()
        if (function, name) not in known | OTHERS
        and (function, None) not in OTHERS
        and not {function.split(".")[-1], *function.split(".")[:-1]} & (ARITHMETIC | RESULTS)
    ]
    assert missing == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("function", "name"), [(each, name) for each, (_, names) in CALLS.items() for name in names])
def test_what_is_no_number_or_out_of_range_is_refused_in_one_line(function, name):
    call, names = CALLS[function]
    wrong = [*NEVER, *([1.5, math.inf, -1] if names[name] == COUNT else [])]
    if name == "seconds":
        wrong = [value for value in wrong if not isinstance(value, np.bool_)]  # it is 1.0
    for value in wrong:
        with pytest.raises((TypeError, ValueError)) as refusal:
            call(**{name: value})
        assert "\n" not in str(refusal.value)
        assert len(str(refusal.value)) < 600


WHOLE = {("SessionWatcher", "max_open"), ("SessionWatcher", "warmup"), ("Watcher", "warmup"), ("Watcher", "max_keys")}
WHOLE |= {("Watcher", "memory_budget")}
"""Counts that version 1.0 took as floats too."""


@pytest.mark.parametrize(("function", "name"), [(each, name) for each, (_, names) in CALLS.items() for name in names])
def test_a_number_may_be_one_of_numpy(function, name):
    call, names = CALLS[function]
    value = {"memory_bits": 12, "max_pages": 128}.get(name, 1)
    if names[name] == REAL:
        value = {"pull_back": 0.01, "seconds": 5.0}.get(name, 0.5)
    kinds = [np.int64, np.int32, np.uint16] if names[name] == COUNT else [np.float64, np.float32]
    for kind in [*kinds, *([float] if (function, name) in WHOLE else [])]:
        call(**{name: kind(value)})


@pytest.mark.parametrize("pieces", [(1.5, 9), (True, 9), (0, 9), (9, 8), (9, HUGE), (9, math.nan), (9,), 9, None])
def test_the_lengths_of_pieces_are_whole_numbers(pieces):
    with pytest.raises((TypeError, ValueError), match="pieces"):
        TrainingPlan(pieces=pieces)
