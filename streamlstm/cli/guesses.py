"""Answers to names that users guess: what to use where there is no such option or command."""

from difflib import SequenceMatcher
from typing import Any

ANSWERS = {
    "--word": ["--by word"],
    "--words": ["--by word"],
    "--per-word": ["--by word"],
    "--reset": ["--independent line", "--context-reset line"],
    "--fresh": ["--independent line", "--model none"],
    "--independently": ["--independent line"],
    "--no-learn": ["--freeze"],
    "--no-learning": ["--freeze"],
    "--frozen": ["--freeze"],
    "--json": ["--format jsonl"],
    "--jsonl": ["--format jsonl"],
    "--csv": ["--format csv"],
    "--tsv": ["--format tsv"],
    "-f": ["--follow"],
    "--tail": ["--follow"],
    "-n": ["--top N", "--length N"],
    "--limit": ["--top N"],
    "--number": ["--top N"],
    "-o": ["--output FILE"],
    "--outfile": ["--output FILE"],
    "--state": ["--save FILE, and --resume to continue from it"],
    "--checkpoint": ["--save FILE"],
    "--by-time": ["--sort time"],
    "--order": ["--sort time"],
    "--hidden-size": ["--hidden N"],
    "--num-layers": ["--layers N"],
    "--learning-rate": ["--lr RATE"],
    "--after": ["--since TIME", "--context N"],
    "--before": ["--until TIME", "--context N"],
}
"""Options that were guessed, and what may be meant: the first one that the command has."""

OTHERWISE = {
    **dict.fromkeys(("-o", "--outfile", "--output"), "results go to stdout: add > FILE"),
    **dict.fromkeys(("--since", "--until"), "streamlstm surprising has --since and --until"),
    **dict.fromkeys(
        ("--ignore", "--exclude", "--mute", "--silence", "--filter"),
        "there is none; remove lines before they are read: grep -v REGEX app.log | streamlstm …",
    ),
    **dict.fromkeys(
        ("--level", "--severity"), "there is none; choose lines before they are read: grep ERROR app.log | streamlstm …"
    ),
    **dict.fromkeys(
        ("--lang", "--language"), "there is none: the bundled models know 15 European languages, and learn others"
    ),
    **dict.fromkeys(("-q", "--quiet", "--silent"), "there is none; notes go to stderr: add 2> /dev/null"),
    **dict.fromkeys(("--verbose",), "there is none; --debug before the command shows the traceback of an error"),
    "--model": "name the model itself, for example: streamlstm info small",
}
"""Answers where the command has none of these."""

COMMANDS = {
    **dict.fromkeys(("surprisal", "perplexity", "entropy", "measure"), "score"),
    **dict.fromkeys(("anomalies", "outliers", "rare"), "surprising"),
    **dict.fromkeys(("tail", "follow", "monitor", "logs"), "watch"),
    **dict.fromkeys(("fit", "learn", "finetune"), "train"),
    **dict.fromkeys(("sample", "write"), "generate"),
    **dict.fromkeys(("zip", "pack", "encode"), "compress"),
    **dict.fromkeys(("unzip", "unpack", "decode"), "decompress"),
    **dict.fromkeys(("models", "describe", "show"), "info"),
    **dict.fromkeys(("test", "check"), "verify"),
}
"""Commands that were guessed, and those that are meant."""


def answer_command(name: str) -> str:
    """What to say to a command that is not there; "" if there is nothing to say."""
    if name == "cite":
        return "How to cite is in CITATION.cff and in the README."
    return f"Did you mean {COMMANDS[name]!r}?" if name in COMMANDS else ""


def answer_option(error: Any) -> None:
    """Say in an error about an unknown option what to use instead, if that is known."""
    name, context = getattr(error, "option_name", ""), getattr(error, "ctx", None)
    if not hasattr(error, "possibilities") or context is None:
        return
    known = {spelling for each in context.command.params for spelling in each.opts}
    meant = next((each for each in ANSWERS.get(name, ()) if each.split()[0].strip(",") in known), None)
    answer = f"use {meant}" if meant else OTHERWISE.get(name)
    if answer:
        error.message, error.possibilities = f"No such option: {name}; {answer}", []
    elif error.possibilities:
        error.possibilities = [each for each in error.possibilities if _is_close(name, each)]


def _is_close(name: str, other: str) -> bool:
    """Whether a name may be a misspelling of another: what is suggested otherwise confuses more than it helps."""
    return other.startswith(name) or SequenceMatcher(None, name.strip("-"), other.strip("-")).ratio() >= 0.75
