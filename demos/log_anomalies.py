"""Find unusual lines and sessions in logs: `watch`, compared with simple methods that published studies recommend.

    python demos/log_anomalies.py FOLDER [--lines 2000] [--seed 0] [--first 500] [--thorough]
    python demos/log_anomalies.py --sessions FOLDER [--draws 25]

Lines. FOLDER holds one log per system as *.log (Loghub's samples of 2,000 lines: https://github.com/logpai/loghub). In
each log 1 % of the lines are made anomalous: replaced by a line of another log (`other`), or in one token by random
characters of the same classes (`token`). `own` uses the labels that come with BGL. All lines are read in order, each is
scored before anything is learned from it, and nothing is known in advance; the first 500 lines are not evaluated, and
they are left unchanged, because a model takes for normal what it has seen from the beginning (--first 0 changes them
too). The methods: z of `watch`; bits of a trigram model of characters; the rarity of the line's template so far, by
drain3 if it is installed and by a regular expression otherwise; and whether its event type is new. With --thorough,
`watch` reads every line in full.

Sessions. FOLDER holds hdfs.log, hdfs.log.gz or hdfs.log.xz, and labels.csv with the columns block and anomalous. In
`few normal ones`, each method learns from 1 % of the normal sessions, drawn at random, and scores all others (Landauer
et al. 2024, "A critical review of common log data sets", whose baselines these are; they drew from the whole of HDFS,
which is 97 times as large). In `one pass`, all methods read the log once, without labels, and the sessions in the order
in which they began; the first 100 are not evaluated. The methods: `SessionWatcher`; the number of new event types; the
distance to the nearest event count vector (ECVC); the number of new pairs of consecutive types (2-grams); the edit
distance to the nearest sequence; and the first two baselines together.

For each method: AUC, the area under the ROC curve; F1 at the best threshold; and the recall if 1 % of the lines or
sessions are raised, as a fraction of the highest that is possible. For `watch` also how many alarms it raises with its
default options per 10,000 lines. Without FOLDER a small made-up example runs.
"""

import argparse
import csv
import gzip
import lzma
import math
import random
import re
import string
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from streamlstm import SessionWatcher, StreamPredictor, Watcher
from streamlstm.watch.templates import event_type_of

WARMUP, WARMUP_SESSIONS, RAISED = 500, 100, 0.01
CHAR_CLASSES = (string.digits, string.ascii_lowercase, string.ascii_uppercase)
BLOCK = r"blk_-?\d+"


# Measures


def auc(scores, anomalous):
    """The area under the ROC curve: the probability that an anomalous one scores higher; ties count half."""
    labels = np.asarray(anomalous)
    if labels.all() or not labels.any():
        return math.nan
    _, ranks, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    places = (np.cumsum(sizes) - (sizes - 1) / 2)[ranks]
    n, m = labels.sum(), (~labels).sum()
    return float((places[labels].sum() - n * (n + 1) / 2) / (n * m))


def best_f1(scores, anomalous):
    """F1 at the best threshold; equal scores are on the same side of it."""
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    ranked, labels = np.asarray(scores, float)[order], np.asarray(anomalous)[order]
    f1 = 2 * np.cumsum(labels) / (np.arange(1, len(labels) + 1) + labels.sum())
    return float(f1[np.append(ranked[1:] != ranked[:-1], True)].max())


def recall(scores, anomalous):
    """The recall if RAISED of all are raised, of the highest possible; of equal scores the first ones are raised."""
    if not np.any(anomalous):
        return math.nan
    n = max(round(RAISED * len(anomalous)), 1)
    raised = np.argsort(-np.asarray(scores, float), kind="stable")[:n]
    return float(np.asarray(anomalous)[raised].sum() / min(n, np.asarray(anomalous).sum()))


def measures(scores, anomalous):
    """AUC, best F1, and recall."""
    return auc(scores, anomalous), best_f1(scores, anomalous), recall(scores, anomalous)


# Lines


def made_up() -> dict[str, list[str]]:
    """The logs of two small systems."""
    rng = random.Random(1)
    users, hosts = ["ada", "bob", "eve"], ["10.0.0.1", "10.0.0.7", "192.168.1.4"]
    web = [
        f"10:{n // 20 % 60:02d} GET /item/{rng.randint(1, 99)} {rng.choice([200, 200, 304])} from {rng.choice(hosts)}"
        for n in range(700)
    ]
    door = [f"door[{rng.randint(100, 999)}]: {rng.choice(users)} entered room {n % 9}" for n in range(700)]
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


def by_watch(lines: list[str], thorough: bool) -> tuple[list[float], list[bool]]:
    """The z of each line, and whether it is flagged, with the default options but `thorough`."""
    watcher = Watcher(StreamPredictor.pretrained(), thorough=thorough)
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


def by_new_type(lines: list[str]) -> list[float]:
    """1 if the event type of a line has not occurred, else 0."""
    seen: set[str] = set()
    scores = []
    for line in lines:
        event_type = event_type_of(line)
        scores.append(float(event_type not in seen))
        seen.add(event_type)
    return scores


def test_lines(logs: dict[str, list[str]], seed: int, first: int, thorough: bool) -> None:
    """Print the table of lines."""
    methods = {"trigrams": by_trigrams, "templates": by_templates, "new type": by_new_type}
    print(f"\n{'':<23}{'anom.':>6}   {'AUC':^37}   {'watch':^15}   {'alarms of watch':^27}")
    names = "".join(f"{name:>10}" for name in methods)
    columns = f"{'F1':>7}{'recall':>8}   {'per 10,000':>10}{'true':>7}{'false':>9}"
    print(f"{'log':<16}{'kind':<7}{'lines':>6}   {'watch':>7}{names}   {columns}")
    all_measures = defaultdict(list)
    for kind in ("other", "token", "own"):
        for name in logs:
            if kind == "own":
                if not name.startswith("BGL"):
                    continue
                anomalous = np.array([not line.startswith("- ") for line in logs[name]])
                lines = [line.split(" ", 1)[1] for line in logs[name]]  # without their labels
            else:
                lines, anomalous = corrupted(logs, name, kind, seed, first)
            z, flagged = by_watch(lines, thorough)
            scores = {"watch": z, **{method: score(lines) for method, score in methods.items()}}
            labels, alarms = anomalous[WARMUP:], np.array(flagged)[WARMUP:]
            found = {method: measures(values[WARMUP:], labels) for method, values in scores.items()}
            for method, values in found.items():
                all_measures[kind, method].append(values)
            areas = "".join(f"{values[0]:>10.4f}" for values in found.values())[3:]
            print(
                f"{name:<16}{kind:<7}{labels.sum():>6}   {areas}   {found['watch'][1]:>7.3f}{found['watch'][2]:>8.3f}"
                f"   {1e4 * alarms.mean():>10.0f}{alarms[labels].sum():>7}{alarms[~labels].sum():>9}",
                flush=True,
            )
    print(f"\n{'mean':<16}{'kind':<7}{'AUC':>9}{'F1':>8}{'recall':>8}")
    for (kind, method), values in all_measures.items():
        area, f1, found_recall = np.mean(values, axis=0)
        print(f"{method:<16}{kind:<7}{area:>9.4f}{f1:>8.3f}{found_recall:>8.3f}")


# Sessions


def read_sessions(folder: Path) -> tuple[list[tuple[str, str]], dict[str, bool]]:
    """The lines with their blocks, and whether each block is anomalous."""
    with open(folder / "labels.csv", newline="") as file:
        labels = {row["block"]: row["anomalous"] == "1" for row in csv.DictReader(file)}
    opener = {"hdfs.log": open, "hdfs.log.gz": gzip.open, "hdfs.log.xz": lzma.open}
    name = next(name for name in opener if (folder / name).exists())
    with opener[name](folder / name, "rt", errors="surrogateescape") as file:
        found = [(re.search(BLOCK, line), line.rstrip("\n")) for line in file]
    return [(match[0], line) for match, line in found if match], labels


def made_up_sessions() -> tuple[list[tuple[str, str]], dict[str, bool]]:
    """The sessions of a small system; in some a line is missing, or comes too early."""
    rng = random.Random(2)
    lines, labels = [], {}
    for n in range(600):
        block, reads = f"blk_{n}", rng.choice([0, 1, 1, 2])
        events = ["allocated", "received from 10.0.0.1", *["read by 10.0.0.7"] * reads, "verified", "deleted"]
        labels[block] = n % 40 == 39
        if labels[block]:
            event = events.pop(rng.choice([1, -2]))
            events = [event, *events] if rng.random() < 0.5 else events
        lines += [(block, f"{block} {event}") for event in events]
    return lines, labels


class Sequences:
    """The event types of each session as numbers, and the baselines on them.

    types  the sequence of each session
    """

    def __init__(self, sessions: dict[str, list[str]]) -> None:
        numbers: dict[str, int] = {}
        self.types = [
            np.array([numbers.setdefault(event_type_of(line.replace(name, "#")), len(numbers)) for line in lines])
            for name, lines in sessions.items()
        ]
        self.counts = np.array([np.bincount(types, minlength=len(numbers)) for types in self.types])
        self.pairs = [set(zip([-1, *types], [*types, -2], strict=True)) for types in self.types]

    def baselines(self, known: list[int], tested: list[int], has_edits: bool) -> dict[str, np.ndarray]:
        """The scores of the tested sessions by what the known ones have."""
        counts = self.counts[tested]
        new = (counts * ~(self.counts[known] > 0).any(axis=0)).sum(axis=1)
        vectors = np.unique(self.counts[known], axis=0)
        distances = [np.abs(counts - v).sum(axis=1) / np.maximum(counts, v).sum(axis=1) for v in vectors]
        ecvc = np.min(distances, axis=0)
        pairs = set().union(*(self.pairs[index] for index in known))
        grams = np.array([len(self.pairs[index] - pairs) for index in tested])
        edits = {"edit distance": self._edits(known, tested)} if has_edits else {}
        return {"new types": new, "ECVC": ecvc, "2-grams": grams, **edits, "new types, ECVC": 1000 * new + ecvc}

    def _edits(self, known: list[int], tested: list[int]) -> np.ndarray:
        """The edit distance to the nearest known sequence, by the longer length; all tested sequences at once."""
        lengths = np.array([len(self.types[index]) for index in tested])
        padded = np.full((lengths.max(), len(tested)), -1)
        for column, index in enumerate(tested):
            padded[: lengths[column], column] = self.types[index]
        nearest = np.full(len(tested), np.inf)
        for types in {self.types[index].tobytes(): self.types[index] for index in known}.values():
            row = np.repeat(np.arange(len(types) + 1)[:, None], len(tested), axis=1)  # row[i]: types[:i] to the text
            distance = row[-1].copy()
            for j, symbols in enumerate(padded, 1):
                diagonal, row[0] = row[0].copy(), j
                for i, other in enumerate(types, 1):
                    best = np.minimum(np.minimum(row[i], row[i - 1]) + 1, diagonal + (symbols != other))
                    diagonal, row[i] = row[i].copy(), best
                distance = np.where(lengths == j, row[-1], distance)
            nearest = np.minimum(nearest, distance / np.maximum(lengths, len(types)))
        return nearest

    def one_pass(self) -> dict[str, np.ndarray]:
        """The scores of the sessions, each by what the sessions before it have."""
        seen, pairs, vectors = np.zeros(self.counts.shape[1], bool), set(), np.zeros((0, self.counts.shape[1]), int)
        rows, known = [], set()
        for counts, own in zip(self.counts, self.pairs, strict=True):
            new = int(counts[~seen].sum())
            distances = np.abs(vectors - counts).sum(axis=1) / np.maximum(vectors, counts).sum(axis=1)
            ecvc = float(distances.min()) if len(distances) else 1.0
            rows.append((new, ecvc, len(own - pairs), 1000 * new + ecvc))
            seen, pairs = seen | (counts > 0), pairs | own
            if counts.tobytes() not in known:
                known.add(counts.tobytes())
                vectors = np.vstack([vectors, counts])
        return dict(zip(("new types", "ECVC", "2-grams", "new types, ECVC"), np.array(rows).T, strict=True))


def print_methods(title: str, found: dict[str, list[tuple[float, float, float]]]) -> None:
    """Print the mean of each measure for each method."""
    print(f"\n{title}\n{'method':<20}{'AUC':>9}{'F1':>9}{'recall':>9}")
    for method, values in found.items():
        print(f"{method:<20}" + "".join(f"{value:>9.4f}" for value in np.mean(values, axis=0)), flush=True)


def test_sessions(lines: list[tuple[str, str]], labels: dict[str, bool], draws: int) -> None:
    """Print the tables of sessions."""
    sessions: defaultdict[str, list[str]] = defaultdict(list)
    for block, line in lines:
        sessions[block].append(line)
    names, anomalous = list(sessions), np.array([labels[name] for name in sessions])
    sequences = Sequences(sessions)
    print(f"\n{len(lines):,} lines, {len(names):,} sessions, {anomalous.sum()} anomalous")

    watcher = SessionWatcher(StreamPredictor.pretrained(), session_regex=BLOCK, max_open=len(names))
    ended = [each for _, line in lines for each in watcher.observe(line)] + watcher.finish()
    tested = slice(WARMUP_SESSIONS, None)
    scores = {"SessionWatcher": np.array([each.score for each in ended]), **sequences.one_pass()}
    print_methods("one pass", {name: [measures(s[tested], anomalous[tested])] for name, s in scores.items()})
    flagged = np.array([each.flagged for each in ended])
    print(
        f"SessionWatcher flags {flagged.sum()} sessions, {1e4 * flagged.sum() / len(lines):.1f} per 10,000 lines; "
        f"{(flagged & anomalous).sum()} of them are anomalous"
    )

    found = defaultdict(list)
    normal = np.flatnonzero(~anomalous).tolist()
    for draw in range(draws):
        known = random.Random(draw).sample(normal, max(round(len(normal) / 100), 1))
        rest = sorted(set(range(len(names))) - set(known))
        watcher = SessionWatcher(StreamPredictor.pretrained(), session_regex=BLOCK)
        watcher.fit(sessions[names[index]] for index in known)
        found["SessionWatcher"].append(
            measures([watcher.score(sessions[names[index]]) for index in rest], anomalous[rest])
        )
        for name, values in sequences.baselines(known, rest, has_edits=True).items():
            found[name].append(measures(values, anomalous[rest]))
    if draws:
        print_methods(f"few normal ones ({draws} draws)", found)


parser = argparse.ArgumentParser(description="Find unusual lines and sessions in logs.")
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--sessions", metavar="FOLDER", type=Path)
parser.add_argument("--lines", type=int, default=2000)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--first", type=int, default=WARMUP)
parser.add_argument("--thorough", action="store_true")
parser.add_argument("--draws", type=int, default=25)
arguments = parser.parse_args()
if arguments.folder is None and arguments.sessions is None:
    print("This is a small made-up example; name a folder of logs (*.log) for the real table.")
    test_lines(made_up(), arguments.seed, arguments.first, arguments.thorough)
    test_sessions(*made_up_sessions(), draws=min(arguments.draws, 2))
if arguments.folder is not None:
    paths = sorted(arguments.folder.glob("*.log"))
    logs = {path.stem: path.read_bytes().decode("utf-8", "replace").splitlines()[: arguments.lines] for path in paths}
    if len(logs) < 2 or min(map(len, logs.values())) <= WARMUP:
        raise SystemExit(f"needs at least two logs of more than {WARMUP} lines")
    test_lines(logs, arguments.seed, arguments.first, arguments.thorough)
if arguments.sessions is not None:
    test_sessions(*read_sessions(arguments.sessions), draws=arguments.draws)
