"""Fuzz one target, or all, one after the other:

python tests/fuzz TARGET --seconds 60
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("NUMBA_BOUNDSCHECK", "1")  # before numba is imported
sys.path.insert(0, str(Path(__file__).parents[1]))  # the folder of `nets`

import time

from engine import CORPUS, campaign
from targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--cases", type=int, default=10**12, help="run so many cases")
    parser.add_argument("--seconds", type=float, default=60, help="or for so long")
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() // 1000, help="of the random numbers; default: the time"
    )
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="has a folder for each target; what fails is added")
    given = parser.parse_args()
    failed = False
    for name in TARGETS if given.target == "all" else [given.target]:
        began = time.monotonic()
        n_cases, n_accepted, failures = campaign(
            TARGETS[name], given.corpus / name, given.cases, given.seconds, given.seed
        )
        seconds = time.monotonic() - began
        print(
            f"{name}: {n_cases:,} cases, {n_accepted:,} accepted ({n_accepted / seconds:,.1f}/s), "
            f"{len(failures)} failures in {seconds:,.0f} s, seed {given.seed}",
            *failures,
            sep="\n  ",
            flush=True,
        )
        failed = failed or bool(failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
