"""StreamPredictor: symbols in, distributions and surprisals out, over a `TokenStream`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ..checkpoint import Arrays, dump_checkpoint, parse_checkpoint, read_checkpoint, write_checkpoint
from ..kernels.arrays import F32
from ..memory.memory import Memory
from ..model import Config, InitConfig, Layout, fresh_theta
from ..modelfile import Learn, Parsed, bundled_model, parsed
from ..optim import Optimizer, RMSprop, optimizer_from
from ..ranges import check_count, is_whole_number
from ..vocabulary import Symbol, Symbols, Vocabulary
from . import initial_mixture, saved
from .sources import KnownTokens, TokenSource
from .stream import ParkedStream, TokenStream
from .stream_reader import NO_TOKENS, StreamReader
from .trace import Step, Trace, TraceRecorder

if TYPE_CHECKING:
    from typing_extensions import Self

_MODES = {"all": "learning", "memory": "memory learning", "nothing": "frozen"}
_INSTEAD = {
    "frozen": 'set learn = "nothing"',
    "freeze": 'set learn = "nothing"',
    "training": 'set learn = "all" or "nothing"',
    "train": 'set learn = "all"; it learns in observe',
    "eval": 'set learn = "nothing"',
    "undo": "use a Snapshot, or a TextEntry",
    "backspace": "use a TextEntry",
    "rollback": "use a Snapshot",
    "snapshot": "use Snapshot(predictor)",
    "copy": "use fork()",
    "step": "use observe(symbol)",
    "parameters": "use weights()",
    "state_dict": "use weights()",
    "score": "use the function score(predictor, text)",
    "complete": "use the function complete(predictor)",
    "generate": "use the function generate(predictor, n)",
}
"""What those who guess such a name may be looking for."""

_EXACT = frozenset((str, bytes, int))  # types whose symbols are looked up as they are; not bool: True equals 1


class StreamPredictor:
    """A character-level LSTM in a stream: it takes one symbol at a time, predicts the next one, and may learn.

    vocabulary  the symbols; default: bytes
    config      the network's shape; default: 3 layers of 64
    optimizer   how it learns, or "sgd", "rmsprop" or "adam"; default: RMSprop, tuned for online learning from fresh
                weights
    seed        of the initial weights, the same on every machine
    init        how the initial weights are drawn

    Use one predictor from one thread at a time. Forks, and predictors made or loaded separately, are independent and
    may be used in different threads at the same time.

    >>> from streamlstm import Config, StreamPredictor, Vocabulary
    >>> predictor = StreamPredictor(Vocabulary.from_text("hello"), Config(hidden=32, layers=1))
    >>> predictor.predict().tolist()
    [0.25, 0.25, 0.25, 0.25]
    >>> predictor.observe("h")
    2.0
    """

    def __init__(
        self,
        vocabulary: Vocabulary | None = None,
        config: Config | None = None,
        optimizer: Optimizer | str | None = None,
        seed: int = 0,
        init: InitConfig | None = None,
    ) -> None:
        if isinstance(optimizer, str):
            optimizer = optimizer_from({"name": optimizer})
        for name, given, kind in (
            ("vocabulary", vocabulary, Vocabulary),
            ("config", config, Config),
            ("optimizer", optimizer, Optimizer),
            ("init", init, InitConfig),
        ):
            if not isinstance(given, kind | None):
                raise TypeError(f"{name} must be of type {kind.__name__}, or None, not {given!r}")
        vocabulary = vocabulary or Vocabulary.bytes()
        layout = Layout(config or Config(), len(vocabulary))
        theta = fresh_theta(layout, seed, init or InitConfig())
        self._build(vocabulary, layout, theta, optimizer or RMSprop(), trained=False)

    @classmethod
    def from_weights(
        cls,
        weights: dict[str, F32],
        vocabulary: Vocabulary,
        config: Config,
        optimizer: Optimizer | str | None = None,
        about: dict[str, Any] | None = None,
    ) -> StreamPredictor:
        """A predictor with given weights, under the names and in the shapes that `weights()` returns.

        The two biases of PyTorch's `nn.LSTM`, `bias_ih_l0` and `bias_hh_l0`, are accepted and added up.
        Raises ValueError that names the weight which is missing, does not fit the config, or is not finite.
        """
        layout = Layout(config, len(vocabulary))
        if isinstance(optimizer, str):
            optimizer = optimizer_from({"name": optimizer})
        predictor = object.__new__(cls)
        predictor._build(vocabulary, layout, layout.flat(weights), optimizer or RMSprop(), trained=True)
        predictor.about = dict(about or {})
        return predictor

    @classmethod
    def pretrained(cls, name: str = "small", memory: bool = True) -> StreamPredictor:
        """A bundled model of bytes, trained on text of many kinds, that learns from what it reads.

        memory  whether it counts what it reads and mixes the counts with the network's prediction

        The model card is `pretrained/<name>.md` in the package. Raises ValueError for a name that is not bundled.

        >>> from streamlstm import StreamPredictor
        >>> StreamPredictor.pretrained().config.hidden
        128
        """
        found = cls.load(bundled_model(name))
        config = replace(found.config, memory=False)
        options = found.vocabulary, config, found.optimizer, found.about
        return found if memory else cls.from_weights(found.weights(), *options)

    def _build(self, vocabulary: Vocabulary, layout: Layout, theta: F32, optimizer: Optimizer, trained: bool) -> None:
        self._vocabulary = vocabulary
        self._token_of = vocabulary.token_of
        self.about: dict[str, Any] = {}
        config = layout.config
        memory = Memory(vocabulary, layout.columns, config.memory_bits, trained) if config.memory else None
        self._stream = TokenStream(layout, theta, optimizer, memory)
        self._observe_token = self._stream.observe_token

    def __repr__(self) -> str:
        config = self.config
        options = f"{len(self._vocabulary)} symbols, {config.layers}×{config.hidden}"
        options += f"{', memory' if config.memory else ''}, {_MODES[self.learn]}"
        return f"<{type(self).__name__}: {options}, {self.n_symbols:,} symbols seen>"

    if not TYPE_CHECKING:  # a checker of types knows the names

        def __setattr__(self, name: str, value: Any) -> None:
            cls = type(self)
            if cls is StreamPredictor and name != "about" and name[0] != "_" and not hasattr(cls, name):
                raise AttributeError(_no_attribute(name))
            object.__setattr__(self, name, value)

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(_no_attribute(name))

    # What it is

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols that this predictor knows."""
        return self._vocabulary

    @property
    def config(self) -> Config:
        """The network's shape."""
        return self._stream.layout.config

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer's hyper-parameters."""
        return self._stream.weights.optimizer.optimizer

    @property
    def n_symbols(self) -> int:
        """How many symbols it has observed, including those before it was saved and loaded."""
        return self._stream.tape.n_symbols

    @property
    def learn(self) -> Learn:
        """What learns: "all", "memory" (counts and mixture only: faster, and forks share the weights) or "nothing".

        Setting it drops the unfinished window, not the context. Raises ValueError for "memory" if there is none.
        """
        return self._stream.learn

    @learn.setter
    def learn(self, learn: Learn) -> None:
        if learn not in get_args(Learn):
            raise ValueError(f"learn must be 'all', 'memory' or 'nothing', not {learn!r}")
        if learn == "memory" and self._stream.memory is None:
            raise ValueError("learn must be 'all' or 'nothing' for a predictor without a memory, not 'memory'")
        self._stream.learn = learn

    @property
    def learning(self) -> bool:
        """Whether anything learns. Setting it sets `learn` to "all" or to "nothing"."""
        return self._stream.learn != "nothing"

    @learning.setter
    def learning(self, learning: bool) -> None:
        self._stream.learn = "all" if learning else "nothing"

    def describe(self) -> dict[str, str]:
        """Shape, vocabulary, optimizer and progress, as text for people."""
        n_updates = self._stream.weights.optimizer.n_steps
        own = self.vocabulary, self.config, self.optimizer, n_updates, self.learn, self.n_symbols, self.about
        return Parsed(*own).describe()

    def weights(self) -> dict[str, F32]:
        """Copies of the weights under PyTorch's names: `weight_ih_l0` [4H, V], `weight_hh_l0` [4H, H], …"""
        return self._stream.layout.named(self._stream.weights.theta)

    @property
    def state(self) -> tuple[F32, F32]:
        """Copies of h and c of every layer, float32 [L, H] each."""
        h, c = self._stream.layout.hidden_state(self._stream.tape.state)
        return h.copy(), c.copy()

    # Queries: change nothing

    def predict(self) -> F32:
        """The distribution of the next symbol, float32 [V]: above 0 everywhere, sums to 1. Changes nothing."""
        return self.distribution.copy()

    @property
    def distribution(self) -> F32:
        """What `predict` returns as a view, not a copy: do not write to it; the next `observe` changes it."""
        return self._stream.distribution

    def top(self, k: int = 5) -> list[tuple[str | bytes, float]]:
        """The k most probable next symbols with their probabilities, the most probable first. Changes nothing.

        A byte above 127, which is not a character by itself, is `bytes`. `top_characters` gives whole characters.
        """
        k = check_count("top", k, 0)
        probabilities = self.predict()
        order = np.argsort(-probabilities, kind="stable")[:k]
        return [(self._vocabulary.symbol(int(token)), float(probabilities[token])) for token in order]

    # Observing: takes symbols and learns

    def observe(self, symbol: Symbol) -> float:
        """Take the next symbol: score it by the distribution that `predict` returns, advance, and learn if `learning`.

        Returns its surprisal in bits. Over a byte vocabulary, a character of several bytes is several symbols, and
        their surprisals add up. Raises ValueError, with nothing changed, if the vocabulary lacks the symbol.
        """
        token = self._token_of.get(symbol) if type(symbol) in _EXACT else None
        if token is not None:  # fast path
            return self._observe_token(token)
        return float(sum(self._observe_token(token) for token in self._vocabulary.encode_symbol(symbol)))

    def observe_token(self, token: int) -> float:
        """Take the next symbol by its token, an int; otherwise like `observe`."""
        if not is_whole_number(token):
            raise TypeError(f"a token must be a whole number, not {token!r}")
        if 0 <= token < len(self._vocabulary):
            return self._stream.observe_token(int(token))
        raise ValueError(f"a token is between 0 and {len(self._vocabulary) - 1}, not {token}")

    def observe_many(self, symbols: Symbols) -> F32:
        """Observe symbols one after the other: the same bits as `observe` for each, many times faster.

        Returns their surprisals in bits, float32 [n]: one per character of a text vocabulary, one per byte of a byte
        vocabulary. Raises ValueError, with nothing changed, if the vocabulary lacks one of them.
        """
        tokens = self._vocabulary.encode(symbols)
        bits = np.empty(len(tokens), dtype=np.float32)
        for step in self._stream.steps(KnownTokens(tokens), len(tokens)):
            bits[step.start : step.start + step.count] = step.bits
        return bits

    def trace(self, symbols: Symbols, top: int = 5, explain: bool = False) -> Trace:
        """Observe symbols as `observe_many` does, and record each one's rank and the most probable next symbols.

        top      how many of the next symbols to record
        explain  also record what each expert of the memory predicted

        Raises ValueError if there is no memory to explain.
        """
        top = check_count("top", top, 0)
        if explain and self._stream.memory is None:
            raise ValueError("explain needs a predictor with a memory; this one was made with memory=False")
        tokens = self._vocabulary.encode(symbols)
        recorder = TraceRecorder(tokens, min(top, len(self._vocabulary)), explain)
        for step in self._stream.steps(KnownTokens(tokens, recorder.report), len(tokens)):
            recorder.add(step)
        return recorder.trace()

    def steps(self, source: TokenSource | Symbols, n: int | None = None) -> Iterator[Step]:
        """Observe tokens, as many at a time as fit on the tape, and yield a `Step` for each run of them.

        source  text, bytes or tokens, as `observe_many` takes them, or a `TokenSource` that finds the tokens
        n       the most tokens to observe; default: all; required for a `TokenSource`

        At each yield the predictor has observed the tokens of the step and no others, and may be queried and forked.
        Stops early if the source has no more tokens.
        """
        if n is not None:
            n = check_count("n", n, 0)
        if not isinstance(source, KnownTokens | TokenSource):  # for the first, no protocol is looked through
            tokens = self._vocabulary.encode(source)
            return self._stream.steps(KnownTokens(tokens), len(tokens) if n is None else min(n, len(tokens)))
        if n is None:
            raise ValueError("n is required for a TokenSource")
        return self._stream.steps(source, n)

    # Copies

    def fork(self, *, learning: bool | None = None) -> Self:
        """An independent copy, for exploring. The two share whatever neither of them changes.

        learning  whether the copy learns, as the attribute; default: as this predictor does
        """
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.about = dict(self.about)
        twin._stream = self._stream.fork(self.learn if learning is None else "all" if learning else "nothing")
        twin._observe_token = twin._stream.observe_token
        return twin

    def __copy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.fork()

    __deepcopy__ = __copy__

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), dump_checkpoint(*self.to_checkpoint()))

    def restore(self, snapshot: StreamPredictor) -> None:
        """Return to the state that this predictor had when `snapshot` was forked from it. Used by `Snapshot`."""
        if not isinstance(snapshot, StreamPredictor):
            raise TypeError(f"restore takes a fork of the predictor, not {snapshot!r}; of a Snapshot, call restore()")
        self._stream.restore(snapshot._stream)

    def reset(self) -> None:
        """Return to the state in which streams begin; keep the weights and the counts."""
        self._stream.reset()

    def stream_reader(self, max_pages: int) -> StreamReader:
        """A reader for many streams that begin where this predictor stands, which must not change meanwhile."""
        return StreamReader(self._stream, max_pages)

    def of_stream(self, parked: ParkedStream, max_pages: int) -> StreamPredictor:
        """A frozen predictor that continues a copy of a stream of a `stream_reader` with as many pages."""
        twin = self.fork()
        twin._stream = self._stream.resumable(max_pages)
        twin._stream.resume_and_read(parked.copy(), NO_TOKENS)
        twin._observe_token = twin._stream.observe_token
        twin.learn = "nothing"
        return twin

    def learn_mixture(self, texts: Iterable[Symbols]) -> int:
        """Learn the weights with which the mixture begins, from texts that are each read as a new stream.

        Returns the number of symbols read. Raises ValueError unless it has a memory and has observed nothing yet.
        """
        return initial_mixture.learn_mixture(self._stream, self._vocabulary, map(self._vocabulary.encode, texts))

    def assisted(self) -> AbstractContextManager[None]:
        """A context that changes nothing: in 1.0 a second core computed half of each step and update within it."""
        return nullcontext()

    # Checkpoints

    def save(self, path: str | os.PathLike[str], half: bool = False) -> None:
        """Write everything needed to continue to one .safetensors file, atomically. Changes nothing here.

        half  round the weights to float16: half the size, but the loaded predictor is not quite the same

        Raises OSError if `path` cannot be written, ValueError if a number is not finite; an existing file of that name
        is then left as it was.
        """
        write_checkpoint(path, *self.to_checkpoint(half))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> StreamPredictor:
        """The predictor that `save` wrote. It continues as if it had never stopped, to the last bit.

        Raises OSError if the file cannot be read, ValueError if it is not a complete, valid checkpoint.
        """
        arrays, values = read_checkpoint(path)
        try:
            return cls.from_checkpoint(arrays, values)
        except KeyError as error:
            raise ValueError(f"{path} is not a usable model: {error} is missing") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a usable model: {error}") from None

    def to_checkpoint(self, half: bool = False, *, whole: bool = False) -> tuple[Arrays, dict[str, Any]]:
        """The arrays by name and the JSON values of a checkpoint.

        half   round the weights to float16
        whole  as equal predictors have them: with a memory that has seen nothing, without what a memory computes again
        """
        return saved.to_checkpoint(self._stream, self._vocabulary, self.about, half=half, whole=whole)

    @classmethod
    def from_checkpoint(cls, arrays: Arrays, values: dict[str, Any]) -> StreamPredictor:
        """The predictor that `to_checkpoint` described.

        Raises KeyError, TypeError or ValueError if something is missing or inconsistent.
        """
        its = parsed(values, {name: array.shape for name, array in arrays.items()})
        predictor = cls.from_weights(arrays, its.vocabulary, its.config, its.optimizer, its.about)
        stream = predictor._stream
        saved.load_optimizer(stream.weights, stream.layout, arrays, values)
        if stream.memory is not None:
            stream.memory.load_arrays(arrays)
        longest = its.config.window if its.learn == "all" else 0
        window = saved.checked_window(stream.layout, arrays, its.n_symbols, longest)
        stream.start_from(*window, its.n_symbols, its.learn)
        return predictor


def _no_attribute(name: str) -> str:
    """What is wrong about an unknown attribute, and what to do instead if that is clear."""
    close = get_close_matches(name, [each for each in dir(StreamPredictor) if each[0] != "_"], 1)
    instead = _INSTEAD.get(name) or (f"did you mean {close[0]}?" if close else "")
    return f"a StreamPredictor has no attribute {name!r}{instead and '; ' + instead}"


def _unpickled(cls: type[StreamPredictor], checkpoint: bytes) -> StreamPredictor:
    """The predictor that was pickled."""
    return cls.from_checkpoint(*parse_checkpoint(checkpoint, "the pickled predictor"))
