"""Are the kinds of lines those that people see? Grouping accuracy of templates, beside Drain3.

    python demos/templates.py [LOGS TEMPLATES]

LOGS holds Loghub's samples of 2,000 lines (NAME_2k.log), TEMPLATES the templates that people made of them
(NAME_2k.log_templates.csv, in the same repository: https://github.com/logpai/loghub). A line belongs to the template
that matches its message, the longest one if several do. The grouping accuracy is the fraction of lines whose group,
all lines with the same template, has exactly the lines of a group by hand (Zhu et al. 2019, "Tools and benchmarks for
automated log parsing"). What comes before the message, such as a time or a level, is removed, as in that benchmark.
Drain3 runs with its default settings, if it is installed (pip install drain3). Nothing is set for a log. Without LOGS a
small made-up log is used.
"""

import argparse
import csv
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from streamlstm.watch.templates import event_type_of, kind_of

HEADERS = {
    "HDFS": r"\d+ \d+ \d+ \w+ [^:]+: ",
    "OpenSSH": r"\w+ +\d+ [\d:]+ \S+ sshd\[\d+\]: ",
    "Zookeeper": r"[\d-]+ [\d:,]+ - \w+ +\[.*?:[^\]]*@\d+\] - ",
    "Spark": r"[\d/]+ [\d:]+ \w+ [^:]+: ",
}
"""What comes before the message of a line."""


def groups(names: list) -> set:
    """The groups of lines with the same name."""
    found = defaultdict(list)
    for index, name in enumerate(names):
        found[name].append(index)
    return {tuple(each) for each in found.values()}


def grouping_accuracy(found: list, by_hand: list) -> float:
    """The fraction of lines whose group is one of those by hand."""
    same = groups(found) & groups(by_hand)
    return sum(map(len, same)) / len(found)


def by_hand(messages: list[str], path: Path) -> list[str]:
    """The template by hand of each message; "" for none."""
    with open(path, encoding="utf-8") as file:
        templates = [row["EventTemplate"] for row in csv.DictReader(file)]
    patterns = []
    for template in sorted(templates, key=lambda each: -len(each.replace("<*>", ""))):
        parts = (re.escape(part) for part in template.split("<*>"))
        patterns.append((template, re.compile("(.*?)".join(parts) + r"\s*")))
    return [next((name for name, pattern in patterns if pattern.fullmatch(each)), "") for each in messages]


def drain3(messages: list[str]) -> list[int]:
    """The cluster of each message by Drain3, after it has read them all."""
    from drain3 import TemplateMiner

    miner = TemplateMiner()
    return [miner.add_log_message(each)["cluster_id"] for each in messages]


def made_up() -> tuple[list[str], list[str]]:
    """The messages of a small log, and their templates."""
    templates = [
        "worker <*> started",
        "read <*> rows from /data/<*>",
        "user <*> logged in",
        "cannot reach <*>: refused",
    ]
    values = ["7", "0x1f", "10.0.0.3:80", "part-00017", "4711"]
    draw = random.Random(1)
    labels = draw.choices(templates, k=200)
    return [re.sub("<[*]>", lambda _: draw.choice(values), label) for label in labels], labels


def real(logs: Path, templates: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each log with its messages and their templates; messages without one are left out."""
    for name, header in HEADERS.items():
        lines = (logs / f"{name}_2k.log").read_text("utf-8", "surrogateescape").splitlines()
        messages = [re.sub(f"^{header}", "", line) for line in lines]
        labels = by_hand(messages, templates / f"{name}_2k.log_templates.csv")
        pairs = [pair for pair in zip(messages, labels, strict=True) if pair[1]]
        yield name, *map(list, zip(*pairs, strict=True))


def main() -> None:
    """Print a row for each log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, nargs="?")
    parser.add_argument("templates", type=Path, nargs="?")
    args = parser.parse_args()
    methods = {"kind_of": lambda lines: list(map(kind_of, lines))}
    methods["event_type_of"] = lambda lines: list(map(event_type_of, lines))
    if find_spec("drain3"):
        methods["Drain3"] = drain3
    print(f"{'log':<12} {'lines':>6} {'by hand':>8}" + "".join(f" {name:>20}" for name in methods))
    for name, messages, labels in real(args.logs, args.templates) if args.templates else [("made up", *made_up())]:
        row = f"{name:<12} {len(messages):>6} {len(set(labels)):>8}"
        for method in methods.values():
            found = method(messages)
            row += f" {grouping_accuracy(found, labels):>12.3f} ({len(set(found)):>5})"
        print(row)


if __name__ == "__main__":
    main()
