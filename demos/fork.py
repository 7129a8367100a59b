"""Text entry: forks of a predictor try several continuations of what the user has typed.

A fork shares the weights with its parent and copies only the state, a few kilobytes.

python demos/fork.py [FILE]         (without a file: some sources of this package)
"""

import pathlib
import sys
import time

import streamlstm
from streamlstm import StreamPredictor


def own_text() -> bytes:
    """The modules at the top of this package."""
    folder = pathlib.Path(streamlstm.__file__).parent
    return b"\n".join(path.read_bytes() for path in sorted(folder.glob("*.py")))


def completions(predictor: StreamPredictor, width: int = 3, length: int = 12) -> list[tuple[str, float]]:
    """Greedy continuations: from each of the `width` most probable next symbols on, always the most probable one."""
    found = []
    for first, probability in predictor.top(width):
        branch, text = predictor.fork(), first
        branch.observe(first)
        while len(text) < length and not str(text[-1:]).isspace():
            symbol, p = branch.top(1)[0]
            if not isinstance(symbol, str) or not isinstance(text, str):
                break
            branch.observe(symbol)
            text, probability = text + symbol, probability * p
        found.append((str(text), probability))
    return found


text = pathlib.Path(sys.argv[1]).read_bytes()[:800_000] if len(sys.argv) > 1 else own_text()
predictor = StreamPredictor.pretrained()
predictor.observe_many(text)
predictor.learn = "nothing"
print(f"The bundled model has read {len(text):,} bytes. The user types, and it completes:\n")

before = predictor.predict()
for typed in ["def ", "import ", "    return ", "the weigh", "raise Val"]:
    branch = predictor.fork()
    branch.observe_many("\n" + typed)
    shown = "   ".join(f"{ending!r} {probability:.2f}" for ending, probability in completions(branch))
    print(f"  {typed!r:<16} {shown}")
assert (predictor.predict() == before).all(), "a fork changed its parent"

started = time.perf_counter()
forks = [predictor.fork() for _ in range(1000)]
print(f"\n1,000 forks took {1000 * (time.perf_counter() - started):.1f} ms; the predictor itself has not changed.")
