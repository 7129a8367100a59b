"""Print, as JSON, hashes of what many networks predict and of their weights after learning.

`tests/golden.json` holds the hashes of the first version. They must not change, on any CPU. Their digest is
ARITHMETIC in `streamlstm.codec.coder`, so that whatever changes one of them changes the identity of each model.
    python tests/golden.py > tests/golden.json
"""

import hashlib
import json
from collections.abc import Callable, Container
from functools import cache, partial

import numpy as np

from streamlstm import SGD, Adam, Config, RMSprop, StreamPredictor, Vocabulary
from streamlstm.optim import Optimizer
from streamlstm.search.generate import generate
from streamlstm.training.trainer import Trainer, TrainingPlan

OPTIMIZERS = (SGD(lr=0.1, l2=1e-3), SGD(lr=0.05, momentum=0.9), RMSprop(), Adam(clip=0.5))
N_SYMBOLS = 2000


def text(n: int) -> bytes:
    """n bytes of words that a linear congruential generator picks."""
    words, state, out = (
        [b"stream ", b"of ", b"bits, ", b"the ", b"same\n", b"\xc3\xa9t\xc3\xa9 ", b"on ", b"42 "],
        1,
        b"",
    )
    while len(out) < n:
        state = (state * 1103515245 + 12345) % 2**31
        out += words[state >> 28]
    return out[:n]


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:16]


def saved_memory(predictor: StreamPredictor) -> list[np.ndarray]:
    return [array for name, array in sorted(predictor.to_checkpoint()[0].items()) if name.startswith("memory.")]


def arithmetic(hashes: dict[str, str]) -> str:
    """What ARITHMETIC must be with these hashes."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]


def golden(wanted: Container[str] | None = None) -> dict[str, str]:
    """All hashes, or those of the wanted names."""
    return {name: hashed() for name, hashed in _cases().items() if wanted is None or name in wanted}


def _cases() -> dict[str, Callable[[], str]]:
    """What computes each hash."""
    cases: dict[str, Callable[[], str]] = {}
    for connections in ("skip", "stacked"):
        for layers in (1, 2, 3):
            for index, optimizer in enumerate(OPTIMIZERS):
                config = Config(24, layers, 10, connections, memory=False)
                cases[f"{connections} {layers} {index} {optimizer.name}"] = partial(_network, config, optimizer)
    letters = Vocabulary.from_text(text(N_SYMBOLS).decode())
    for vocabulary, bits in ((Vocabulary.bytes(), 20), (Vocabulary.bytes(), 10), (letters, 12)):
        cases[f"memory {len(vocabulary)} {bits}"] = partial(_memory, vocabulary, bits)
    for learn in ("all", "memory", "nothing"):
        cases[f"then learns {learn}"] = partial(_switched, learn)
    return {**cases, "training": lambda: _trained()[0], "generate": lambda: _trained()[1]}


def _network(config: Config, optimizer: Optimizer) -> str:
    predictor = StreamPredictor(None, config, optimizer, seed=config.layers)
    bits = predictor.observe_many(text(N_SYMBOLS))
    weights = [array for _, array in sorted(predictor.weights().items())]
    return digest(bits, predictor.predict(), *predictor.state, *weights)


def _memory(vocabulary: Vocabulary, bits: int) -> str:
    predictor = StreamPredictor(vocabulary, Config(24, 2, 10, memory_bits=bits))
    surprisals = predictor.observe_many(text(N_SYMBOLS))
    return digest(surprisals, predictor.predict(), *saved_memory(predictor))


def _switched(learn: str) -> str:
    predictor = StreamPredictor(None, Config(24, 2, 10, memory_bits=12), RMSprop(pull_back=0.05, repetition=4.0))
    predictor.observe_many(text(N_SYMBOLS)[:1003])
    predictor.learn = learn
    surprisals = predictor.observe_many(text(N_SYMBOLS)[1003:])
    return digest(surprisals, predictor.predict(), *saved_memory(predictor))


@cache
def _trained() -> tuple[str, str]:
    """The hashes of a training run and of what the trained model generates."""
    tokens = np.frombuffer(text(N_SYMBOLS), dtype=np.uint8)
    config = Config(24, 2, 10, memory=False)
    trainer = Trainer(tokens, Vocabulary.bytes(), config, TrainingPlan(epochs=5, batch=12, window=20, warmup=5), 2)
    trained = digest(*[np.float64(progress.bits) for progress in trainer.run()], trainer.theta)
    written = generate(trainer.predictor(), 200, "the ", temperature=0.8, seed=3)
    return trained, digest(np.array([trainer.vocabulary.encode_symbol(symbol)[0] for symbol in written]))


if __name__ == "__main__":
    print(json.dumps(golden(), indent=1))
