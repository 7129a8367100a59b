"""Measure the speed of streamlstm, of the machine's memory, and of other ways to run the same network.

    python demos/speed.py [--full] [--json FILE]

One run prints one table. All contenders of a shape hold the same weights, and the script compares their distributions
before it starts the clock. The contenders take short turns in rotation, so that a disturbance of the machine affects
all of them; the fastest turn counts. Each shape is measured twice, minutes apart, because a virtual core can be slow
for half a minute or share a physical core. Everything runs on one core unless a row says otherwise. The text is this
file; the vocabulary is the 256 byte values.

Inference          Each row computes the distribution after each symbol; ours also returns the surprisals. The bound is
                   a loop that only reads, with the same wide loads, every weight that one step needs.
                   "step by step" is a compiled loop in which each step waits for the one before, as in a decoder.
                   observe_many and the command line know the text, so they read some weights once for up to 16 symbols.
                   The command line is `streamlstm predict --quiet --freeze` on a pipe, by its own clock, which
                   starts after Python and the kernels are loaded.
Online learning    Adam (torch: fused), one update per window of T symbols, gradient clipping, state carried over.
                   observe and "torch, by hand" return the distribution before they get the symbol. observe_many and
                   nn.LSTM, which runs over the whole window at once, know the symbols in advance.
Offline training   Adam on 32 streams with windows of 64 symbols.
Worst observe      The slowest call of a window with T = 20, the one that updates the weights; the minimum over windows.
Memory             One learning predictor with T = 20, without weights and optimizer slots: what it keeps, and its peak
                   during an update, as multiples of the tape. Also the size of a frozen fork, in bytes.

torch and onnxruntime (with onnx) are measured if they are installed.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import gc
import io
import json
import platform
import re
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import llvmlite.binding
import numba
import numpy as np

from streamlstm import Adam, Config, StreamPredictor, Vocabulary
from streamlstm.cli.app import app
from streamlstm.jit.compiler import kernel
from streamlstm.jit.decorators import plain
from streamlstm.jit.lanes import lane_sum, load
from streamlstm.kernels import network
from streamlstm.kernels.arrays import F32
from streamlstm.model import Layout, aligned_zeros
from streamlstm.predictor.tape import FROZEN_WINDOW, Tape
from streamlstm.training.trainer import Trainer, TrainingPlan

try:
    import torch
except ImportError:
    torch = None

try:
    import onnx
    import onnxruntime
except ImportError:
    onnxruntime = None


# What is measured, and how it is shown


@dataclass(frozen=True)
class Shape:
    layers: int
    hidden: int
    connections: str = "stacked"

    def __str__(self) -> str:
        return f"{self.layers}×{self.hidden}" + (" skip" if self.connections == "skip" else "")

    def config(self, window: int = 20) -> Config:
        return Config(self.hidden, self.layers, window, self.connections, memory=False)

    @property
    def weights_read(self) -> int:
        """How many weights one step of a stream reads."""
        n_read = self.layers if self.connections == "skip" else 1
        return (8 * self.layers - 4) * self.hidden**2 + n_read * self.hidden * (V + 8)


V = 256
BYTES = Vocabulary.bytes()
TEXT = Path(__file__).read_bytes()
STACKED = [Shape(1, 64), Shape(1, 128), Shape(1, 256), Shape(2, 128), Shape(2, 256), Shape(3, 96), Shape(3, 128)]
SHAPES = [*STACKED, Shape(3, 64, "skip"), Shape(3, 128, "skip")]
OFFLINE = [Shape(1, 256), Shape(2, 256)]
WINDOWS = [10, 20, 32]

Run = Callable[[], int]
"""One run of a contender; returns how many symbols it processed."""


@dataclass(frozen=True)
class Row:
    """A line of the table; each number is also shown divided by that of the row `against`."""

    key: str
    label: str
    against: str = ""


SECTIONS: dict[str, list[Row]] = {
    "INFERENCE, µs per symbol": [
        Row("bound", "bound: reading the weights once"),
        Row("block", "ours, observe_many (× bound)", "bound"),
        Row("steps", "ours, step by step (× bound)", "bound"),
        Row("call", "ours, observe (× bound)", "bound"),
        Row("cli", "ours, command line (× bound)", "bound"),
        Row("numpy", "NumPy (× observe)", "call"),
        Row("torch", "torch, by hand (× observe)", "call"),
        Row("cell", "torch, LSTMCell (× observe)", "call"),
        Row("lstm", "torch, nn.LSTM (× observe)", "call"),
        Row("onnx", "onnxruntime (× observe)", "call"),
    ],
    "ONLINE LEARNING, µs per symbol": [
        row
        for window in WINDOWS
        for row in (
            Row(f"learn call {window}", f"T = {window}: ours, observe"),
            Row(f"learn block {window}", "        ours, observe_many"),
            Row(f"learn torch {window}", "        torch, by hand (× observe)", f"learn call {window}"),
            Row(f"learn lstm {window}", "        torch, nn.LSTM (× many)", f"learn block {window}"),
        )
    ],
    "OFFLINE TRAINING, thousand symbols per second": [
        Row("offline torch", "torch, 1 thread"),
        Row("offline 1", "ours, 1 thread (× torch)", "offline torch"),
        Row("offline 2", "ours, 2 threads (× 1 thread)", "offline 1"),
    ],
    "LATENCY AND MEMORY": [
        Row("worst", "worst observe, ms"),
        Row("tape", "tape, kB"),
        Row("kept", "kept beyond weights, × tape"),
        Row("peak", "peak during an update, × tape"),
        Row("fork", "frozen fork, kB"),
    ],
}

Results = dict[str, dict[str, float]]
"""Numbers by the key of their row, then by shape."""


@dataclass(frozen=True)
class Target:
    """A target of the project: for `row` / `over` - `less`, an upper limit per shape, or a lower one if `least`."""

    text: str
    row: str
    limits: dict[str, float]
    over: str = ""
    less: str = ""
    least: bool = False


ALL = [str(shape) for shape in SHAPES]
AGAINST_TORCH = {"1×64": 12, "1×128": 7, "1×256": 3.5, "2×256": 2.8}
LEARNING = {"1×128": 12, "1×256": 42, "2×256": 120, "3×96": 25}
TARGETS = [
    Target(
        "observe_many ÷ bound", "block", {str(s): 1.3 if s.weights_read < 250_000 else 1.4 for s in SHAPES}, "bound"
    ),
    Target("observe − observe_many, µs", "call", dict.fromkeys(ALL, 2.0), less="block"),
    Target("torch by hand ÷ observe_many", "torch", AGAINST_TORCH, "block", least=True),
    Target("learning, T = 20, µs", "learn call 20", LEARNING),
    Target(
        "torch ÷ learning, T = 20",
        "learn torch 20",
        dict.fromkeys(["1×128", "1×256", "2×256", "3×96"], 4.0),
        "learn call 20",
        least=True,
    ),
    Target("offline ÷ torch", "offline 1", {"1×256": 1.25, "2×256": 1.0}, "offline torch", least=True),
    Target("2 threads ÷ 1", "offline 2", {"1×256": 1.7, "2×256": 1.7}, "offline 1", least=True),
    Target("worst observe, ms", "worst", {"1×128": 0.2}),
    Target("kept beyond weights, × tape", "kept", dict.fromkeys(ALL, 2.0)),
    Target("frozen fork, kB", "fork", {str(s): 10 + s.layers * s.hidden * 8 / 1000 for s in SHAPES}),
]


# The clock


def race(contenders: dict[str, Run], rounds: int, turn: float = 0.004) -> dict[str, float]:
    """µs per symbol of each contender: turns of at least `turn` seconds, in rotation; the fastest one counts."""
    repeats = {name: _repeats(run, turn) for name, run in contenders.items()}
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, run in contenders.items():
            run()  # brings its weights back into the cache
            start, n_symbols = time.perf_counter(), 0
            for _ in range(repeats[name]):
                n_symbols += run()
            best[name] = min(best[name], 1e6 * (time.perf_counter() - start) / n_symbols)
    return best


def _repeats(run: Run, turn: float) -> int:
    """How many runs fill a turn."""
    run()
    seconds = min(_seconds(run) for _ in range(3))
    return max(1, round(turn / seconds))


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []


def pin(n: int) -> None:
    """Pin this thread, and the threads and processes that it starts from now on, to `n` cores."""
    if CORES:
        os.sched_setaffinity(0, CORES[-n:])


# Inference


@numba.njit(error_model="numpy", nogil=True)
def read_all(weights, times):
    """Read all weights `times` times, 128 at once; the sum keeps the compiler from removing the loop."""
    total = load(weights, 0, 128)
    for _ in range(times):
        for at in range(0, weights.size, 128):
            total = total + load(weights, at, 128)
    return lane_sum(total)


def bound(shape: Shape) -> Run:
    weights, times = aligned_zeros(shape.weights_read // 128 * 128), 64

    def run() -> int:
        read_all(weights, times)
        return times

    return run


def random_weights(shape: Shape) -> dict[str, F32]:
    """Random weights under PyTorch's names, of the size that trained weights have."""
    rng = np.random.default_rng(0)
    fresh = StreamPredictor(BYTES, shape.config()).weights()
    return {name: rng.normal(0, 0.1, weight.shape).astype(np.float32) for name, weight in fresh.items()}


def frozen(shape: Shape, weights: dict[str, F32]) -> StreamPredictor:
    predictor = StreamPredictor.from_weights(weights, BYTES, shape.config())
    predictor.learn = "nothing"
    return predictor


def one_by_one(predictor: StreamPredictor, text: bytes) -> Run:
    def run() -> int:
        observe = predictor.observe
        for symbol in text:
            observe(symbol)
        return len(text)

    return run


forward = kernel(plain(network.forward))


@numba.njit(error_model="numpy", nogil=True)
def step_through(theta, stream, text):
    """Read `text` in steps of one symbol, from slot to slot of the tape, and after the last one from slot 0 again."""
    window = stream.tokens.size - 1
    for index in range(len(text)):
        slot = index % window
        stream.tokens[slot] = text[index]
        forward(theta, stream, slot, 1, 1)
        if slot == window - 1:
            network.copy_slot(stream, 0, window)


def step_by_step(shape: Shape, weights: dict[str, F32], text: bytes) -> Run:
    layout = Layout(shape.config(), V)
    theta, stream = layout.flat(weights), Tape(layout, FROZEN_WINDOW, learning=False).stream
    network.forward(theta, stream, 0, 0, 1)  # the distribution before the first symbol

    def run() -> int:
        step_through(theta, stream, text)
        return len(text)

    return run


def in_a_block(predictor: StreamPredictor, text: bytes) -> Run:
    def run() -> int:
        predictor.observe_many(text)
        return len(text)

    return run


Step = Callable[[int, Any], tuple[Any, Any]]
"""From token and state to the next distribution and the next state."""


def numpy_stream(weights: dict[str, F32], shape: Shape) -> tuple[Step, Any]:
    H, layers = shape.hidden, range(shape.layers)
    table = np.ascontiguousarray(weights["weight_ih_l0"].T + weights["bias_l0"])
    W = [weights["weight_hh_l0"], *(_both(weights, layer) for layer in layers[1:])]
    b = [weights[f"bias_l{layer}"] for layer in layers]
    W_out, b_out = weights["weight_out"], weights["bias_out"]

    def step(token: int, state: Any) -> tuple[Any, Any]:
        after, x = [], None
        for layer, (h, c) in enumerate(state):
            z = W[0].dot(h) + table[token] if x is None else W[layer].dot(np.concatenate((x, h))) + b[layer]
            i, f, _, o = (1 / (1 + np.exp(-z))).reshape(4, H)
            c = f * c + i * np.tanh(z[2 * H : 3 * H])
            x = o * np.tanh(c)
            after.append((x, c))
        y = W_out.dot(x) + b_out
        e = np.exp(y - y.max())
        return e / e.sum(), after

    zero = np.zeros(H, dtype=np.float32)
    return step, [(zero, zero) for _ in layers]


def _both(weights: dict[str, F32], layer: int) -> F32:
    """An upper layer's weights for the layer below and for itself, side by side: one product instead of two."""
    return np.concatenate((weights[f"weight_ih_l{layer}"], weights[f"weight_hh_l{layer}"]), axis=1)


def torch_stream(weights: dict[str, F32], shape: Shape) -> tuple[Step, Any]:
    H, layers = shape.hidden, range(shape.layers)
    table = torch.tensor(weights["weight_ih_l0"].T + weights["bias_l0"])
    rows = table.contiguous().unbind(0)
    W = [torch.tensor(weights["weight_hh_l0"]), *(torch.tensor(_both(weights, layer)) for layer in layers[1:])]
    b = [torch.tensor(weights[f"bias_l{layer}"]) for layer in layers]
    W_out, b_out = torch.tensor(weights["weight_out"]), torch.tensor(weights["bias_out"])

    def step(token: int, state: Any) -> tuple[Any, Any]:
        after, x = [], None
        for layer, (h, c) in enumerate(state):
            z = torch.addmv(rows[token], W[0], h) if x is None else torch.addmv(b[layer], W[layer], torch.cat((x, h)))
            i, f, _, o = z.sigmoid().view(4, H).unbind(0)
            c = torch.addcmul(f * c, i, z[2 * H : 3 * H].tanh())
            x = o * c.tanh()
            after.append((x, c))
        return torch.addmv(b_out, W_out, x).softmax(0), after

    return step, [(torch.zeros(H), torch.zeros(H)) for _ in layers]


def cell_stream(weights: dict[str, F32], shape: Shape) -> tuple[Step, Any]:
    sizes = [V] + [shape.hidden] * shape.layers
    cells = [torch.nn.LSTMCell(inputs, shape.hidden) for inputs in sizes[:-1]]
    for layer, cell in enumerate(cells):
        _fill(cell, weights, {"weight_ih": f"weight_ih_l{layer}", "weight_hh": f"weight_hh_l{layer}"})
        _fill(cell, weights, {"bias_ih": f"bias_l{layer}"})
    out = _fill(torch.nn.Linear(shape.hidden, V), weights, {"weight": "weight_out", "bias": "bias_out"})
    one_hot = torch.eye(V).split(1)

    def step(token: int, state: Any) -> tuple[Any, Any]:
        after, x = [], one_hot[token]
        for cell, old in zip(cells, state, strict=True):
            x, c = cell(x, old)
            after.append((x, c))
        return out(x).softmax(1), after

    zero = torch.zeros(1, shape.hidden)
    return step, [(zero, zero) for _ in cells]


def lstm_stream(weights: dict[str, F32], shape: Shape) -> tuple[Step, Any]:
    lstm, out = _torch_net(shape)
    for layer in range(shape.layers):
        names = [f"weight_ih_l{layer}", f"weight_hh_l{layer}"]
        _fill(lstm, weights, {**dict(zip(names, names, strict=True)), f"bias_ih_l{layer}": f"bias_l{layer}"})
    _fill(out, weights, {"weight": "weight_out", "bias": "bias_out"})
    one_hot = torch.eye(V).split(1)

    def step(token: int, state: Any) -> tuple[Any, Any]:
        x, state = lstm(one_hot[token], state)
        return out(x).softmax(1), state

    zero = torch.zeros(shape.layers, shape.hidden)
    return step, (zero, zero)


def _torch_net(shape: Shape) -> tuple[Any, Any]:
    return torch.nn.LSTM(V, shape.hidden, shape.layers), torch.nn.Linear(shape.hidden, V)


def _fill(module: Any, weights: dict[str, F32], names: dict[str, str]) -> Any:
    """Copy our weights into a module's parameters; torch's second bias becomes 0."""
    with torch.no_grad():
        for theirs, ours in names.items():
            getattr(module, theirs).copy_(torch.tensor(weights[ours]))
            if theirs.startswith("bias_ih"):
                getattr(module, theirs.replace("ih", "hh")).zero_()
    return module


def onnx_stream(weights: dict[str, F32], shape: Shape) -> tuple[Step, Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = _onnx_model(weights, shape).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def step(token: int, state: Any) -> tuple[Any, Any]:
        p, *state = session.run(None, dict(zip(names, [np.array([token]), *state], strict=True)))
        return p, state

    return step, [np.zeros((1, shape.hidden), dtype=np.float32)] * (2 * shape.layers)


def _onnx_model(weights: dict[str, F32], shape: Shape) -> Any:
    """One step as an ONNX graph: token, h0, c0, h1, … to p and the new h0, c0, h1, …"""
    make, state = onnx.helper, [f"{kind}{layer}" for layer in range(shape.layers) for kind in "hc"]
    nodes, constants = [], {"table": weights["weight_ih_l0"].T + weights["bias_l0"], "W0": weights["weight_hh_l0"]}
    constants |= {"W_out": weights["weight_out"], "b_out": weights["bias_out"]}

    def node(op: str, inputs: str, outputs: str, **attributes: Any) -> None:
        nodes.append(make.make_node(op, inputs.split(), outputs.split(), **attributes))

    node("Gather", "table token", "b0")
    for n in range(shape.layers):
        if n:
            constants |= {f"W{n}": _both(weights, n), f"b{n}": weights[f"bias_l{n}"]}
            node("Concat", f"new_h{n - 1} h{n}", f"x{n}", axis=1)
        node("Gemm", f"{f'x{n}' if n else 'h0'} W{n} b{n}", f"z{n}", transB=1)
        node("Split", f"z{n}", f"zi{n} zf{n} zg{n} zo{n}", axis=1)
        for gate, activation in zip("ifgo", ("Sigmoid", "Sigmoid", "Tanh", "Sigmoid"), strict=True):
            node(activation, f"z{gate}{n}", f"{gate}{n}")
        node("Mul", f"f{n} c{n}", f"fc{n}")
        node("Mul", f"i{n} g{n}", f"ig{n}")
        node("Add", f"fc{n} ig{n}", f"new_c{n}")
        node("Tanh", f"new_c{n}", f"t{n}")
        node("Mul", f"o{n} t{n}", f"new_h{n}")
    node("Gemm", f"new_h{shape.layers - 1} W_out b_out", "y", transB=1)
    node("Softmax", "y", "p", axis=1)

    def values(names: list[str]) -> list[Any]:
        return [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]

    token = make.make_tensor_value_info("token", onnx.TensorProto.INT64, [1])
    arrays = [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    outputs = values(["p", *(f"new_{name}" for name in state)])
    graph = make.make_graph(nodes, "step", [token, *values(state)], outputs, arrays)
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)


RIVALS: dict[str, tuple[Callable[[dict[str, F32], Shape], tuple[Step, Any]], bool]] = {
    "numpy": (numpy_stream, True),
    "torch": (torch_stream, torch is not None),
    "cell": (cell_stream, torch is not None),
    "lstm": (lstm_stream, torch is not None),
    "onnx": (onnx_stream, onnxruntime is not None),
}
"""For each row the function that builds a step, and whether its library is installed."""


def stepping(step: Step, state: Any, text: bytes, expected: F32) -> Run:
    """Read the text repeatedly. Raises ValueError if the first pass does not end in our distribution."""

    def run() -> int:
        nonlocal state, p
        for token in text:
            p, state = step(token, state)
        return len(text)

    p: Any = None
    run()
    if not np.allclose(np.asarray(p).ravel(), expected, rtol=1e-3, atol=1e-6):
        raise ValueError(f"{step.__qualname__} computes another distribution than streamlstm")
    return run


def inference(shape: Shape, rounds: int) -> dict[str, float]:
    weights, text = random_weights(shape), TEXT[:32]
    witness = frozen(shape, weights)
    witness.observe_many(text)
    with torch.inference_mode() if torch else nullcontext():
        contenders = {
            "bound": bound(shape),
            "block": in_a_block(frozen(shape, weights), TEXT[:1024]),
            "steps": step_by_step(shape, weights, TEXT[:1024]),
            "call": one_by_one(frozen(shape, weights), text),
        }
        for name, (build, installed) in RIVALS.items():
            if installed and shape.connections == "stacked":
                contenders[name] = stepping(*build(weights, shape), text, witness.predict())
        times = race(contenders, rounds)
    times["cli"] = min(command_line(shape) for _ in range(rounds // 2))
    return times


def command_line(shape: Shape) -> float:
    """µs per symbol as reported by `streamlstm predict`, which runs in this process and reads from a pipe."""
    arguments = ["predict", "--quiet", "--freeze", "--no-memory", "--connections", shape.connections]
    arguments += ["--hidden", str(shape.hidden), "--layers", str(shape.layers)]
    read, write = os.pipe()
    os.write(write, TEXT[:8192])  # less than a pipe holds
    os.close(write)
    with open(read) as pipe, mock.patch.object(sys, "stdin", pipe), redirect_stderr(io.StringIO()) as report:
        app(arguments, standalone_mode=False)
    rate = re.search(r"([\d,]+) symbols/s", report.getvalue())
    assert rate, report.getvalue()
    return 1e6 / float(rate[1].replace(",", ""))


# Learning


def learner(shape: Shape, window: int) -> StreamPredictor:
    return StreamPredictor(BYTES, shape.config(window), Adam(lr=1e-4))


def torch_learner(shape: Shape, window: int, batch: int = 1) -> Run:
    """One update per run, on `batch` streams."""
    lstm, out = _torch_net(shape)
    parameters = [*lstm.parameters(), *out.parameters()]
    adam = torch.optim.Adam(parameters, lr=1e-4, fused=True)
    tokens = torch.tensor(list(TEXT[: (window + 1) * batch])).view(batch, window + 1).T.contiguous()
    one_hot, targets, state = torch.eye(V), tokens[1:].reshape(-1), None

    def run() -> int:
        nonlocal state
        y, (h, c) = lstm(one_hot[tokens[:-1]], state)
        state = h.detach(), c.detach()
        loss = torch.nn.functional.cross_entropy(out(y).view(-1, V), targets)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        return window * batch

    return run


def torch_stream_learner(shape: Shape, window: int) -> Run:
    """One update per run; each distribution of the window is computed before its symbol is given."""
    weights = random_weights(shape)
    _, state = torch_stream(weights, shape)
    rows = torch.tensor(weights["weight_ih_l0"].T + weights["bias_l0"]).requires_grad_()
    H, layers = shape.hidden, range(shape.layers)
    W = [torch.tensor(weights["weight_hh_l0"]), *(torch.tensor(_both(weights, layer)) for layer in layers[1:])]
    b = [torch.tensor(weights[f"bias_l{layer}"]) for layer in layers]
    out = [torch.tensor(weights["weight_out"]), torch.tensor(weights["bias_out"])]
    parameters = [tensor.requires_grad_() for tensor in (rows, *W, *b[1:], *out)]
    adam = torch.optim.Adam(parameters, lr=1e-4, fused=True)
    tokens = list(TEXT[: window + 1])

    def run() -> int:
        nonlocal state
        loss, state = 0, [(h.detach(), c.detach()) for h, c in state]
        for token, target in zip(tokens[:-1], tokens[1:], strict=True):
            x = None
            for layer, (h, c) in enumerate(state):
                z = (
                    torch.addmv(rows[token], W[0], h)
                    if x is None
                    else torch.addmv(b[layer], W[layer], torch.cat((x, h)))
                )
                i, f, _, o = z.sigmoid().view(4, H).unbind(0)
                c = torch.addcmul(f * c, i, z[2 * H : 3 * H].tanh())
                x = o * c.tanh()
                state[layer] = x, c
            loss = loss - torch.addmv(out[1], out[0], x).log_softmax(0)[target]
        adam.zero_grad()
        (loss / window).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        return window

    return run


def online(shape: Shape, rounds: int) -> dict[str, float]:
    times = {}
    for window in WINDOWS:
        contenders = {
            f"learn call {window}": one_by_one(learner(shape, window), TEXT[:window]),
            f"learn block {window}": in_a_block(learner(shape, window), TEXT[: 4 * window]),
        }
        if torch and shape.connections == "stacked":
            contenders[f"learn torch {window}"] = torch_stream_learner(shape, window)
            contenders[f"learn lstm {window}"] = torch_learner(shape, window)
        times |= race(contenders, rounds)
    return times


def trainer(shape: Shape, threads: int) -> Run:
    """One update of the offline trainer per run, on `threads` cores."""
    tokens = np.tile(np.frombuffer(TEXT, dtype=np.uint8), 10)
    steps = Trainer(tokens, BYTES, shape.config(), TrainingPlan(epochs=1e6, batch=32, window=64), threads).run()

    def run() -> int:
        pin(threads)  # the workers are started in the first run, and stay on these cores
        next(steps)
        pin(1)
        return 32 * 64

    return run


def offline(shape: Shape, rounds: int) -> dict[str, float]:
    """Thousand symbols per second."""
    contenders = {"offline torch": torch_learner(shape, 64, 32)} if torch else {}
    contenders |= {f"offline {threads}": trainer(shape, threads) for threads in (1, 2)}
    return {name: 1000 / time for name, time in race(contenders, rounds // 2).items()}


# Latency and memory


def worst_observe(shape: Shape, rounds: int) -> float:
    """Duration of the call that updates the weights, in milliseconds."""
    predictor, window = learner(shape, 20), TEXT[:20]
    predictor.observe_many(window)  # the next call makes the first update
    return min(max(1e3 * _seconds(lambda s=s: predictor.observe(s)) for s in window) for _ in range(rounds + 2))


@contextmanager
def traced() -> Iterator[Callable[[], tuple[int, int]]]:
    """Count allocations from here on; the function that this yields returns (bytes now, peak bytes)."""
    gc.collect()
    tracemalloc.start()
    try:
        yield tracemalloc.get_traced_memory
    finally:
        tracemalloc.stop()


def memory(shape: Shape) -> dict[str, float]:
    layout, window = Layout(shape.config(), V), 20
    tape = 4 * (window + 1) * layout.record(learning=True)
    weights_and_slots = 4 * layout.size * (1 + Adam().n_slots)
    learner(shape, window).observe_many(TEXT[:50])  # the first time loads the kernels
    with traced() as held:
        predictor = learner(shape, window)
        predictor.observe(TEXT[0])
        tracemalloc.reset_peak()  # the peak of the construction does not count
        for symbol in TEXT[1:50]:
            predictor.observe(symbol)
        kept, peak = held()
    predictor.learn = "nothing"
    with traced() as held:
        fork = predictor.fork()
        size, _ = held()
    del fork
    return {
        "tape": tape / 1000,
        "kept": (kept - weights_and_slots) / tape,
        "peak": (peak - weights_and_slots) / tape,
        "fork": size / 1000,
    }


# The table


def measure(rounds: int) -> Results:
    results: Results = {row.key: {} for rows in SECTIONS.values() for row in rows}
    for shape in [*SHAPES, *SHAPES]:
        if sys.stderr.isatty():
            print(f"\rmeasuring {shape} … ", end="\033[K", file=sys.stderr, flush=True)
        values = inference(shape, rounds) | online(shape, rounds)
        if shape in OFFLINE:
            values |= offline(shape, rounds)
        values |= {"worst": worst_observe(shape, rounds), **memory(shape)}
        for key, value in values.items():
            better = max if key.startswith("offline") else min
            results[key][str(shape)] = better(value, results[key].get(str(shape), value))
    if sys.stderr.isatty():
        print("\r", end="\033[K", file=sys.stderr)
    return results


def machine() -> str:
    try:
        name = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        name = None
    libraries = {"numpy": np.__version__, "numba": numba.__version__}
    libraries |= {"torch": torch.__version__} if torch else {}
    libraries |= {"onnxruntime": onnxruntime.__version__} if onnxruntime else {}
    cpu = f"{name[1] if name else platform.processor()} ({llvmlite.binding.get_host_cpu_name()})"
    versions = [f"Python {platform.python_version()}", *(f"{name} {version}" for name, version in libraries.items())]
    return ", ".join([cpu, f"{os.cpu_count()} cores", *versions])


def number(value: float) -> str:
    """A number with three significant digits."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def cell_text(results: Results, row: Row, shape: Shape) -> str:
    """The number and, if the row has one, its ratio."""
    value, other = results[row.key].get(str(shape)), results.get(row.against, {}).get(str(shape))
    if value is None:
        return "–" + " " * 6
    ratio = value / other if other else 0.0
    return number(value) + (f"{f'{ratio:.{2 if ratio < 10 else 0}f}×':>6}" if other else " " * 6)


def table(results: Results) -> str:
    lines = [f"{'':<32}" + "".join(f"{shape!s:^12}" for shape in SHAPES).rstrip()]
    read = "".join(f"{4 * shape.weights_read / 1e6:>6.2f}{'':6}" for shape in SHAPES)
    lines += [f"{'weights that a step reads, MB':<32}{read}".rstrip()]
    for title, rows in SECTIONS.items():
        lines += ["", title]
        for row in rows:
            if any(results[row.key].values()):
                cells = "".join(f"{cell_text(results, row, shape):>12}" for shape in SHAPES)
                lines += [f"{row.label:<32}{cells}".rstrip()]
    return "\n".join(lines)


def targets(results: Results) -> str:
    """Each target, and the number that was measured."""
    lines = ["TARGETS"]
    for target in TARGETS:
        parts = []
        for shape, limit in target.limits.items():
            rows = [row for row in (target.row, target.over, target.less) if row]
            if any(shape not in results[row] for row in rows):
                continue
            value = results[target.row][shape]
            value /= results[target.over][shape] if target.over else 1
            value -= results[target.less][shape] if target.less else 0
            met = value >= limit if target.least else value <= limit
            sign = ("≥" if target.least else "≤") if met else ("<" if target.least else ">")
            parts.append(f"{shape}: {number(value)} {sign} {limit:g}{'' if met else ' MISSED'}")
        lines += [f"{target.text:<30}" + ",  ".join(parts)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--full", action="store_true", help="take ten times as many turns, and check the project's targets"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the numbers to FILE")
    options = parser.parse_args()
    pin(1)
    if torch:
        torch.set_num_threads(1)
    results = measure(rounds=50 if options.full else 5)
    print(machine(), table(results), *([targets(results)] if options.full else []), sep="\n\n")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
