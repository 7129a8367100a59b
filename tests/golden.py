"""Print, as JSON, hashes of what many networks predict and of their weights after learning.

`tests/golden.json` holds the hashes of the first version. They must not change, on any CPU. Their digest is
ARITHMETIC in `streamlstm.tasks.compress`, so that whatever changes one of them changes the identity of each model.
    python tests/golden.py > tests/golden.json
"""

import hashlib
import json

import numpy as np

from streamlstm import SGD, Adam, Config, RMSprop, StreamPredictor, Vocabulary
from streamlstm.tasks.generate import generate
from streamlstm.tasks.training import Trainer, TrainingPlan

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


def golden() -> dict[str, str]:
    hashes, symbols = {}, text(N_SYMBOLS)
    for connections in ("skip", "stacked"):
        for layers in (1, 2, 3):
            for index, optimizer in enumerate(OPTIMIZERS):
                predictor = StreamPredictor(
                    None, Config(24, layers, 10, connections, memory=False), optimizer, seed=layers
                )
                bits = predictor.observe_many(symbols)
                weights = [array for _, array in sorted(predictor.weights().items())]
                name = f"{connections} {layers} {index} {optimizer.name}"
                hashes[name] = digest(bits, predictor.predict(), *predictor.state, *weights)
    for vocabulary, bits in (
        (Vocabulary.bytes(), 20),
        (Vocabulary.bytes(), 10),
        (Vocabulary.from_text(symbols.decode()), 12),
    ):
        predictor = StreamPredictor(vocabulary, Config(24, 2, 10, memory_bits=bits))
        surprisals = predictor.observe_many(symbols)
        hashes[f"memory {len(vocabulary)} {bits}"] = digest(surprisals, predictor.predict(), *saved_memory(predictor))
    for learn in ("all", "memory", "nothing"):
        adaptive = RMSprop(pull_back=0.05, repetition=4.0)
        predictor = StreamPredictor(None, Config(24, 2, 10, memory_bits=12), adaptive)
        predictor.observe_many(symbols[:1003])
        predictor.learn = learn
        surprisals = predictor.observe_many(symbols[1003:])
        hashes[f"then learns {learn}"] = digest(surprisals, predictor.predict(), *saved_memory(predictor))
    tokens = np.frombuffer(symbols, dtype=np.uint8)
    config = Config(24, 2, 10, memory=False)
    trainer = Trainer(tokens, Vocabulary.bytes(), config, TrainingPlan(epochs=5, batch=12, window=20, warmup=5), 2)
    hashes["training"] = digest(*[np.float64(progress.bits) for progress in trainer.run()], trainer.theta)
    written = generate(trainer.predictor(), 200, "the ", temperature=0.8, seed=3)
    hashes["generate"] = digest(np.array([trainer.vocabulary.encode_symbol(symbol)[0] for symbol in written]))
    return hashes


if __name__ == "__main__":
    print(json.dumps(golden(), indent=1))
