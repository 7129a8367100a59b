"""Find unusual lines in logs: `watch` compared with a trigram model of characters and with line templates.

    python demos/log_anomalies.py FOLDER [--lines 2000] [--seed 0] [--first 500]

FOLDER holds one log per system as *.log (Loghub's samples of 2,000 lines: https://github.com/logpai/loghub). In each
log 1 % of the lines are made anomalous: replaced by a line of another log (`other`), or in one token by random
characters of the same classes (`token`). `own` uses the labels that come with BGL.
The table gives the area under the ROC curve. All lines are read in order; the first 500 lines are not evaluated, and
they are left unchanged, because a model takes for normal what it has seen from the beginning (--first 0 changes them
too). Without FOLDER a small made-up example runs. The templates are those of drain3 if it is installed, and of a
regular expression otherwise.
"""

import argparse
import math
import random
import re
import string
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from streamlstm import StreamPredictor, Watcher

WARMUP = 500
CHAR_CLASSES = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


def made_up() -> dict[str, list[str]]:
    """The logs of two small systems."""
    rng = random.Random(1)
    users, hosts = ["ada", "bob", "eve"], ["10.0.0.1", "10.0.0.7", "192.168.1.4"]
    web = [
        f"10:{n // 20 % 60:02d} GET /item/{rng.randint(1, 99)} {rng.choice([200, 200, 304])} from {rng.choice(hosts)}"
        for n in range(580)
    ]
    door = [f"door[{rng.randint(100, 999)}]: {rng.choice(users)} entered room {n % 9}" for n in range(580)]
    return {"web": web, "door": door}


def randomised(token: str, rng: random.Random) -> str:
    """Random characters of the same classes as those of a token."""
    return "".join(next((rng.choice(chars) for chars in CHAR_CLASSES if c in chars), c) for c in token)


def corrupted(logs: dict[str, list[str]], name: str, kind: str, seed: int, first: int) -> tuple[list[str], np.ndarray]:
    """A log in which some lines from `first` on are anomalous, and which ones are, bool [n]."""
    rng = random.Random(f"{name} {kind} {seed}")
    lines, anomalous = list(logs[name]), np.zeros(len(logs[name]), dtype=bool)
    others = [other for other in logs if other != name]
    for index in rng.sample(range(first, len(lines)), (len(lines) - first) // 100):
        anomalous[index] = True
        if kind == "other":
            lines[index] = rng.choice(logs[rng.choice(others)])
        else:
            tokens = lines[index].split(" ")
            words = [at for at, token in enumerate(tokens) if any(map(str.isalpha, token))] or [0]
            at = rng.choice(words)
            tokens[at] = randomised(tokens[at], rng)
            lines[index] = " ".join(tokens)
    return lines, anomalous


def by_watch(lines: list[str]) -> tuple[list[float], list[bool]]:
    """The z of each line, and whether it is flagged, with the default options."""
    watcher = Watcher(StreamPredictor.pretrained())
    watched = [watcher.observe(line + "\n") for line in lines]
    return [line.z for line in watched], [line.flagged for line in watched]


def by_trigrams(lines: list[str]) -> list[float]:
    """Mean bits per character under an online model of order 3 with Witten-Bell smoothing."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    scores = []
    for line in lines:
        text, bits = "\n\n\n" + line + "\n", 0.0
        for at in range(3, len(text)):
            p = 1 / 256
            for order in range(4):
                seen = counts[text[at - order : at]]
                total, kinds = seen.total(), len(seen)
                p = (seen[text[at]] + kinds * p) / (total + kinds) if total else p
            bits -= math.log2(p)
            for order in range(4):
                counts[text[at - order : at]][text[at]] += 1
        scores.append(bits / (len(line) + 1))
    return scores


def by_templates(lines: list[str]) -> list[float]:
    """The rarity of each line's template so far: minus the logarithm of its count."""
    try:
        from drain3 import TemplateMiner
        from drain3.template_miner_config import TemplateMinerConfig

        miner = TemplateMiner(config=TemplateMinerConfig())
        return [-math.log(miner.add_log_message(line)["cluster_size"]) for line in lines]
    except ImportError:
        seen: Counter[str] = Counter()
        scores = []
        for line in lines:
            template = re.sub(r"\S*\d\S*", "#", line)
            seen[template] += 1
            scores.append(-math.log(seen[template]))
        return scores


def auc(scores: list[float], anomalous: np.ndarray) -> float:
    """The area under the ROC curve: the probability that an anomalous line scores higher; ties count half."""
    values, labels = np.array(scores)[WARMUP:], anomalous[WARMUP:]
    if labels.all() or not labels.any():
        return math.nan
    _, ranks, sizes = np.unique(values, return_inverse=True, return_counts=True)
    places = (np.cumsum(sizes) - (sizes - 1) / 2)[ranks]
    n, m = labels.sum(), (~labels).sum()
    return float((places[labels].sum() - n * (n + 1) / 2) / (n * m))


parser = argparse.ArgumentParser(description="Find unusual lines in logs.")
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--lines", type=int, default=2000)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--first", type=int, default=WARMUP)
arguments = parser.parse_args()
if arguments.folder is None:
    print("This is a small made-up example; name a folder of logs (*.log) for the real table.")
    logs = made_up()
else:
    paths = sorted(arguments.folder.glob("*.log"))
    logs = {path.stem: path.read_bytes().decode("utf-8", "replace").splitlines()[: arguments.lines] for path in paths}
if len(logs) < 2 or min(map(len, logs.values())) <= WARMUP:
    raise SystemExit(f"needs at least two logs of more than {WARMUP} lines")

print(f"\n{'':<16}{'kind':<7}{'anomalous':>10}   {'area under the ROC curve':^33}   {'flagged by watch, of the':^25}")
print(
    f"{'log':<16}{'':<7}{'lines':>10}   {'watch':>9}{'trigrams':>12}{'templates':>12}   {'anomalous':>11}{'others':>14}"
)
for kind in ("other", "token", "own"):
    for name in logs:
        if kind == "own":
            if not name.startswith("BGL"):
                continue
            anomalous = np.array([not line.startswith("- ") for line in logs[name]])
            lines = [line.split(" ", 1)[1] for line in logs[name]]  # without their labels
        else:
            lines, anomalous = corrupted(logs, name, kind, arguments.seed, arguments.first)
        z, flagged = by_watch(lines)
        areas = [auc(scores, anomalous) for scores in (z, by_trigrams(lines), by_templates(lines))]
        alarms, labels = np.array(flagged)[WARMUP:], anomalous[WARMUP:]
        print(
            f"{name:<16}{kind:<7}{labels.sum():>10}   {areas[0]:>9.4f}{areas[1]:>12.4f}{areas[2]:>12.4f}"
            f"   {alarms[labels].sum():>5} of {labels.sum():<4}{alarms[~labels].sum():>6} of {(~labels).sum()}",
            flush=True,
        )
