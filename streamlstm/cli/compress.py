"""The commands `compress` and `decompress`."""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Optional

import typer

from ..render.escape import counted
from .command import command, say
from .options import Input, ModelOptions

if TYPE_CHECKING:
    from ..render.progress import Bar


def _none_for_stdout(output: Path | None) -> Path | None:
    return None if output == Path("-") else output


OutputFile = Annotated[
    Optional[Path],
    typer.Option("--output", "-o", metavar="FILE", help="The file to write. [stdout]", callback=_none_for_stdout),
]
Message = Annotated[
    bool, typer.Option("--message", help="A short text (up to 64 kB) without a container, always with the model small.")
]


@command
def compress(model: ModelOptions, file: Input = "-", output: OutputFile = None, message: Message = False) -> None:
    """Compress a file losslessly, using a model's predictions.

    Reads FILE or stdin; writes to -o or stdout. To restore the file, give decompress the same model and options.
    With --message, a short text takes hardly ever more than two bytes above its surprisal, and a repetitive one up to
    four; damage may go unnoticed.

    \b
      tar c . | streamlstm compress > folder.slz
      streamlstm compress book.txt -o book.slz
      streamlstm compress app.log --model log.safetensors -o app.slz
      echo "See you at ten." | streamlstm compress --message > note
    """
    from ..codec.archive import compress_file
    from ..system.input import open_input

    if output is None and sys.stdout.isatty():
        raise ValueError("compressed data is not written to a terminal; use -o FILE or a pipe")
    if message:
        _code_message("compress", model, file, output)
        return
    with open_input(file) as source, _opened(output, file) as target, _bar(source) as bar:

        def report(n_read: int, n_written: int) -> None:
            bar.show(n_read, f"{counted(n_written, 'byte')} written, {100 * n_written / n_read:.1f} %")

        n_read, n_written = compress_file(source, target, model.predictor(), report)
    _report_size(n_read, n_written)


@command
def decompress(model: ModelOptions, file: Input = "-", output: OutputFile = None, message: Message = False) -> None:
    """Restore a compressed file, on any machine.

    Without options of a model, it takes the bundled model that the file was compressed with, and what it learned then.

    Reads FILE or stdin; writes to -o or stdout. If the input is damaged, -o writes no file, and stdout gets the data
    before the damage. Slower than compress, which knows each next symbol.

    \b
      streamlstm decompress < folder.slz | tar x
      streamlstm decompress book.slz -o book.txt
      streamlstm decompress --message < note
    """
    from ..codec.archive import decompress_file
    from ..render.progress import Bar
    from ..system.input import open_input

    if message:
        _code_message("decompress", model, file, output)
        return
    predictor = None if model == ModelOptions() else model.predictor()
    with open_input(file) as source, _opened(output, file) as target, Bar(None, 0, 1) as bar:

        def report(n_read: int, n_written: int) -> None:
            bar.show(n_written, f"{counted(n_read, 'byte')} read, {100 * n_read / n_written:.1f} %")

        try:
            decompress_file(source, target, predictor, report)
        except ValueError as error:
            raise ValueError(f"{'stdin' if file == '-' else file}: {error}") from None


def _code_message(direction: str, model: ModelOptions, file: str, output: Path | None) -> None:
    """Compress a message, or decompress it."""
    from ..codec.message import MAX_BYTES, MessageCoder
    from ..system.input import open_input

    if model != ModelOptions():
        raise ValueError("--message always uses the bundled model small; it takes no options of a model")
    with open_input(file) as source, _opened(output, file) as target:
        read = source.read(MAX_BYTES + 2)
        try:
            coder = MessageCoder()
            written = coder.compress(read) if direction == "compress" else coder.decompress(read)
        except ValueError as error:
            raise ValueError(f"{'stdin' if file == '-' else file}: {error}") from None
        target.write(written)
    if direction == "compress":
        _report_size(len(read), len(written))


def _report_size(n_read: int, n_written: int) -> None:
    percent, bits = 100 * n_written / max(n_read, 1), 8 * n_written / max(n_read, 1)
    say(f"{counted(n_read, 'byte')} to {n_written:,}: {percent:.2f} %, {bits:.4f} bits per byte")


def _bar(source: BinaryIO) -> "Bar":
    """A progress bar, with a known total if the source is a regular file."""
    from ..render.progress import Bar
    from ..system.input import is_live

    size = None if is_live(source) else os.fstat(source.fileno()).st_size
    return Bar(size, 0, 1)


def _opened(path: Path | None, source: str) -> AbstractContextManager[BinaryIO]:
    """stdout, or a file that replaces `path` when it is complete. Raises OSError if `path` is the source."""
    from ..system.files import check_target, opened_atomically

    if path is None:
        return nullcontext(sys.stdout.buffer)
    check_target(path, source)
    return opened_atomically(path)
