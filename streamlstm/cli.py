"""The command line: parse, call the library, print. Numba is imported only by a command that needs it."""

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer

from . import __version__

if TYPE_CHECKING:
    from .optim import Optimizer
    from .predictor import StreamPredictor
    from .streams import Interruptible
    from .training import Trainer
    from .vocabulary import Tokens

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The command `streamlstm`. Its stdout is buffered, and writes an escape for what its encoding lacks."""
    if sys.stdout is None:
        leave(1, "stdout is closed")
    encoding = sys.stdout.encoding
    sys.stdout = open(1, "w", encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    app(prog_name="streamlstm")


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
    """Make a function a command: what goes wrong becomes one line and an exit code, never a traceback."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            leave(141)
        except KeyboardInterrupt:
            leave(130)
        except OSError as error:
            leave(1, f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error)
        except (ValueError, TypeError, FloatingPointError) as error:
            leave(1, error)

    return app.command()(guarded)


Input = Annotated[str, typer.Argument(metavar="[FILE]", help="A file, or - for stdin.", show_default=False)]
Files = Annotated[list[str], typer.Argument(metavar="FILE…", help="Files; - is stdin.")]
ModelFile = Annotated[
    Optional[Path], typer.Option("--model", metavar="FILE", help="Go on with a saved model, not with a fresh one.")
]
Learn = Annotated[
    Optional[bool],
    typer.Option("--learn/--freeze", help="Learn from each symbol, or keep the weights. [default: as the model was]"),
]
Hidden = Annotated[Optional[int], typer.Option(metavar="N", help="Fresh net: hidden units per layer. [64]")]
LayersOption = Annotated[Optional[int], typer.Option("--layers", metavar="N", help="Fresh net: layers. [3]")]
Window = Annotated[Optional[int], typer.Option(metavar="N", help="Fresh net: symbols between learning steps. [16]")]
Connections = Annotated[Optional[str], typer.Option(metavar="KIND", help="Fresh net: skip or stacked. [skip]")]
OptimizerName = Annotated[
    Optional[str], typer.Option("--optimizer", metavar="NAME", help="Fresh net: sgd, rmsprop or adam. [rmsprop]")
]
Lr = Annotated[Optional[float], typer.Option(metavar="RATE", help="Fresh net: learning rate. [the optimizer's]")]
Seed = Annotated[Optional[int], typer.Option(metavar="N", help="Fresh net: seed of the initial weights. [0]")]
Vocab = Annotated[Optional[str], typer.Option(metavar="KIND", help="Fresh net: bytes, or text (characters). [bytes]")]
SaveFile = Annotated[Optional[Path], typer.Option("--save", metavar="FILE", help="Save the model at the end.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamlstm {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A character-level LSTM that lives in a stream.

    It takes one symbol at a time, says what it expects next, and learns from every symbol it sees.

    \b
      cat book.txt | streamlstm predict             what was expected, symbol by symbol
      streamlstm train book.txt -o book.safetensors train a model on your text
      streamlstm generate --model book.safetensors  let it write
    """


@command
def predict(
    file: Input = "-",
    model: ModelFile = None,
    learn: Learn = None,
    top: Annotated[int, typer.Option(metavar="K", help="How many next symbols to show.")] = 5,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text, tsv or jsonl.")] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", help="No records, only the summary.")] = False,
    save: SaveFile = None,
    hidden: Hidden = None,
    layers: LayersOption = None,
    window: Window = None,
    connections: Connections = None,
    optimizer: OptimizerName = None,
    lr: Lr = None,
    seed: Seed = None,
    vocab: Vocab = None,
) -> None:
    """Each symbol with its surprisal in bits, its rank, and what is expected after it.

    Reads stdin or FILE and writes a record per symbol as it arrives; a summary goes to stderr at the end.

    \b
      cat README.md | streamlstm predict
      streamlstm predict book.txt --quiet --save book.safetensors
      tail -f app.log | streamlstm predict --model book.safetensors --format jsonl
    """
    from .checkpoint import check_target
    from .formats import FORMATS
    from .streams import Interruptible, is_live, open_input

    if format not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, not {format!r}")
    if top < 0:
        raise ValueError(f"--top must be at least 0, not {top}")
    header, lines = FORMATS[format]
    fresh = _Fresh(hidden, layers, window, connections, optimizer, lr, seed, vocab)
    with Interruptible() as control, open_input(file) as source:
        predictor, parts = fresh.predictor_and_tokens(source, control, model, learn)
        if save is not None:
            check_target(save)
        live, out = is_live(source), sys.stdout
        start, count, total = time.perf_counter(), 0, 0.0
        try:
            if not quiet:
                out.write(header)
            for part in parts:
                trace = predictor.trace(part, 0 if quiet else top)
                if not quiet:
                    out.write(lines(trace, predictor.vocabulary, count))
                    if live:
                        out.flush()
                count += len(trace.tokens)
                total += float(trace.bits.sum(dtype="float64"))
            out.flush()
        finally:
            if save is not None:
                predictor.save(save)
    seconds = time.perf_counter() - start
    typer.echo(
        f"{count:,} symbols, {total / max(count, 1):.4f} bits per symbol, {count / seconds:,.0f} symbols/s", err=True
    )
    if control.interrupted:
        raise SystemExit(130)


@command
def score(
    files: Files,
    model: ModelFile = None,
    learn: Learn = None,
    hidden: Hidden = None,
    layers: LayersOption = None,
    window: Window = None,
    connections: Connections = None,
    optimizer: OptimizerName = None,
    lr: Lr = None,
    seed: Seed = None,
    vocab: Vocab = None,
) -> None:
    """How surprising each file is: its symbols, their surprisals in bits, and the mean.

    Each file is read by the model as it was at the start, whatever the files before it taught.

    \b
      streamlstm score chapter1.txt chapter2.txt
      streamlstm score --model book.safetensors --freeze sequel.txt
    """
    from .score import score as score_text
    from .streams import Interruptible, open_input

    fresh = _Fresh(hidden, layers, window, connections, optimizer, lr, seed, vocab)
    typer.echo("symbols\tbits\tbits_per_symbol\tfile")
    with Interruptible() as control:
        for file in files:
            with open_input(file) as source:
                predictor, parts = fresh.predictor_and_tokens(source, control, model, learn)
                result = score_text(predictor, parts)
            if control.interrupted:
                raise KeyboardInterrupt
            typer.echo(f"{result.n_symbols}\t{result.bits:.2f}\t{result.bits_per_symbol:.4f}\t{file}")


@command
def train(
    files: Files,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="The model to write.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    epochs: Annotated[float, typer.Option(help="How often the text is read.")] = 10.0,
    batch: Annotated[
        Optional[int], typer.Option(metavar="N", help="Parallel streams. [1 … 16, by the text's size]")
    ] = None,
    window: Annotated[int, typer.Option(help="Symbols of each stream between two updates.")] = 64,
    lr: Annotated[float, typer.Option(help="Adam's learning rate after the warm-up.")] = 0.004,
    warmup: Annotated[int, typer.Option(help="Updates until the learning rate is reached.")] = 100,
    clip: Annotated[float, typer.Option(help="Largest norm of a gradient.")] = 1.0,
    chunk: Annotated[int, typer.Option(help="Symbols that stay together when the text is shuffled.")] = 16384,
    threads: Annotated[int, typer.Option(help="Workers; any number gives the same weights. 0: one per core.")] = 0,
    hidden: Annotated[int, typer.Option(help="Hidden units per layer.")] = 128,
    layers: Annotated[int, typer.Option(help="Layers.")] = 3,
    connections: Annotated[str, typer.Option(help="skip or stacked.")] = "skip",
    vocab: Annotated[str, typer.Option(help="bytes, or text (the characters of the files).")] = "bytes",
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and of the shuffling.")] = 0,
    val: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Score this file at each checkpoint.")] = None,
    curve: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Append the learning curve, as .tsv.")] = None,
    checkpoint_every: Annotated[float, typer.Option(metavar="SECONDS", help="Time between checkpoints.")] = 120.0,
) -> None:
    """Train a model on files and write it to MODEL.

    At each checkpoint MODEL is written, to be used at once, and beside it MODEL.resume, from which --resume goes on
    as if never stopped. Ctrl-C writes both and stops. At the end MODEL.resume is removed.

    \b
      streamlstm train book.txt -o book.safetensors
      streamlstm train *.txt -o all.safetensors --epochs 3 --val held-out.txt --curve curve.tsv
      streamlstm train *.txt -o all.safetensors --epochs 3 --resume
    """
    from .checkpoint import check_target
    from .model import Config
    from .streams import Interruptible
    from .training import WINDOW, Plan, Trainer, read_text, streams_for

    config = Config(hidden, layers, WINDOW, connections)
    for target in filter(None, (output, curve)):
        check_target(target)
    tokens, vocabulary = read_text(files, vocab)
    streams = streams_for(len(tokens)) if batch is None else batch
    plan = Plan(epochs, streams, window, lr, warmup, clip=clip, chunk=chunk, seed=seed)
    trainer = Trainer(tokens, vocabulary, config, plan, threads or os.cpu_count() or 1)
    held_out = val.read_bytes() if val else b""
    state = output.with_name(output.name + ".resume")
    if resume:
        trainer.restore(state)
    with Interruptible() as control:
        _run_training(trainer, output, state, held_out, curve, checkpoint_every, control)
    if control.interrupted:
        typer.echo(f"stopped at update {trainer.step:,} of {trainer.n_steps:,}; go on with --resume", err=True)
        raise SystemExit(130)
    state.unlink(missing_ok=True)


def _run_training(
    trainer: "Trainer",
    output: Path,
    state: Path,
    held_out: bytes,
    curve: Path | None,
    checkpoint_every: float,
    control: "Interruptible",
) -> None:
    """Train to the end or to ctrl-C, with a progress bar, a checkpoint now and then, and a row of the curve at each."""
    from .progress import Bar
    from .score import score as score_text

    started = saved = time.monotonic()
    bits, updates, validation = 0.0, 0, ""

    def checkpoint() -> str:
        trainer.save(state)
        predictor = trainer.predictor()
        predictor.save(output)
        predictor.learning = False
        text = held_out if trainer.vocabulary.characters is None else held_out.decode("utf-8", "replace")
        result = f"{score_text(predictor, [text]).bits_per_symbol:.4f}" if held_out else ""
        if curve is not None:
            new = not curve.exists()
            with curve.open("a") as file:
                file.write("update\tsymbols\tseconds\tlr\tbits\tvalidation_bits\n" if new else "")
                mean = bits / max(updates, 1)
                n_symbols = trainer.step * trainer.symbols_per_step
                seconds = time.monotonic() - started
                file.write(f"{trainer.step}\t{n_symbols}\t{seconds:.0f}\t{trainer.lr:.6f}\t{mean:.4f}\t{result}\n")
        return result

    with Bar(trainer.n_steps, trainer.step, trainer.symbols_per_step) as bar:
        for progress in trainer.run():
            bits, updates = bits + progress.bits, updates + 1
            bar.show(progress.step, f"{bits / updates:.4f} bits" + (f", held out {validation}" if validation else ""))
            if control.interrupted:
                break
            if time.monotonic() - saved >= checkpoint_every:
                validation, saved = checkpoint(), time.monotonic()
                bits, updates = 0.0, 0
    validation = checkpoint()
    typer.echo(
        f"{trainer.step * trainer.symbols_per_step:,} symbols, {bits / max(updates, 1):.4f} bits per symbol at the end"
        + (f", {validation} on the validation file" if validation else ""),
        err=True,
    )


@command
def generate(
    model: Annotated[Path, typer.Option("--model", metavar="FILE", help="A saved model.")],
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="The text to go on from.")] = "",
    length: Annotated[int, typer.Option("--length", "-n", metavar="N", help="How many symbols.")] = 500,
    temperature: Annotated[float, typer.Option(help="Below 1 sharper, above 1 flatter, 0 always the best.")] = 1.0,
    top_k: Annotated[int, typer.Option(metavar="K", help="Draw from the K best symbols. [0: all]")] = 0,
    top_p: Annotated[float, typer.Option(metavar="P", help="Draw from the best that together reach P. [1: all]")] = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed writes the same text.")] = 0,
) -> None:
    """Let a model write: the prompt, then N symbols as the model expects them.

    \b
      streamlstm generate --model book.safetensors --prompt "Once upon" -n 300
      streamlstm generate --model book.safetensors --temperature 0.7 --seed 1
    """
    from .generate import generate as generate_symbols
    from .predictor import StreamPredictor

    predictor = StreamPredictor.load(model)
    symbols = generate_symbols(predictor, length, prompt, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    out = sys.stdout.buffer
    out.write(prompt.encode("utf-8", "surrogateescape"))
    for symbol in symbols:
        out.write(symbol if isinstance(symbol, bytes) else symbol.encode())
        out.flush()
    out.write(b"\n")


@command
def info(model: Annotated[Path, typer.Argument(metavar="MODEL", help="A saved model.")]) -> None:
    """What a saved model is: its shape, vocabulary, optimizer, and how much it has seen.

    \b
      streamlstm info book.safetensors
    """
    from .predictor import StreamPredictor

    for name, value in StreamPredictor.load(model).describe().items():
        typer.echo(f"{name:<12} {value}")


@command
def warmup() -> None:
    """Compile the kernels for this CPU, so that the next start is quick, and say where they are kept.

    \b
      streamlstm warmup
    """
    from .warmup import compile_all

    for name, how, seconds in compile_all():
        typer.echo(f"{name:<20} {how:<9} {seconds:6.2f} s")
    from .jit import FOLDER

    typer.echo(f"cache: {FOLDER or 'none: no folder can be written; each start compiles'}")


class _Fresh:
    """The options that describe a fresh predictor; none may be given beside --model."""

    def __init__(
        self, hidden: Any, layers: Any, window: Any, connections: Any, optimizer: Any, lr: Any, seed: Any, vocab: Any
    ):
        given = {"hidden": hidden, "layers": layers, "window": window, "connections": connections}
        self.shape = {name: value for name, value in given.items() if value is not None}
        self.optimizer_name, self.lr, self.seed, self.vocab = optimizer, lr, seed, vocab

    def predictor_and_tokens(
        self, source: Any, control: "Interruptible", model: Path | None, learn: bool | None
    ) -> "tuple[StreamPredictor, Iterator[Tokens]]":
        """The predictor that the options ask for, and the tokens of the input as they arrive."""
        from .predictor import StreamPredictor
        from .streams import blocks, pieces, text_blocks, tokens

        parts: Iterator[bytes] | Iterator[str]
        if model is not None:
            self._refuse_beside_model()
            predictor = StreamPredictor.load(model)
            parts = blocks(source, control) if predictor.vocabulary.characters is None else text_blocks(source, control)
        elif self.vocab == "text":
            text = "".join(text_blocks(source, control))
            predictor, parts = self.predictor(text), pieces(text, control)
        else:
            predictor, parts = self.predictor(), blocks(source, control)
        if learn is not None:
            predictor.learning = learn
        return predictor, tokens(parts, predictor.vocabulary)

    def predictor(self, text: str = "") -> "StreamPredictor":
        """A fresh predictor; `text` holds the characters of a text vocabulary."""
        from .model import Config
        from .predictor import StreamPredictor
        from .vocabulary import Vocabulary

        if self.vocab not in (None, "bytes", "text"):
            raise ValueError(f"--vocab must be bytes or text, not {self.vocab!r}")
        vocabulary = Vocabulary.from_text(text or "\n") if self.vocab == "text" else Vocabulary.bytes()
        return StreamPredictor(vocabulary, Config(**self.shape), self.optimizer(), self.seed or 0)

    def optimizer(self) -> "Optimizer":
        """The optimizer that --optimizer and --lr ask for."""
        from .optim import optimizer_from

        description: dict[str, Any] = {"name": self.optimizer_name or "rmsprop"}
        if self.lr is not None:
            description["lr"] = self.lr
        return optimizer_from(description)

    def _refuse_beside_model(self) -> None:
        others = {"optimizer": self.optimizer_name, "lr": self.lr, "seed": self.seed, "vocab": self.vocab}
        given = [*self.shape, *(name for name, value in others.items() if value is not None)]
        if given:
            raise ValueError(f"--{given[0]} describes a fresh net; a saved --model has its own")
