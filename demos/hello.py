"""One small LSTM learns to spell "hello", step by step.

The untrained network predicts uniformly. The script prints its loss and the derivative p - y, takes one step that
lowers the loss, and then trains until the network is sure of each next letter.

    python demos/hello.py
"""

import math

import numpy as np

from streamlstm import SGD, Config, StreamPredictor, Vocabulary

TEXT = "hello"
BARS = " ▁▂▃▄▅▆▇█"


def bars(predictor: StreamPredictor) -> str:
    """The distribution of the next letter as bars and numbers."""
    p = predictor.predict()
    letters = predictor.vocabulary.characters or ""
    return "  ".join(f"{letter} {BARS[round(8 * float(x))]} {x:.2f}" for letter, x in zip(letters, p, strict=True))


def read(predictor: StreamPredictor) -> tuple[list[float], list[str]]:
    """The probability of each next letter of the word, and a row of bars for each; the predictor does not change."""
    reader = predictor.fork(learning=False)
    reader.reset()
    probabilities, rows = [], []
    for letter, following in zip(TEXT, TEXT[1:], strict=False):
        reader.observe(letter)
        probabilities.append(float(reader.predict()[reader.vocabulary.encode(following)[0]]))
        rows.append(f"  {letter} → {following}    {bars(reader)}")
    return probabilities, rows


def loss(probabilities: list[float]) -> float:
    """The cross-entropy: the mean of -ln p."""
    return -sum(map(math.log, probabilities)) / len(probabilities)


def spell(predictor: StreamPredictor) -> None:
    """Show the network the word from its start; the last letter fills the window, and the network learns."""
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
print(f"\nUntrained, the network predicts uniformly; the loss is ln 4 = {loss(untrained):.4f}:", *rows, sep="\n")

y = np.eye(len(vocabulary))[vocabulary.encode("e")[0]]
print(f"\nThe letter after h is e: the derivative of the loss by the logits is p - y = {predictor.predict() - y}")

spell(predictor)
probabilities, _ = read(predictor)
print(f"\nOne step of SGD with L2 regularisation 1e-3: the loss falls from {loss(untrained):.4f} to ", end="")
print(f"{loss(probabilities):.4f}")
assert loss(probabilities) < loss(untrained)

words = 1
while min(probabilities) <= 0.9:
    spell(predictor)
    words += 1
    probabilities, rows = read(predictor)
print(
    f"\nAfter {words} words the loss is {loss(probabilities):.4f}, and each next letter has p > 0.9:", *rows, sep="\n"
)
