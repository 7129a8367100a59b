"""What users of a version can name: public functions and classes, their parameters, commands, options, and fields.

python tests/interface.py        writes the interface of this version to tests/compat; done once, when it is released
"""

import inspect
import json
import re
import tempfile
from importlib import import_module
from pathlib import Path

import typer.main
from typer.testing import CliRunner

import streamlstm
from streamlstm.cli.app import app

ROOT = Path(__file__).parent.parent
COMPAT = Path(__file__).parent / "compat"
IN_GUIDES = ("streamlstm.checkpoint.dump_checkpoint", "streamlstm.render.live.LiveText")
"""Names that the guides use beside those of the API reference."""
INTERNAL = {"capture", "log_changes", "restore", "stream_reader"}
"""Methods of StreamPredictor for other modules: they take or return what the API reference does not name."""
FILES = {"app.log": "job 1 done\njob 2 done\n", "regions.tsv": "id\ttext\n1\tThe\n"}
NETWORK = ["--hidden", "4", "--layers", "1"]
RECORDS = {
    "predict": ["predict", "app.log", *NETWORK],
    "predict --explain": ["predict", "app.log", "--explain", *NETWORK],
    "score": ["score", "app.log", *NETWORK],
    **{f"score --by {unit}": ["score", "app.log", "--by", unit, *NETWORK] for unit in ("symbol", "word", "line")},
    "score --compare": ["score", "app.log", "--compare", "small", "none"],
    "score --explain": ["score", "app.log", "--explain", *NETWORK],
    "watch": ["watch", "app.log", "--all", *NETWORK],
    "watch --session-regex": ["watch", "app.log", "--session-regex", r"job \d", "--all", *NETWORK],
    "surprising": ["surprising", "app.log", *NETWORK],
    "complete": ["complete", "--prompt", "jo", *NETWORK],
    "fill": ["fill", "j?b", *NETWORK],
    "regions": ["regions", "regions.tsv", *NETWORK],
}
"""A command for each kind of record."""


def documented_names():
    """The names of the API reference, with their modules."""
    pages = (ROOT / "docs" / "pages" / "api").glob("*.md")
    found = {name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text("utf-8"), re.M)}
    return sorted(found | {f"streamlstm.{name}" for name in streamlstm.__all__ if name[0] != "_"} | {*IN_GUIDES})


def resolve(name):
    """The object with a dotted name."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def parameters(function):
    """What a function takes, in order: triples of name, kind and default (None: required)."""

    def default(value):
        return None if value is inspect.Parameter.empty else "a function" if callable(value) else repr(value)

    taken = inspect.signature(function).parameters.values()
    return [[parameter.name, parameter.kind.name, default(parameter.default)] for parameter in taken]


def description(thing):
    """What a function or class can be used for: its parameters, and the public members of a class with theirs."""
    if not inspect.isclass(thing):
        return {"parameters": parameters(thing)}
    members = {}
    for base in thing.__mro__:
        if not base.__module__.startswith("streamlstm"):
            continue
        for name, value in {**base.__dict__, **dict.fromkeys(inspect.get_annotations(base))}.items():
            function = getattr(value, "__func__", value)
            is_internal = name in INTERNAL and base is streamlstm.StreamPredictor
            if not name.startswith("_") and not is_internal:
                members.setdefault(name, parameters(function) if inspect.isfunction(function) else None)
    return {"parameters": parameters(thing), "members": members}


def names():
    """The public functions and classes of which the extras are installed."""
    found = {}
    for name in documented_names():
        try:
            found[name] = description(resolve(name))
        except ImportError as error:
            if "streamlstm[" not in str(error):
                raise
    return found


def commands():
    """The spellings of the arguments and options of each command, and under "" of those before a command."""

    def options(command):
        return sorted({spelling for item in command.params for spelling in (*item.opts, *item.secondary_opts)})

    group = typer.main.get_command(app)
    return {name: options(command) for name, command in [("", group), *group.commands.items()]}


def fields():
    """The columns or keys of each kind of record in each format for programs."""
    found, known = {}, commands()
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            Path(folder, name).write_text(text)
        for kind, arguments in RECORDS.items():
            paths = [str(Path(folder, argument)) if argument in FILES else argument for argument in arguments]
            for form in ("tsv", "jsonl"):
                options = ["--format", form] if "--format" in known[arguments[0]] else []
                result = CliRunner().invoke(app, [*paths, *options])
                if result.exit_code == 0:
                    first = result.stdout.splitlines()[0]
                    found[f"{kind} {form}"] = list(json.loads(first)) if first.startswith("{") else first.split("\t")
    return found


def interface():
    """All of it, as JSON has it."""
    return {"names": names(), "commands": commands(), "fields": fields()}


if __name__ == "__main__":
    version = ".".join(streamlstm.__version__.split(".")[:2])
    (COMPAT / version / "interface.json").write_text(json.dumps(interface(), indent=0, sort_keys=True) + "\n")
