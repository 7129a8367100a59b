"""Strange lines in logs: the area under the ROC curve of `watch`, beside a trigram of characters and line templates.

    python demos/log_anomalies.py FOLDER [--lines 2000] [--seed 0] [--first 500]

FOLDER holds the logs as *.log, a system each (Loghub's samples of 2,000 lines: https://github.com/logpai/loghub).
1 % of each log's lines are replaced: by lines of another log (`other`), or in one token by random characters of the
same shape (`token`); `own` are the labels that BGL brings along. Scored in stream order, the first 500 lines aside;
they are left as they are, for what was there from the beginning is normal to whoever learns (--first 0: they are not).
Without a folder a small made-up example runs. drain3, if it is installed, makes the templates, else a regular
expression does.
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
KINDS = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


def made_up() -> dict[str, list[str]]:
    """Two small systems."""
    chance = random.Random(1)
    users, hosts = ["ada", "bob", "eve"], ["10.0.0.1", "10.0.0.7", "192.168.1.4"]
    web = [
        f"10:{n // 20 % 60:02d} GET /item/{chance.randint(1, 99)} {chance.choice([200, 200, 304])} "
        f"from {chance.choice(hosts)}"
        for n in range(580)
    ]
    door = [f"door[{chance.randint(100, 999)}]: {chance.choice(users)} entered room {n % 9}" for n in range(580)]
    return {"web": web, "door": door}


def same_shape(token: str, chance: random.Random) -> str:
    """Random characters, each of the kind that stood there."""
    return "".join(next((chance.choice(kind) for kind in KINDS if c in kind), c) for c in token)


def corrupted(logs: dict[str, list[str]], name: str, kind: str, seed: int, first: int) -> tuple[list[str], np.ndarray]:
    """A log with strange lines, from a first place on, and which they are."""
    chance = random.Random(f"{name} {kind} {seed}")
    lines, strange = list(logs[name]), np.zeros(len(logs[name]), dtype=bool)
    others = [other for other in logs if other != name]
    for index in chance.sample(range(first, len(lines)), (len(lines) - first) // 100):
        strange[index] = True
        if kind == "other":
            lines[index] = chance.choice(logs[chance.choice(others)])
        else:
            tokens = lines[index].split(" ")
            words = [place for place, token in enumerate(tokens) if any(map(str.isalpha, token))] or [0]
            place = chance.choice(words)
            tokens[place] = same_shape(tokens[place], chance)
            lines[index] = " ".join(tokens)
    return lines, strange


def by_watch(lines: list[str]) -> tuple[list[float], list[bool]]:
    """z, and whether the line is flagged, with the defaults."""
    watcher = Watcher(StreamPredictor.pretrained())
    watched = [watcher.observe(line + "\n") for line in lines]
    return [line.z for line in watched], [line.flagged for line in watched]


def by_trigrams(lines: list[str]) -> list[float]:
    """Mean bits per character of an online model of order 3, which falls back to shorter contexts (Witten-Bell)."""
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
    """How rare a line's template has been so far."""
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


def auc(scores: list[float], strange: np.ndarray) -> float:
    """The chance that a strange line scores higher than another; ties count half."""
    values, labels = np.array(scores)[WARMUP:], strange[WARMUP:]
    if labels.all() or not labels.any():
        return math.nan
    _, ranks, sizes = np.unique(values, return_inverse=True, return_counts=True)
    places = (np.cumsum(sizes) - (sizes - 1) / 2)[ranks]
    n, m = labels.sum(), (~labels).sum()
    return float((places[labels].sum() - n * (n + 1) / 2) / (n * m))


parser = argparse.ArgumentParser(description="Strange lines in logs.")
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--lines", type=int, default=2000)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--first", type=int, default=WARMUP)
arguments = parser.parse_args()
if arguments.folder is None:
    print("Give a folder of logs (*.log) for the real table; this is a small made-up example.")
    logs = made_up()
else:
    paths = sorted(arguments.folder.glob("*.log"))
    logs = {path.stem: path.read_bytes().decode("utf-8", "replace").splitlines()[: arguments.lines] for path in paths}
if len(logs) < 2 or min(map(len, logs.values())) <= WARMUP:
    raise SystemExit(f"needs at least two logs of more than {WARMUP} lines")

print(f"\n{'':<16}{'kind':<7}{'strange':>8}   {'area under the ROC curve':^33}   {'flagged by watch, of the':^25}")
print(f"{'log':<16}{'':<7}{'lines':>8}   {'watch':>9}{'trigrams':>12}{'templates':>12}   {'strange':>11}{'others':>14}")
for kind in ("other", "token", "own"):
    for name in logs:
        if kind == "own":
            if not name.startswith("BGL"):
                continue
            strange = np.array([not line.startswith("- ") for line in logs[name]])
            lines = [line.split(" ", 1)[1] for line in logs[name]]  # without the label
        else:
            lines, strange = corrupted(logs, name, kind, arguments.seed, arguments.first)
        z, flagged = by_watch(lines)
        areas = [auc(scores, strange) for scores in (z, by_trigrams(lines), by_templates(lines))]
        alarms, labels = np.array(flagged)[WARMUP:], strange[WARMUP:]
        print(
            f"{name:<16}{kind:<7}{labels.sum():>8}   {areas[0]:>9.4f}{areas[1]:>12.4f}{areas[2]:>12.4f}"
            f"   {alarms[labels].sum():>5} of {labels.sum():<4}{alarms[~labels].sum():>6} of {(~labels).sum()}",
            flush=True,
        )
