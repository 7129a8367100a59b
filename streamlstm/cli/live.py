"""The command `live`."""

import asyncio
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .command import command, saving
from .options import ModelOptions, SaveFile

if TYPE_CHECKING:
    from ..render.live import LiveText

KEYS = " Tab accept   Backspace take back   Ctrl-L learning on/off   Ctrl-D end"


@command
def live(
    model: ModelOptions,
    top: Annotated[int, typer.Option(metavar="K", help="How many next characters to show.")] = 8,
    save: SaveFile = None,
) -> None:
    """Type, and see what the model expects next.

    Bars show the next characters, figures how surprising yours were. Tab accepts the continuation that is shown after
    the cursor, up to the end of the word. Backspace takes a character back; a line is learned when it is finished. At
    the end the text goes to stdout. Needs the extra `live`.

    \b
      streamlstm live
      streamlstm live --model book.safetensors --save mine.safetensors
      streamlstm live --freeze --top 12
    """
    from ..checkpoint import check_target

    if top < 1:
        raise ValueError(f"--top must be at least 1, not {top}")
    if model.vocab == "text":
        raise ValueError("--vocab text takes its characters from a text, and live starts with none")
    if find_spec("prompt_toolkit") is None:
        raise ValueError("live needs prompt_toolkit; install it with: pip install 'streamlstm[live]'")
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ValueError("live needs a terminal; for files and pipes there is streamlstm predict")
    if save is not None:
        check_target(save)

    from ..render.live import LiveText

    text = LiveText(model.predictor())
    with saving(text.learner, save):
        interrupted = _application(text, top).run()
        text.finish_line()
    typer.echo(text.text)
    typer.echo(f"{len(text.typed):,} characters, {text.bits_per_character:.4f} bits per character", err=True)
    if interrupted:
        raise SystemExit(130)


def _application(text: "LiveText", top: int) -> Any:
    """The screen: the text, figures, bars, keys. Its result tells whether ctrl-C ended it."""
    from prompt_toolkit.application import Application, get_app
    from prompt_toolkit.formatted_text import FormattedText
    from prompt_toolkit.layout import FormattedTextControl, HSplit, Layout, Window
    from prompt_toolkit.styles import Style

    from ..render.heat import PALETTES

    def body() -> FormattedText:
        size = get_app().output.get_size()
        return FormattedText(text.text_view(max(size.rows - top - 2, 1), size.columns))

    def status() -> FormattedText:
        return FormattedText(text.status_view())

    def bars() -> FormattedText:
        return FormattedText(text.guesses_view(top, get_app().output.get_size().columns))

    screen = HSplit(
        [
            Window(FormattedTextControl(body, focusable=True, show_cursor=True), wrap_lines=True),
            Window(FormattedTextControl(status), height=1, style="class:status"),
            Window(FormattedTextControl(bars), height=top),
            Window(FormattedTextControl(KEYS), height=1, style="class:keys"),
        ]
    )
    levels = {f"level-{n}": f"bg:{back} {ink}" for n, (back, ink) in enumerate(PALETTES["dark"], 1)}
    names = {"ghost": "#888888 italic", "status": "reverse", "keys": "#888888", "strong": "bold", "note": "bold"}
    style = Style.from_dict({**levels, **names, "bar": PALETTES["dark"][5][0], "sign": "bold"})
    return Application(layout=Layout(screen), key_bindings=_keys(text), style=style, full_screen=True)


def _keys(text: "LiveText") -> Any:
    """What each key does: those that print are typed, those that only move do nothing."""
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.keys import Keys

    async def settle(app: Any) -> None:
        await asyncio.sleep(0.02)  # the screen first
        text.settle()
        app.invalidate()

    def enter(event: Any) -> None:
        text.add("\n")
        event.app.create_background_task(settle(event.app))

    keys = KeyBindings()
    keys.add(Keys.Any)(lambda event: text.add(event.data if event.data.isprintable() else ""))
    keys.add(Keys.BracketedPaste)(lambda event: text.add(event.data.replace("\r\n", "\n").replace("\r", "\n")))
    keys.add("enter")(enter)
    keys.add("tab")(lambda event: text.accept())
    keys.add("backspace")(lambda event: text.take_back())
    keys.add("c-l")(lambda event: text.switch_learning())
    keys.add("c-d")(lambda event: event.app.exit(result=False))
    keys.add("c-c")(lambda event: event.app.exit(result=True))
    return keys
