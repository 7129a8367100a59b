"""Reading times and surprisal: Natural Stories, compared with the published surprisal of GPT-3.

    python demos/reading_time.py FOLDER [--freeze]

FOLDER contains `naturalstories_words.tsv`, one word per row, with the columns story, word, mean_rt_ms,
gpt3_surprisal_bits and log2_count_google1gram (words and times: https://github.com/languageMIT/naturalstories;
Futrell et al. 2021).

Each story is read from a fresh state. The demo prints Pearson's r between the surprisal of a word and its mean reading
time. It also prints what surprisal adds to a linear regression on length, frequency, their product, the position in the
story, and length and frequency of the word before (spillover): the gain in R² and in log-likelihood per word, and the
t-value. The regression uses the surprisal of the word and that of the word before it. The first two words of a story
are skipped, because they lack earlier words. Without a folder the demo uses made-up words and times.
"""

import argparse
import csv
import math
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamlstm import StreamPredictor, score_by

Values = NDArray[np.float64]


def made_up() -> list[dict[str, str]]:
    """Words with random reading times that depend on their lengths."""
    chance = random.Random(3)
    text = "The children walked to the river in the morning and saw a heron that stood quite still in the reeds. " * 2
    return [
        {
            "story": "1",
            "word": word,
            "mean_rt_ms": str(300 + 8 * len(word) + chance.gauss(0, 20)),
            "gpt3_surprisal_bits": str(len(word) + chance.gauss(0, 2)),
            "log2_count_google1gram": str(30 - len(word)),
        }
        for word in text.split()
    ]


def surprisals(words: list[str], word_boundary: str, learn: bool) -> list[float]:
    """The surprisal in bits of each word of a story under the bundled model."""
    predictor = StreamPredictor.pretrained()
    predictor.learning = learn
    predictor.observe_many("\n\n")
    tables = score_by(predictor, " ".join(words), "word", word_boundary=word_boundary)
    bits = [float(each) for scores in tables for each in scores.bits]
    if len(bits) != len(words):
        raise SystemExit("a word contains white space")
    return bits


def regression(predictors: list[Values], times: Values) -> tuple[float, float, Values]:
    """R², log-likelihood (nats) and t-values of a least-squares fit with an intercept."""
    x = np.column_stack([np.ones(len(times)), *[(p - p.mean()) / p.std() for p in predictors]])
    weights, *_ = np.linalg.lstsq(x, times, rcond=None)
    residuals = times - x @ weights
    n, error = len(times), float(residuals @ residuals)
    r2 = 1 - error / float(((times - times.mean()) ** 2).sum())
    deviations = np.sqrt(error / (n - x.shape[1]) * np.diag(np.linalg.pinv(x.T @ x)))
    return r2, -n / 2 * (math.log(2 * math.pi * error / n) + 1), weights / deviations


parser = argparse.ArgumentParser(description="Surprisal and reading times.")
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--freeze", action="store_true", help="do not learn from the stories")
arguments = parser.parse_args()
if arguments.folder is None:
    print("Give a folder with naturalstories_words.tsv for the real table; these are made-up words and times.")
    rows = made_up()
else:
    with open(arguments.folder / "naturalstories_words.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

stories: dict[str, list[dict[str, str]]] = {}
for row in rows:
    stories.setdefault(row["story"], []).append(row)

ours = {"trailing": "streamlstm, trailing", "leading": "streamlstm, leading"}
columns: dict[str, list[float]] = {name: [] for name in (*ours.values(), "GPT-3 (published)")}
before: dict[str, list[float]] = {name: [] for name in columns}
times: list[float] = []
control: list[list[float]] = []
for story in stories.values():
    words = [row["word"] for row in story]
    of_story = {name: surprisals(words, boundary, not arguments.freeze) for boundary, name in ours.items()}
    of_story["GPT-3 (published)"] = [float(row["gpt3_surprisal_bits"] or "nan") for row in story]
    for at in range(2, len(story)):
        lengths = [float(len(words[at - back])) for back in (0, 1)]
        frequencies = [float(story[at - back]["log2_count_google1gram"] or "nan") for back in (0, 1)]
        values = [float(story[at]["mean_rt_ms"] or "nan"), *frequencies]
        values += [bits[at - back] for bits in of_story.values() for back in (0, 1)]
        if not np.isfinite(values).all():
            continue
        times.append(values[0])
        control.append([*lengths, *frequencies, lengths[0] * frequencies[0], lengths[1] * frequencies[1], float(at)])
        for name, bits in of_story.items():
            columns[name].append(bits[at])
            before[name].append(bits[at - 1])

measured = np.array(times)
baseline = list(np.array(control).T)
r2, likelihood, _ = regression(baseline, measured)
print(f"\n{len(measured):,} words of {len(stories)} stories; R² of the baseline {r2:.4f}\n")
print(
    f"{'surprisal':<24}{'bits/word':>10}{'r with time':>13}{'gain in R²':>12}{'ΔLL/word':>11}{'t':>8}{'t before':>10}"
)
for name, bits in columns.items():
    now, earlier = np.array(bits), np.array(before[name])
    more_r2, more_likelihood, t = regression([*baseline, now, earlier], measured)
    print(
        f"{name:<24}{now.mean():>11.2f}{np.corrcoef(now, measured)[0, 1]:>13.4f}{more_r2 - r2:>12.4f}"
        f"{(more_likelihood - likelihood) / len(measured):>10.5f}{t[-2]:>3.0f}{t[-1]:>10.0f}"
    )
matrix = np.corrcoef([columns[name] for name in columns])
print("\n" + "; ".join(f"r of {name} with GPT-3's {matrix[i, -1]:.3f}" for i, name in enumerate(ours.values())))
