"""Fuzz one target, or all, one after the other:

python tests/fuzz TARGET --cases 100000 --seconds 60
"""

import argparse
import hashlib
import sys
from pathlib import Path

from engine import CORPUS, Find, Fuzzer, cases_in, minimised
from targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--cases", type=int, default=10**9, help="run so many cases")
    parser.add_argument("--seconds", type=float, default=60, help="or for so long")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="has a folder for each target; finds are added")
    parser.add_argument("--kept", type=Path, help="has a folder for each target too; all cases worth keeping are added")
    given = parser.parse_args()
    names = list(TARGETS) if given.target == "all" else [given.target]
    return max(fuzz(name, given) for name in names)


def fuzz(name: str, given: argparse.Namespace) -> int:
    """Fuzz a target, print what came of it, and write the finds to the corpus; returns the exit code."""
    folder, target = given.corpus / name, TARGETS[name]
    kept = given.kept and given.kept / name
    fuzzer = Fuzzer(target, given.seed, folder, cases_in(kept) if kept else [])
    fuzzer.run(given.cases, given.seconds)
    for case in fuzzer.kept if kept else []:
        write(case, kept)
    print(
        f"{name}: {fuzzer.n_cases:,} cases in {fuzzer.seconds:.1f} s, {len(fuzzer.coverage.lines):,} lines reached, "
        f"{len(fuzzer.kept):,} cases kept, {len(fuzzer.finds)} finds",
        flush=True,
    )
    for what, case in fuzzer.finds.items():
        case = minimised(target, Find(case, what))
        path = write(case, folder)
        print(f"  {what!r}: {path}", flush=True)
    return 1 if fuzzer.finds else 0


def write(case: bytes, folder: Path) -> Path:
    """Write a case to a file that is named after its content."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(case).hexdigest()[:12]
    path.write_bytes(case)
    return path


if __name__ == "__main__":
    sys.exit(main())
