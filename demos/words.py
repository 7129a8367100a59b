"""Measure how much generated text reads like English: the share of its words that occur in training text.

    python demos/words.py --in FOLDER [--model NAME|FILE] [--grid]

20 samples of 300 characters continue the beginnings of English sentences. A row has the share of their words that
occur in the files of the folder, the share that occur at least 10 times, and the share of words that are different
from all words before in the same sample: text that goes round in circles has few of these. A word is a run of letters
and apostrophes, in lower case; the last of a sample, which may be incomplete, does not count. --grid measures other
temperatures and top_p beside the defaults. The first sample of each row is printed below the table.
Without a FOLDER the words are those of the demos.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from streamlstm import StreamPredictor, generate

PROMPTS = (
    "The old house stood at the end of ",
    "It was late in the evening when ",
    "She looked at him and ",
    "In the first year of the war, ",
    "The most important thing about ",
)
SEEDS, LENGTH = range(4), 300
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
GRID = [(t, p) for p in (1.0, 0.95, 0.9, 0.8) for t in (1.0, 0.8, 0.7, 0.6, 0.5)]


def words_of(text: str) -> list[str]:
    return WORD.findall(text.lower().replace("’", "'"))


def samples(predictor: StreamPredictor, **options: float) -> list[str]:
    """One text for each prompt and seed, without the prompt's last, incomplete word."""
    texts = []
    for prompt in PROMPTS:
        texts += ["".join(generate(predictor, LENGTH, prompt, seed=seed, **options)) for seed in SEEDS]
    return texts


def shares(texts: list[str], known: Counter[str]) -> tuple[float, float, float]:
    """The shares of words that are known, that are frequent, and that are new in their text."""
    by_text = [words_of(text)[:-1] for text in texts]
    words = [word for words in by_text for word in words]
    n = max(len(words), 1)
    seen, often = (sum(known[word] >= least for word in words) / n for least in (1, 10))
    return seen, often, sum(len(set(words)) for words in by_text) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent
    parser.add_argument("--in", dest="folder", type=Path, metavar="FOLDER", default=here, help="the training text")
    parser.add_argument("--model", default="small", metavar="NAME|FILE", help="a bundled model or a checkpoint")
    parser.add_argument("--grid", action="store_true", help="measure many temperatures and top_p")
    options = parser.parse_args()
    known: Counter[str] = Counter()
    for file in sorted(path for path in options.folder.rglob("*") if path.is_file()):
        known.update(words_of(file.read_text(errors="replace")))
    is_file = Path(options.model).is_file()
    predictor = StreamPredictor.load(options.model) if is_file else StreamPredictor.pretrained(options.model)
    print(f"{'temperature':>12}{'top_p':>8}{'known':>8}{'10 times':>10}{'new':>8}")
    rows = [{}, *({"temperature": t, "top_p": p} for t, p in GRID if options.grid)]
    firsts = []
    for row in rows:
        texts = samples(predictor, **row)
        names = [f"{row[name]:.2f}" if row else "default" for name in ("temperature", "top_p")]
        seen, often, new = shares(texts, known)
        print(f"{names[0]:>12}{names[1]:>8}{seen:>8.1%}{often:>10.1%}{new:>8.1%}", flush=True)
        firsts.append((names, texts[0]))
    for names, text in firsts:
        print(f"\ntemperature {names[0]}, top_p {names[1]}:\n{PROMPTS[0]}{text}")


if __name__ == "__main__":
    main()
