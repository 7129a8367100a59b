"""Are the kinds of lines those that people see? Grouping accuracy of templates, beside Drain3.

    python demos/templates.py LOGS TEMPLATES

LOGS holds Loghub's samples of 2,000 lines (NAME_2k.log), TEMPLATES the templates that people made of them
(NAME_2k.log_templates.csv, in the same repository: https://github.com/logpai/loghub). A line belongs to the template
that matches its message, the longest one if several do. The grouping accuracy is the fraction of lines whose group,
all lines with the same template, has exactly the lines of a group by hand (Zhu et al. 2019, "Tools and benchmarks for
automated log parsing"). What comes before the message, such as a time or a level, is removed, as in that benchmark.
Drain3 (pip install drain3) runs with its default settings. Nothing is set for a log.
"""

import argparse
import csv
import re
import sys
from collections import defaultdict
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path)
    parser.add_argument("templates", type=Path)
    args = parser.parse_args()
    methods = {
        "kind_of": lambda lines: list(map(kind_of, lines)),
        "event_type_of": lambda x: list(map(event_type_of, x)),
    }
    methods["Drain3"] = drain3
    print(f"{'log':<12} {'lines':>6} {'by hand':>8}" + "".join(f" {name:>20}" for name in methods))
    for name, header in HEADERS.items():
        lines = (args.logs / f"{name}_2k.log").read_text("utf-8", "surrogateescape").splitlines()
        messages = [re.sub(f"^{header}", "", line) for line in lines]
        labels = by_hand(messages, args.templates / f"{name}_2k.log_templates.csv")
        kept = [index for index, label in enumerate(labels) if label]
        messages, labels = [messages[index] for index in kept], [labels[index] for index in kept]
        row = f"{name:<12} {len(kept):>6} {len(set(labels)):>8}"
        for method in methods.values():
            found = method(messages)
            row += f" {grouping_accuracy(found, labels):>12.3f} ({len(set(found)):>5})"
        print(row)


if __name__ == "__main__":
    sys.exit(main())
