"""Reading times and surprisal: which part of the model predicts them, on Natural Stories.

    python demos/reading_time.py FOLDER [--freeze]

FOLDER contains `naturalstories_words.tsv`, one word per row, with the columns story, word, mean_rt_ms,
gpt3_surprisal_bits and log2_count_google1gram (words and times: https://github.com/languageMIT/naturalstories;
Futrell et al. 2021).

Each story is read from a fresh state. The surprisal of a word is that of the model, of its network alone, of its counts
alone (the expert `order 6`), and that of GPT-3. With --freeze nothing is counted, and there are no counts alone.

The demo prints Pearson's r between surprisal and the mean reading time. It also prints what surprisal adds to a linear
regression on length, frequency, their product, the position in the story, and length and frequency of the word before
(spillover): the gain in R² and the t-value, and the gain in log-likelihood per word on stories that the regression was
not fitted to; each story in turn is left out. The regression uses the surprisal of the word and that of the word before
it. The first two words of a story are skipped, because they lack earlier words.

The second table has the same for regions of three words, with their total reading time. Without a folder the demo uses
made-up words and times.
"""

import argparse
import csv
import math
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm import StreamPredictor
from streamlstm.integrations.regions import Region, region_table

Values = NDArray[np.float64]
OURS = {
    "model, trailing": "bits_trailing",
    "model, leading": "bits_leading",
    "network alone": "bits_network_trailing",
    "counts alone": "bits_order_6_trailing",
}
GPT3 = "GPT-3 (published)"


class Story(NamedTuple):
    """The regions of a story: times, lengths and frequencies [n], and surprisals by the name of their source."""

    times: Values
    lengths: Values
    frequencies: Values
    surprisals: dict[str, Values]


def made_up() -> list[dict[str, str]]:
    """Two stories with random reading times that depend on the lengths of the words."""
    chance = random.Random(3)
    text = "The children walked to the river in the morning and saw a heron that stood quite still in the reeds. " * 2
    return [
        {
            "story": story,
            "word": word,
            "mean_rt_ms": str(300 + 8 * len(word) + chance.gauss(0, 20)),
            "gpt3_surprisal_bits": str(len(word) + chance.gauss(0, 2)),
            "log2_count_google1gram": str(30 - len(word)),
        }
        for story in "12"
        for word in text.split()
    ]


def measured(rows: list[dict[str, str]], size: int, learn: bool) -> Story:
    """A story in regions of `size` words, read by the bundled model."""
    groups = [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]
    predictor = StreamPredictor.pretrained()
    predictor.learn = "all" if learn else "nothing"
    predictor.observe_many("\n\n")
    regions = [Region(str(n), " ".join(row["word"] for row in group)) for n, group in enumerate(groups)]
    table = region_table(predictor, regions, explain=True)

    def total(column: str) -> Values:
        return np.array([sum(float(row[column] or "nan") for row in group) for group in groups])

    columns = {name: column for name, column in OURS.items() if learn or name != "counts alone"}
    surprisals = {name: np.asarray(table[column], dtype=np.float64) for name, column in columns.items()}
    surprisals[GPT3] = total("gpt3_surprisal_bits")
    lengths = np.array([float(len(region.text)) for region in regions])
    return Story(total("mean_rt_ms"), lengths, total("log2_count_google1gram"), surprisals)


def two(values: Values) -> Values:
    """The values of each region and of the one before it, [n - 2, 2], from the third region on."""
    return np.column_stack([values[2:], values[1:-1]])


def baseline(story: Story) -> Values:
    """Predictors of the reading times apart from surprisal."""
    lengths, frequencies = two(story.lengths), two(story.frequencies)
    place = np.arange(2.0, len(story.times))
    return np.column_stack([lengths, frequencies, lengths * frequencies, place])


def fit(x: Values, times: Values) -> tuple[Values, Values]:
    """The coefficients of a least-squares fit, and their t-values."""
    weights = np.asarray(np.linalg.lstsq(x, times, rcond=None)[0], dtype=np.float64)
    residuals = times - x @ weights
    variance = float(residuals @ residuals) / (len(times) - x.shape[1])
    return weights, weights / np.sqrt(variance * np.diag(np.linalg.pinv(x.T @ x)))


def r_squared(x: Values, times: Values) -> float:
    """R² of a fit."""
    residuals = times - x @ fit(x, times)[0]
    return 1 - float(residuals @ residuals) / float(((times - times.mean()) ** 2).sum())


def held_out(x: Values, times: Values, stories: Values) -> float:
    """The log-likelihood in nats per region of the times of each story, under a fit to all the others."""
    total = 0.0
    for story in np.unique(stories):
        out = stories == story
        weights, _ = fit(x[~out], times[~out])
        variance = float(((times[~out] - x[~out] @ weights) ** 2).mean())
        errors = times[out] - x[out] @ weights
        total -= float((errors**2 / variance + math.log(2 * math.pi * variance)).sum()) / 2
    return total / len(times)


def show(title: str, stories: list[Story]) -> None:
    """Print the table for the regions of all stories."""
    times = np.concatenate([story.times[2:] for story in stories])
    control = np.concatenate([baseline(story) for story in stories])
    number = np.concatenate([np.full(len(story.times) - 2, n) for n, story in enumerate(stories)])
    surprisals = {name: np.concatenate([two(s.surprisals[name]) for s in stories]) for name in stories[0].surprisals}
    known = np.isfinite(np.column_stack([times, control, *surprisals.values()])).all(axis=1)
    times, control, number = times[known], control[known], number[known]
    plain = np.column_stack([np.ones(len(times)), (control - control.mean(0)) / control.std(0)])
    r2, likelihood = r_squared(plain, times), held_out(plain, times, number)
    print(f"\n{len(times):,} {title} of {len(stories)} stories; R² of the baseline {r2:.4f}\n")
    heads = f"{'bits':>10}{'r with time':>13}{'gain in R²':>12}{'held-out ΔLL':>14}{'t':>8}{'t before':>10}"
    print(f"{'surprisal':<20}{heads}")
    for name, both in surprisals.items():
        bits = both[known]
        x = np.column_stack([plain, (bits - bits.mean(0)) / bits.std(0)])
        t = fit(x, times)[1]
        r = np.corrcoef(bits[:, 0], times)[0, 1]
        gain = held_out(x, times, number) - likelihood
        print(
            f"{name:<20}{bits[:, 0].mean():>10.2f}{r:>13.4f}{r_squared(x, times) - r2:>12.4f}"
            f"{gain:>14.5f}{t[-2]:>8.1f}{t[-1]:>10.1f}"
        )


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

by_story: dict[str, list[dict[str, str]]] = {}
for row in rows:
    by_story.setdefault(row["story"], []).append(row)
for size, title in ((1, "words"), (3, "regions of three words")):
    show(title, [measured(each, size, not arguments.freeze) for each in by_story.values()])
