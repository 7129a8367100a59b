"""What all commands share: how they end, how errors are reported, and how groups of options are declared."""

import contextlib
import functools
import inspect
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, get_type_hints

import typer

from ..render.escape import rejoined, terminal_lines
from ..system.portable import open_binary
from ..system.process import Interrupted, Interruptible
from .help import Command, Group, group_of

if TYPE_CHECKING:
    from ..render.lines import StatusLine

INPUT_ERROR, USAGE_ERROR, INTERNAL_ERROR, BROKEN_PIPE = 1, 2, 70, 141
"""Exit codes; a signal ends a command with 128 + its number."""

TEXTS = ("TEXT", "CHARS", "CHAR", "REGEX", "NAME", "NAME=TEXT")
"""The values of these options are text, and not the names of files: the bytes of an argument are read as UTF-8."""

SAVE_SECONDS = 600.0
"""The time between two saves of --save while a stream lasts."""

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Savable(Protocol):
    """A predictor, or what has one and more to save."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, atomically."""


@contextlib.contextmanager
def saving(model: Savable, path: Path | None, seconds: float | None = None) -> "Iterator[Callable[[], None]]":
    """Save the model to `path`, if there is one, at the end of the block, after a first signal, and if output fails.

    After a second signal or any other exception, the model is not saved, because it could be wrong.
    Yields a function to be called between two records, which saves it every `seconds`, by default `SAVE_SECONDS`,
    as well. If it cannot, it logs a warning.
    """
    saved = time.monotonic()

    def save_if_due() -> None:
        nonlocal saved
        if path is None or time.monotonic() - saved < (SAVE_SECONDS if seconds is None else seconds):
            return
        try:
            model.save(path)
        except OSError as error:
            logging.getLogger("streamlstm").warning("not saved yet: %s", _os_message(error))
        saved = time.monotonic()

    try:
        yield save_if_due
    except (Interrupted, OSError) as error:
        if path is not None and not getattr(error, "at_once", False):
            model.save(path)
        raise
    if path is not None:
        model.save(path)


def leave(code: int, message: object = "", flush: bool = True) -> NoReturn:
    """Exit with a code, after at most one line on stderr.

    flush  whether to write what stdout still holds; what cannot be written is dropped
    """
    try:
        if not flush:
            raise OSError
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(open_binary(os.devnull, os.O_WRONLY), 1)
    if message:
        note(message)
    raise SystemExit(code)


def note(message: object) -> None:
    """Write one line to stderr, after the name of the program; see `say`."""
    say(f"streamlstm: {str(message).strip()}".replace("\n", "\\n"))


def note_all(messages: list[str], status: "StatusLine | None" = None) -> None:
    """Write messages as notes, where a status line may be, and remove them from their list."""
    for each in messages:
        if status is not None:
            status.clear()
        note(each)
    messages.clear()


def say(text: object) -> None:
    """Write lines to stderr, whatever their characters: those that a terminal might obey are escaped.

    If stderr cannot be written to, nobody can be told: what the command does and its exit code do not depend on that.
    """
    try:
        typer.echo(terminal_lines(str(text).rstrip("\n")), err=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command: an error becomes one line on stderr and an exit code, never a traceback.

    A parameter whose type is a dataclass, such as `ModelOptions`, stands for all of its fields, as options.
    """

    @functools.wraps(function)
    def guarded(typer_context: typer.Context, **given: Any) -> None:
        try:
            with Interruptible(raises=True):
                _show_log()
                function(**_gather(hints, _texts(typer_context, given)))
                sys.stdout.flush()
        except BrokenPipeError:
            leave(BROKEN_PIPE)
        except KeyboardInterrupt as stop:
            leave(getattr(stop, "exit_code", 130), flush=not getattr(stop, "at_once", False))
        except Exception as error:
            if isinstance(error, MemoryError):
                _make_room(error)
            if typer_context.find_root().params["debug"]:
                say(traceback.format_exc())
            code, message = code_and_message(error)
            leave(code, as_typed(message, typer_context))

    hints = _hints_of(function)
    parameters = list(_expand(inspect.signature(function).parameters.values(), hints))
    parameters.append(_keyword("typer_context", inspect.Parameter.empty, typer.Context))
    guarded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    guarded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del guarded.__wrapped__
    return app.command(cls=Command)(guarded)


_reserve = [bytearray(2**22)]
"""Address space that is given back when there is none left: to say what happened takes some."""


def _make_room(error: BaseException) -> None:
    """Free what the functions held that an error has ended, and the reserve."""
    _reserve.clear()
    each: BaseException | None = error
    while each is not None:
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__


def code_and_message(error: Exception) -> tuple[int, str]:
    """The exit code and the message of an error: one that names the user's input, or a bug of ours."""
    if not isinstance(error, MemoryError) and _is_for_lack_of_memory(error):
        return INPUT_ERROR, "there is not enough memory, or too little is allowed (ulimit -v), to load a library"
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return INPUT_ERROR, "a thread cannot be started: there is not enough memory, or too few processes are allowed"
    if isinstance(error, OSError):
        return INPUT_ERROR, _os_message(error)
    if isinstance(error, MemoryError):
        return INPUT_ERROR, f"there is not enough memory: {str(error) or 'try a smaller model or a smaller shape'}"
    if isinstance(error, UnicodeError) or (
        isinstance(error, ValueError | FloatingPointError) and _is_from_this_package(error)
    ):
        return INPUT_ERROR, str(error)
    what = traceback.format_exception_only(error)[-1].strip()
    request = "please report it, with the output of `streamlstm --debug COMMAND …`"
    return INTERNAL_ERROR, f"internal error: {what}; {request}"


def as_typed(message: str, context: typer.Context) -> str:
    """A message that begins with the name of a parameter, with the option as the user types it: --top-p must be …"""
    options = {each.name: max(each.opts, key=len) for each in context.command.params if each.opts[0].startswith("-")}
    found = re.match(r"(\w+: )?(\w+)(?= must )", message)
    if found is None or found[2] not in options:
        return message
    return f"{found[1] or ''}{options[found[2]]}{message[found.end() :]}"


def _os_message(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


def _is_for_lack_of_memory(error: BaseException | None) -> bool:
    """Whether a library could not be loaded because there is no memory for it, which only the text of a cause says."""
    while error is not None:
        if isinstance(error, OSError | ImportError | SystemError) and any(sign in str(error) for sign in _NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


_NO_MEMORY = (
    "Cannot allocate memory",
    "failed to map segment",
    "cannot map",
    "cannot create shared object descriptor",
    "error return without exception set",
)
"""What the loader of libraries says, and Python of an extension module that did not check what it got."""


def _is_from_this_package(error: Exception) -> bool:
    """Whether the error was raised in a function of this package, not in one of another library."""
    frames = list(traceback.walk_tb(error.__traceback__))
    module: str = frames[-1][0].f_globals.get("__name__", "")
    return module.startswith("streamlstm.")


def _show_log() -> None:
    """Write what the package logs, from INFO on, to stderr."""
    logger = logging.getLogger("streamlstm")
    if not logger.handlers:
        logger.addHandler(_Notes())
    logger.setLevel(logging.INFO)


class _Notes(logging.Handler):
    """Writes what is logged to stderr, as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one, if stderr can be written to."""
        with contextlib.suppress(OSError):
            note(record.getMessage())


def _hints_of(function: Callable[..., None]) -> dict[str, Any]:
    """The types of the parameters, with what `Annotated` adds.

    Python 3.10 would hide that in an `Optional` where the default is None, so it must not see the defaults.
    """
    bare = FunctionType(function.__code__, function.__globals__)
    bare.__annotations__ = function.__annotations__
    return get_type_hints(bare, include_extras=True)


def _expand(parameters: Any, hints: dict[str, Any]) -> Any:
    """The parameters as keywords, with the fields of a dataclass instead of it."""
    for parameter in parameters:
        hint = hints[parameter.name]
        if isinstance(hint, type) and is_dataclass(hint):
            types = get_type_hints(hint, include_extras=True)
            for field in fields(hint):
                default = inspect.Parameter.empty if field.default is MISSING else field.default
                declared = types[field.name].__metadata__[0]
                declared.rich_help_panel = declared.rich_help_panel or group_of(hint.__name__)
                yield _keyword(field.name, default, types[field.name])
        else:
            yield _keyword(parameter.name, parameter.default, hint)


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _texts(context: typer.Context, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the characters of those that are `TEXTS`, which a locale of ASCII does not know."""
    names = {each.name for each in context.command.params if getattr(each, "metavar", None) in TEXTS}
    return {name: _rejoined(value) if name in names else value for name, value in given.items()}


def _rejoined(value: Any) -> Any:
    if isinstance(value, list):
        return [_rejoined(each) for each in value]
    return rejoined(value) if isinstance(value, str) else value


def _gather(hints: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the function itself: the fields of a dataclass as one again."""
    arguments = dict(given)
    for name, hint in hints.items():
        if isinstance(hint, type) and is_dataclass(hint):
            arguments[name] = hint(**{field.name: arguments.pop(field.name) for field in fields(hint)})
    return arguments
