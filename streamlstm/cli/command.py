"""What makes a function a command: errors become one line, and the options of a model are declared once."""

import contextlib
import functools
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints

import typer

from .options import ModelOptions

if TYPE_CHECKING:
    from ..predictor import StreamPredictor
    from ..tasks.watch import Watcher

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@contextlib.contextmanager
def saving(model: "StreamPredictor | Watcher", path: Path | None) -> Iterator[None]:
    """Save the model to `path`, if there is one, however the work within ends: but not one that diverged."""
    try:
        yield
    except FloatingPointError:
        path = None
        raise
    finally:
        if path is not None:
            model.save(path)


def show_log() -> None:
    """Show the library's messages on stderr, each after the program's name."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("streamlstm: %(message)s"))
    logger = logging.getLogger("streamlstm")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def leave(code: int, message: object = "") -> NoReturn:
    """Exit after at most one line on stderr; what stdout can still take is written, what it cannot is dropped."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if message:
        typer.echo(f"streamlstm: {message}", err=True)
    raise SystemExit(code)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command: what goes wrong becomes one line and an exit code, never a traceback.

    A parameter of the type `ModelOptions` stands for all of its fields, as options.
    """

    @functools.wraps(function)
    def guarded(**given: Any) -> None:
        try:
            function(**_gather(hints, given))
            sys.stdout.flush()
        except BrokenPipeError:
            leave(141)
        except KeyboardInterrupt:
            leave(130)
        except OSError as error:
            what = error.strerror or error
            leave(1, f"{error.filename}: {what}" if error.filename else what)
        except (ValueError, TypeError, FloatingPointError) as error:
            leave(1, error)
        except MemoryError as error:
            leave(1, f"there is not enough memory: {error or 'try a smaller shape'}")

    hints = get_type_hints(function, include_extras=True)
    parameters = list(_expand(inspect.signature(function).parameters.values(), hints))
    guarded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    guarded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del guarded.__wrapped__
    return app.command()(guarded)


def _expand(parameters: Any, hints: dict[str, Any]) -> Any:
    """The parameters as keywords, with the options of a model in the place of `ModelOptions`."""
    for parameter in parameters:
        if hints[parameter.name] is ModelOptions:
            types = get_type_hints(ModelOptions, include_extras=True)
            for field in fields(ModelOptions):
                yield _keyword(field.name, field.default, types[field.name])
        else:
            yield _keyword(parameter.name, parameter.default, hints[parameter.name])


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _gather(hints: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the function itself: the options of a model together again."""
    for name, hint in hints.items():
        if hint is ModelOptions:
            options = {field.name: given.pop(field.name) for field in fields(ModelOptions)}
            return {**given, name: ModelOptions(**options)}
    return given
