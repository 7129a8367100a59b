"""The sketch done right: one LSTM learns to spell "hello".

The untrained net expects every letter alike; we look at its loss, at the derivative p - y, take one step that lowers
the loss, and then train until the net is sure of each next letter.

    python demos/hello.py
"""

import math

import numpy as np

from streamlstm import SGD, Config, StreamPredictor, Vocabulary

TEXT = "hello"
BARS = " ▁▂▃▄▅▆▇█"


def bars(predictor: StreamPredictor) -> str:
    """The distribution of the next letter, as a small picture."""
    p = predictor.predict()
    letters = predictor.vocabulary.characters or ""
    return "  ".join(f"{letter} {BARS[round(8 * float(x))]} {x:.2f}" for letter, x in zip(letters, p, strict=True))


def read(predictor: StreamPredictor) -> tuple[list[float], list[str]]:
    """p of each next letter of the word, and a picture of what was expected there; changes nothing."""
    reader = predictor.fork()
    reader.learning = False
    reader.reset()
    chances, rows = [], []
    for letter, following in zip(TEXT, TEXT[1:], strict=False):
        reader.observe(letter)
        chances.append(float(reader.predict()[reader.vocabulary.encode(following)[0]]))
        rows.append(f"  {letter} → {following}    {bars(reader)}")
    return chances, rows


def loss(chances: list[float]) -> float:
    """The cross-entropy, the mean of -ln p."""
    return -sum(map(math.log, chances)) / len(chances)


def spell(predictor: StreamPredictor) -> None:
    """Let the net see the word from its beginning; the window is full, and learned from, at the last letter."""
    predictor.reset()
    predictor.observe_many(TEXT)


vocabulary = Vocabulary.from_text(TEXT)
optimizer = SGD(lr=0.5, l2=1e-3, momentum=0.9)
predictor = StreamPredictor(
    vocabulary, Config(hidden=32, layers=1, window=len(TEXT) - 1, memory=False), optimizer, seed=1
)

print("The letters as one-hot vectors:")
for letter in vocabulary.characters or "":
    print(f"  {letter}  {np.eye(len(vocabulary), dtype=int)[vocabulary.encode(letter)[0]]}")

untrained, rows = read(predictor)
print(f"\nUntrained, every letter is expected alike; the loss is ln 4 = {loss(untrained):.4f}:", *rows, sep="\n")

y = np.eye(len(vocabulary))[vocabulary.encode("e")[0]]
print(f"\nAfter h comes e: the derivative of the loss by the logits is p - y = {predictor.predict() - y}")

spell(predictor)
chances, _ = read(predictor)
print(f"\nOne step of SGD with L2 regularisation 1e-3 lowers the loss: {loss(untrained):.4f} → {loss(chances):.4f}")
assert loss(chances) < loss(untrained)

words = 1
while min(chances) <= 0.9:
    spell(predictor)
    words += 1
    chances, rows = read(predictor)
print(f"\nAfter {words} words the loss is {loss(chances):.4f}, and each next letter has p > 0.9:", *rows, sep="\n")
