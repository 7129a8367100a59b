"""Text entry: what if the user types …? A fork of the predictor tries each continuation, and costs a few kilobytes.

python demos/fork.py [FILE]         (without a file: this package's own README and sources)
"""

import pathlib
import sys
import time

import streamlstm
from streamlstm import StreamPredictor


def own_text() -> bytes:
    """Our own sources."""
    folder = pathlib.Path(streamlstm.__file__).parent
    return b"\n".join(path.read_bytes() for path in sorted(folder.glob("*.py")))


def completions(predictor: StreamPredictor, width: int = 3, length: int = 12) -> list[tuple[str, float]]:
    """The best ways to go on: a fork for each of `width` first symbols, each then takes its most probable path."""
    found = []
    for first, chance in predictor.top(width):
        branch, text = predictor.fork(), first
        branch.observe(first)
        while len(text) < length and not str(text[-1:]).isspace():
            symbol, p = branch.top(1)[0]
            if not isinstance(symbol, str) or not isinstance(text, str):
                break
            branch.observe(symbol)
            text, chance = text + symbol, chance * p
        found.append((str(text), chance))
    return found


text = pathlib.Path(sys.argv[1]).read_bytes()[:800_000] if len(sys.argv) > 1 else own_text()
predictor = StreamPredictor.pretrained()
predictor.observe_many(text)
predictor.learning = False
print(f"The bundled model has read {len(text):,} bytes. Now somebody types:\n")

before = predictor.predict()
for typed in ["def ", "import ", "    return ", "the weigh", "raise Val"]:
    branch = predictor.fork()
    branch.observe_many("\n" + typed)
    shown = "   ".join(f"{ending!r} {chance:.2f}" for ending, chance in completions(branch))
    print(f"  {typed!r:<16} {shown}")
assert (predictor.predict() == before).all(), "exploring changed the predictor"

started = time.perf_counter()
forks = [predictor.fork() for _ in range(1000)]
print(f"\n1,000 forks took {1000 * (time.perf_counter() - started):.1f} ms; the predictor itself has not changed.")
