"""The command `live`."""

import errno
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..render.escape import counted, is_safe, terminal_lines
from .command import command, saving, say
from .options import ModelOptions, SaveFile

if TYPE_CHECKING:
    from ..render.live import LiveText
    from ..system.process import Interruptible

KEYS = " Tab accept   Backspace delete   Ctrl-L learning on/off   Ctrl-D end"
POLL_SECONDS = 0.1
"""How often the screen checks for a signal."""


@command
def live(
    model: ModelOptions,
    top: Annotated[int, typer.Option(metavar="K", help="How many next characters to show.")] = 8,
    save: SaveFile = None,
) -> None:
    """Type text and see what the model predicts next.

    Colours show how surprising each character was, and bars show the most probable next ones. Tab accepts the
    completion of the word that is shown after the cursor. Backspace deletes a character of the current line; the model
    learns from a line when you finish it with Enter. At the end the text goes to stdout. Requires streamlstm[live].

    \b
      streamlstm live
      streamlstm live --model book.safetensors --save mine.safetensors
      streamlstm live --freeze --top 12
    """
    from ..system.files import check_target

    if top < 1:
        raise ValueError(f"--top must be at least 1, not {top}")
    if model.vocab == "text":
        raise ValueError("--vocab text takes its characters from the input, but live starts without any")
    if find_spec("prompt_toolkit") is None:
        raise ValueError("live requires prompt_toolkit; install it with: pip install 'streamlstm[live]'")
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ValueError("live needs a terminal; for files and pipes, use streamlstm predict")
    if save is not None:
        check_target(save)

    from ..render.live import LiveText
    from ..system.process import Interruptible

    text = LiveText(model.predictor())
    with Interruptible() as control:
        with saving(text.learner, save) as save_if_due:
            _run(text, top, control, save_if_due)
            text.finish_line()
        try:
            typer.echo(terminal_lines(text.text))
            say(f"{counted(len(text.typed), 'character')}, {text.bits_per_character:.4f} bits per character")
        except OSError:
            control.raise_if_interrupted()  # the terminal was closed
            raise
    control.raise_if_interrupted()


def _run(text: "LiveText", top: int, control: "Interruptible", save_if_due: Callable[[], None]) -> None:
    """Show the screen until Ctrl-D, Ctrl-C, a signal, or the end of the terminal."""
    import asyncio

    from ..system.portable import STOP_SIGNALS

    application = _application(text, top, control)

    async def stop_when_interrupted() -> None:
        while not control.interrupted:
            await asyncio.sleep(POLL_SECONDS)
            save_if_due()
        if not application.is_done:
            application.exit()

    def pre_run() -> None:
        application.create_background_task(stop_when_interrupted())

    try:
        application.run(pre_run, handle_sigint=False)
    except (EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EIO:
            raise
        if not control.interrupted:  # the terminal was closed
            control.interrupt(STOP_SIGNALS[-1])


def _application(text: "LiveText", top: int, control: "Interruptible") -> Any:
    """The screen: text, status line, bars and keys."""
    from prompt_toolkit.application import Application, get_app
    from prompt_toolkit.formatted_text import FormattedText
    from prompt_toolkit.layout import Dimension, FormattedTextControl, HSplit, Layout, Window
    from prompt_toolkit.styles import Style

    from ..render.picture import PALETTES

    def body() -> FormattedText:
        size = get_app().output.get_size()
        return FormattedText(text.text_view(max(size.rows - top - 2, 1), size.columns))

    def status() -> FormattedText:
        return FormattedText(text.status_view())

    def bars() -> FormattedText:
        return FormattedText(text.guesses_view(top, get_app().output.get_size().columns))

    control_of_text = FormattedTextControl(body, focusable=True, show_cursor=True)
    screen = HSplit(
        [
            Window(control_of_text, height=Dimension(min=1), wrap_lines=True),
            Window(FormattedTextControl(status), height=1, style="class:status"),
            Window(FormattedTextControl(bars), height=top),
            Window(FormattedTextControl(KEYS), height=1, style="class:keys"),
        ],
        window_too_small=Window(FormattedTextControl(f"{top + 3} rows are needed; or restart with a smaller --top")),
    )
    levels = {f"level-{n}": f"bg:{back} {ink}" for n, (back, ink) in enumerate(PALETTES["dark"], 1)}
    names = {"ghost": "#888888 italic", "status": "reverse", "keys": "#888888", "strong": "bold", "note": "bold"}
    style = Style.from_dict({**levels, **names, "bar": PALETTES["dark"][5][0], "name": "bold"})
    return Application(layout=Layout(screen), key_bindings=_keys(text, control), style=style, full_screen=True)


def _keys(text: "LiveText", control: "Interruptible") -> Any:
    """The key bindings. A key that prints is typed; a key that only moves the cursor does nothing."""
    import asyncio

    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.keys import Keys

    async def settle(app: Any) -> None:
        await asyncio.sleep(0.02)  # let the screen be drawn first
        text.settle()
        app.invalidate()

    def enter(event: Any) -> None:
        text.add("\n")
        event.app.create_background_task(settle(event.app))

    def type_key(event: Any) -> None:
        is_typed = all(map(is_safe, event.data))
        text.add(event.data if is_typed else "")
        if not event.data.isascii() and not is_typed:
            text.note = "ASCII only: the locale is not one of UTF-8"

    keys = KeyBindings()
    keys.add(Keys.Any)(type_key)
    keys.add(Keys.BracketedPaste)(lambda event: text.add(event.data.replace("\r\n", "\n").replace("\r", "\n")))
    keys.add("enter")(enter)
    keys.add("tab")(lambda event: text.accept())
    keys.add("backspace")(lambda event: text.delete_last())
    keys.add("c-l")(lambda event: text.switch_learning())
    keys.add("c-d")(lambda event: event.app.exit())
    keys.add("c-c")(lambda event: control.interrupt(signal.SIGINT))
    return keys
