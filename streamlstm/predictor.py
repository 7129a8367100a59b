"""StreamPredictor: what a stream carries from symbol to symbol, and how it learns.

One symbol's way: `observe(symbol)` → token → its surprisal under the distribution held → one step of the network,
which makes the next distribution. Each time the window's T symbols are on the tape and the symbol after them has been
scored, the gradient of those T predictions updates the weights, and the tape restarts from the carried state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from .checkpoint import Arrays, read_checkpoint, write_checkpoint
from .kernels import assistant, gradient, network, ranks
from .kernels.descent import N_HYPER
from .kernels.jit import native
from .memory.memory import SHARES, Memory
from .model import F32, Config, Layout, Start, aligned_empty, aligned_zeros, fresh_theta
from .optim import Optimizer, OptimizerState, RMSprop, optimizer_from
from .vocabulary import Symbol, Symbols, Tokens, Vocabulary

PRETRAINED = Path(__file__).parent / "pretrained"

Places = npt.NDArray[np.int64]
Visit = Callable[[int, Tokens], None]
"""Told the index of a symbol and the tokens [k] that are the most probable after it."""

NOTHING = np.zeros(0, dtype=np.float32)

_EXACT = frozenset((str, bytes, int))
"""The types whose symbols are looked up as they are; bool is none of them, though True equals 1."""

BLOCK = 32
"""How many symbols a frozen predictor runs through the network at once in `observe_many`."""

Room = tuple[F32, F32, npt.NDArray[np.uint8], F32]
"""What an update works in: grad, work and touched of `gradient.backward`, hyper of `descent.descend`."""
NO_ROOM: Room = NOTHING, NOTHING, np.zeros(0, dtype=np.uint8), NOTHING


@dataclass(frozen=True)
class Trace:
    """What `trace` saw at each of n symbols; k predictions of what comes after each.

    tokens              int32 [n]
    bits                float32 [n], the surprisal of each, scored before learning
    ranks               int32 [n], 1 for the symbol that was thought the most probable
    next_tokens         int32 [n, k], the most probable tokens after it, the first the most probable
    next_probabilities  float32 [n, k]
    experts             float32 [n, K, 2], if asked for: for each of the K `EXPERTS` of the memory the bits that it
                        would have paid for the symbol, and the weight that it had (0 and 0 where it was silent)
    """

    tokens: Tokens
    bits: F32
    ranks: Tokens
    next_tokens: Tokens
    next_probabilities: F32
    experts: F32 | None = None


@dataclass(frozen=True)
class _Step:
    """A run of symbols that has just flowed: `count` from `start` on; the records before and after them on a tape."""

    start: int
    count: int
    bits: F32
    tape: F32
    at: int


class StreamPredictor:
    """An LSTM that lives in a stream: it takes one symbol at a time, says what it expects next, and may learn.

    vocabulary  the symbols; default: bytes
    config      the network's shape; default: 3 layers of 64
    optimizer   how it learns; default: RMSprop, tuned for learning online from nothing
    seed        of the initial weights, the same on every machine

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
        optimizer: Optimizer | None = None,
        seed: int = 0,
        start: Start | None = None,
    ) -> None:
        for given, kind in ((vocabulary, Vocabulary), (config, Config), (optimizer, Optimizer), (start, Start)):
            if not isinstance(given, kind | None):
                raise TypeError(f"a predictor takes a {kind.__name__} there, or None, not {given!r}")
        vocabulary = vocabulary or Vocabulary.bytes()
        layout = Layout(config or Config(), len(vocabulary))
        theta = fresh_theta(layout, seed, start or Start())
        self._build(vocabulary, layout, theta, optimizer or RMSprop(), trained=False)

    @classmethod
    def from_weights(
        cls,
        weights: dict[str, F32],
        vocabulary: Vocabulary,
        config: Config,
        optimizer: Optimizer | None = None,
        about: dict[str, Any] | None = None,
    ) -> StreamPredictor:
        """A predictor with given weights, by PyTorch's names and shapes as `weights()` returns them.

        Raises ValueError that names the weight which is missing or does not fit the config.
        """
        layout = Layout(config, len(vocabulary))
        predictor = object.__new__(cls)
        predictor._build(vocabulary, layout, layout.flat(weights), optimizer or RMSprop(), trained=True)
        predictor.about = dict(about or {})
        return predictor

    @classmethod
    def pretrained(cls, name: str = "small", memory: bool = True) -> StreamPredictor:
        """A bundled model of bytes, trained on text of many kinds, that goes on learning from what it reads.

        memory  whether it counts what it reads and mixes the counts with what the network predicts

        Its card lies beside it, `pretrained/<name>.md`. Raises ValueError for a name that is not bundled.

        >>> from streamlstm import StreamPredictor
        >>> StreamPredictor.pretrained().config.hidden
        128
        """
        bundled = {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}
        if name not in bundled:
            names = ", ".join(bundled)
            raise ValueError(f"{name}: No such file, nor a bundled model of that name; bundled: {names}")
        predictor = cls.load(bundled[name])
        if memory:
            return predictor
        config = replace(predictor.config, memory=False)
        return cls.from_weights(predictor.weights(), predictor.vocabulary, config, predictor.optimizer, predictor.about)

    def _build(self, vocabulary: Vocabulary, layout: Layout, theta: F32, optimizer: Optimizer, trained: bool) -> None:
        self._vocabulary = vocabulary
        self._token_of: dict[Symbol, int] = vocabulary._token_of  # type: ignore[attr-defined]
        self._layout = layout
        self._theta = theta
        self._optimizer_state = OptimizerState(optimizer, aligned_zeros(optimizer.n_slots * layout.size))
        self._holders: WeakSet[StreamPredictor] = WeakSet(
            [self]
        )  # theta and the slots are copied before they change if there are more
        bits = layout.config.memory_bits
        self._memory = Memory(vocabulary, layout.columns, bits, trained) if layout.config.memory else None
        self._forward = native(network.forward)
        self._n_symbols = 0
        self.about: dict[str, Any] = {}
        self._open_tape(True, aligned_zeros(layout.state), None)
        self._refresh_distribution()

    def _open_tape(self, learning: bool, state: F32, helper: assistant.Assistant | None) -> None:
        """Start a new window from `state`: T + 1 records to learn from, or one that each step overwrites.

        With an assistant there is a window of records in either case: see `network.forward`.
        """
        window = self.config.window if learning else 0 if helper is None else BLOCK
        record = self._layout.record(learning)
        tape = aligned_zeros((window + 1) * record)
        tape[: self._layout.state] = state
        places = self._layout.places(learning, in_place=window == 0, assisted=helper is not None)
        tokens, bits = np.zeros(window + 1, dtype=np.int32), np.zeros(window + 1, dtype=np.float32)
        room = self._room_of_update() if learning and helper is not None else None
        # no call in these lines: an interrupt cannot leave them half done
        self._window = window or -1  # how many symbols fill the tape; one record that is overwritten is never full
        self._learning, self._record, self._places, self._assistant = learning, record, places, helper
        self._tape, self._tokens, self._bits, self._room = tape, tokens, bits, room
        self._filled = 0  # how many symbols are on the tape
        self._invite()

    def _room_of_update(self) -> Room:
        layout, window = self._layout, self.config.window
        work = np.empty((window + 1) * layout.hidden, dtype=np.float32)
        touched = np.empty(layout.n_symbols, dtype=np.uint8)
        return aligned_empty(layout.size), work, touched, np.empty(N_HYPER, dtype=np.float32)

    def _invite(self) -> None:
        """Tell the assistant, if there is one, with which arrays it may be called from now on.

        Whoever replaces an array takes new `places` too, which hold the marks: until this, nobody is called.
        """
        if self._assistant is not None:
            grad, work, touched, hyper = self._room or NO_ROOM
            slots = self._optimizer_state.slots
            arrays = self._theta, self._tape, self._tokens, grad, work, touched, slots, hyper, self._places
            self._assistant.take(arrays)

    def _refresh_distribution(self) -> None:
        self._forward(self._theta, self._tape, self._tokens, self._bits, self._places, self._filled, 0, 1)
        if self._memory is not None:
            self._memory.mix(self._tape, self._places, self._filled)

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols that this predictor knows."""
        return self._vocabulary

    @property
    def config(self) -> Config:
        """The network's shape."""
        return self._layout.config

    @property
    def optimizer(self) -> Optimizer:
        """How it learns."""
        return self._optimizer_state.optimizer

    @property
    def n_symbols(self) -> int:
        """How many symbols it has observed, over all its saves and loads."""
        return self._n_symbols

    @property
    def learning(self) -> bool:
        """Whether it learns from what it observes. Switching drops the unfinished window, not the context."""
        return self._learning

    @learning.setter
    def learning(self, learning: bool) -> None:
        if learning != self._learning:
            self._open_tape(bool(learning), self._state.copy(), self._assistant)

    def describe(self) -> dict[str, str]:
        """What it is, for people: shape, vocabulary, optimizer, and how much it has seen."""
        config, vocabulary = self.config, self._vocabulary
        n_weights = sum(weight.size for weight in self.weights().values())
        kind = "bytes" if vocabulary.characters is None else f"text, unknown {vocabulary.unknown!r}"
        options = ", ".join(f"{name} {value:g}" for name, value in asdict(self.optimizer).items())
        return {
            "network": f"{config.layers} layers of {config.hidden}, {config.connections}, window {config.window}",
            "weights": f"{n_weights:,}",
            "memory": f"2**{config.memory_bits} pages of 64 bytes" if config.memory else "none",
            "vocabulary": f"{len(vocabulary)} symbols ({kind})",
            "optimizer": f"{self.optimizer.name}: {options}",
            "learning": f"{'on' if self.learning else 'off'}, {self._optimizer_state.n_steps:,} updates so far",
            "symbols": f"{self.n_symbols:,} seen",
            **{name: str(value) for name, value in self.about.items()},
        }

    def weights(self) -> dict[str, F32]:
        """Copies of the weights under PyTorch's names: `weight_ih_l0` [4H, V], `weight_hh_l0` [4H, H], …"""
        return self._layout.named(self._theta)

    @property
    def state(self) -> tuple[F32, F32]:
        """Copies of h and c of every layer, float32 [L, H] each."""
        hidden, units = self._layout.hidden, self.config.hidden
        both = self._state[self._layout.columns : self._layout.network_state].reshape(self.config.layers, 2, hidden)
        return both[:, 0, :units].copy(), both[:, 1, :units].copy()

    @property
    def _state(self) -> F32:
        at = self._filled * self._record
        return self._tape[at : at + self._layout.state]

    def predict(self) -> F32:
        """The distribution of the next symbol, float32 [V]: above 0 everywhere, sums to 1. Changes nothing."""
        first = self._layout.prediction
        return self._state[first : first + len(self._vocabulary)].copy()

    def top(self, k: int = 5) -> list[tuple[str | bytes, float]]:
        """The k most probable next symbols with their probabilities, the most probable first. Changes nothing."""
        _require_count(k)
        probabilities = self.predict()
        order = np.argsort(-probabilities, kind="stable")[:k]
        return [(self._vocabulary.symbol(int(token)), float(probabilities[token])) for token in order]

    def observe(self, symbol: Symbol) -> float:
        """Take the next symbol: score it by the distribution held, then step, and learn if `learning`.

        Returns its surprisal in bits. Over a byte vocabulary a character of several bytes is several symbols, and their
        surprisals add up. Raises ValueError, with nothing changed, for a symbol that the vocabulary does not have.
        """
        token = self._token_of.get(symbol) if type(symbol) in _EXACT else None
        if token is not None:  # the short way, which most symbols take
            return self._observe_token(token)
        return sum(self._observe_token(token) for token in self._vocabulary.encode_symbol(symbol))

    def _observe_token(self, token: int) -> float:
        at = self._filled
        if at == self._window:
            self._turn(token)
            at = 0
        self._tokens[at] = token
        self._forward(self._theta, self._tape, self._tokens, self._bits, self._places, at, 1, 1)
        if self._memory is not None:
            self._remember(self._tape, self._tokens, self._bits, self._places, at, 1)
        if self._window > 0:
            self._filled = at + 1
        self._n_symbols += 1
        return self._bits.item(at)

    def _remember(
        self, tape: F32, tokens: Tokens, bits: F32, places: Places, first: int, count: int, shares: F32 = NOTHING
    ) -> None:
        """Let symbols that have flowed through the network flow through the memory, if there is one."""
        if self._memory is not None:
            self._memory.remember(tape, tokens, bits, places, first, count, self._learning, shares)

    def observe_many(self, symbols: Symbols) -> F32:
        """Observe symbols one after the other; the same bits as `observe` on each, at the kernels' speed.

        Returns their surprisals in bits, float32 [n]: one per character of a text vocabulary, one per byte of a byte
        vocabulary. Raises ValueError, with nothing changed, if the vocabulary lacks one of them.
        """
        tokens = self._vocabulary.encode(symbols)
        bits = np.empty(len(tokens), dtype=np.float32)
        for step in self._steps(tokens):
            bits[step.start : step.start + step.count] = step.bits
        return bits

    def trace(self, symbols: Symbols, k: int = 5, explain: bool = False) -> Trace:
        """Observe symbols as `observe_many` does, and note each one's rank and the k best guesses after it.

        With `explain` also what each expert of the memory said. Raises ValueError where there is no memory to explain.
        """
        if explain and self._memory is None:
            raise ValueError("only a predictor with a memory has experts to explain")
        return self._trace(symbols, k, explain)

    def _trace(self, symbols: Symbols, k: int, explain: bool = False, visit: Visit | None = None) -> Trace:
        """The trace; where the predictor stands after each symbol, `visit` may look around, but not change it."""
        _require_count(k)
        tokens = self._vocabulary.encode(symbols)
        n, n_symbols = len(tokens), len(self._vocabulary)
        k = min(k, n_symbols)
        bits = np.empty(n, dtype=np.float32)
        places = np.empty(n, dtype=np.int32)
        top_tokens = np.empty(n * k, dtype=np.int32)
        top_probabilities = np.empty(n * k, dtype=np.float32)
        shares = np.zeros(n * SHARES if explain else 0, dtype=np.float32)
        for step in self._steps(tokens, shares, singly=visit is not None):
            first, last = step.start, step.start + step.count
            bits[first:last] = step.bits
            ranks.rank_and_top(
                step.tape,
                step.at + self._layout.prediction,
                self._record,
                n_symbols,
                tokens[first:last],
                places[first:last],
                top_tokens[first * k : last * k],
                top_probabilities[first * k : last * k],
            )
            if visit is not None:
                visit(first, top_tokens[first * k : last * k])
        experts = shares.reshape(n, -1, 2) if explain else None
        return Trace(tokens, bits, places, top_tokens.reshape(n, k), top_probabilities.reshape(n, k), experts)

    def _steps(self, tokens: Tokens, shares: F32 = NOTHING, singly: bool = False) -> Iterator[_Step]:
        """Let tokens flow, as many at a time as the tape takes; the predictor is up to date at each yield.

        shares  float32 [n · SHARES] or empty: takes what the experts of the memory said of each
        singly  whether to yield after each token; the network is still run for many at a time, and ahead on the tape
        """
        steps = self._steps_by_window if self._window > 0 else self._steps_by_block
        return steps(tokens, shares, singly)

    def _steps_by_window(self, tokens: Tokens, shares: F32, singly: bool) -> Iterator[_Step]:
        done = 0
        while done < len(tokens):
            if self._filled == self._window:
                self._turn(int(tokens[done]))
            at, count = self._filled, min(self._window - self._filled, len(tokens) - done)
            self._tokens[at : at + count] = tokens[done : done + count]
            tape, window_tokens, bits, places = self._tape, self._tokens, self._bits, self._places
            self._forward(self._theta, tape, window_tokens, bits, places, at, count, 1)
            part = 1 if singly else count
            for first in range(at, at + count, part):
                said = shares[done * SHARES : (done + part) * SHARES]
                self._remember(tape, window_tokens, bits, places, first, part, said)
                self._filled += part
                self._n_symbols += part
                yield _Step(done, part, bits[first : first + part], tape, first * self._record)
                done += part

    def _steps_by_block(self, tokens: Tokens, shares: F32, singly: bool) -> Iterator[_Step]:
        record, state, places = self._record, self._layout.state, self._layout.places(learning=False)
        tape = aligned_zeros((BLOCK + 1) * record)
        bits = np.zeros(BLOCK, dtype=np.float32)
        for begin in range(0, len(tokens), BLOCK):
            block = tokens[begin : begin + BLOCK]
            tape[:state] = self._tape[:state]
            self._forward(self._theta, tape, block, bits, places, 0, len(block), 1)
            part = 1 if singly else len(block)
            for first in range(0, len(block), part):
                done, last = begin + first, first + part
                said = shares[done * SHARES : (done + part) * SHARES]
                self._remember(tape, block, bits, places, first, part, said)
                self._tape[:state] = tape[last * record : last * record + state]
                self._n_symbols += part
                yield _Step(done, part, bits[first:last], tape, first * record)

    def _turn(self, next_token: int) -> None:
        """The window is full: learn from it if `learning`, and begin the next one from the carried state."""
        if self._assistant is not None:
            if self._assistant.layout is not self._places:  # an interrupt came before it was told of them
                self._invite()
            self._assistant.note_window()
        if self._learning:
            self._learn(next_token)
        else:
            self._tape[: self._layout.state] = self._state
            self._filled = 0

    def _window_so_far(self) -> tuple[F32, Tokens]:
        """The state that the unfinished window began with, and its symbols: none if nothing is learned from them."""
        if self._learning:
            return self._tape[: self._layout.state], self._tokens[: self._filled]
        return self._state, self._tokens[:0]

    def _learn(self, next_token: int) -> None:
        """One update from the full window; `next_token` is what its last distribution had to predict."""
        self._own_weights()
        layout, window, optimizer_state, places = self._layout, self._window, self._optimizer_state, self._places
        self._tokens[window] = next_token
        carried = self._state.copy()
        grad, work, touched, hyper = self._room or self._room_of_update()
        try:
            backward = native(gradient.backward)
            backward(self._theta, grad, work, self._tape, self._tokens, touched, places, window, 1)
            lr = optimizer_state.optimizer.lr_after(optimizer_state.n_steps * window)
            optimizer_state.step(self._theta, grad, touched, places, window, lr, hyper)
        finally:
            self._tape[: layout.state] = carried
            self._filled = 0

    def _own_weights(self) -> None:
        """Weights that are shared with a fork are copied."""
        if len(self._holders) > 1:
            theta, is_assisted = _aligned_copy(self._theta), self._assistant is not None
            places = self._layout.places(self._learning, in_place=self._window < 0, assisted=is_assisted)
            optimizer_state, shared, holders = self._optimizer_state.copy(), self._holders, WeakSet([self])
            # no call in these lines either
            self._places = places
            self._theta, self._optimizer_state, self._holders = theta, optimizer_state, holders
            shared.discard(self)
            self._invite()

    def fork(self) -> StreamPredictor:
        """A copy to explore with, independent of this one. It shares the weights until one of the two learns."""
        twin = object.__new__(StreamPredictor)
        twin.__dict__.update(self.__dict__)
        self._holders.add(twin)
        twin.about = dict(self.about)
        twin._memory = self._memory.fork() if self._memory is not None else None
        if self._assistant is not None:
            twin._take_assistant(None)
        if self._window == twin._window:
            twin._tape = aligned_zeros(len(self._tape))
            used = (self._filled + 1) * self._record
            twin._tape[:used] = self._tape[:used]
            twin._tokens, twin._bits = self._tokens.copy(), self._bits.copy()
        return twin

    @contextmanager
    def assisted(self) -> Iterator[None]:
        """While it lasts, a second core makes half of each step and update, with the same bits, in less time.

        While symbols come without a pause, the other core looks for them all the time. Where it would not help, since
        the net is small or the process may use one core only, nothing happens. Meanwhile the predictor may be copied by
        `fork`, whose copy is not assisted, but not by `copy.deepcopy`.

        >>> from streamlstm import StreamPredictor
        >>> predictor = StreamPredictor.pretrained()
        >>> with predictor.assisted():
        ...     round(sum(predictor.observe(letter) for letter in "It was the best of times"))
        71
        """
        n_weights = self._layout.tables  # all that lies before the tables is read in each step
        has_one = self._assistant is not None and not self._assistant.is_done
        if has_one or not assistant.helps(n_weights):
            yield
            return
        helper = assistant.Assistant()
        try:
            self._take_assistant(helper)
            helper.start()
            yield
        finally:
            helper.end()
            self._take_assistant(None)

    def _take_assistant(self, helper: assistant.Assistant | None) -> None:
        """Have an assistant from now on, or none; an unfinished window to learn from goes on."""
        if self._learning:
            places = self._layout.places(True, assisted=helper is not None)
            room = None if helper is None else self._room_of_update()
            self._assistant, self._places, self._room = helper, places, room
            self._invite()
        else:
            self._open_tape(False, self._state.copy(), helper)

    def _note_changes(self) -> None:
        """From now on note what changes in the memory, for `_become`."""
        if self._memory is not None:
            self._memory.note_changes()

    def _become(self, other: StreamPredictor) -> None:
        """Be as `other`, a fork of this one or the other way round; see `backup` and `Memory.become`."""
        mine, theirs = self._optimizer_state, other._optimizer_state
        if mine.n_steps != theirs.n_steps:
            self._own_weights()
            mine = self._optimizer_state
            self._theta[:], mine.slots[:] = other._theta, theirs.slots
            mine.n_steps, mine.powers = theirs.n_steps, theirs.powers
        if self._learning != other._learning:
            self._open_tape(other._learning, other._state, self._assistant)
        if self._learning:
            used = (other._filled + 1) * self._record
            self._tape[:used], self._tokens[:], self._bits[:] = other._tape[:used], other._tokens, other._bits
            self._filled = other._filled
        else:
            self._state[:] = other._state
        self._n_symbols = other._n_symbols
        if self._memory is not None and other._memory is not None:
            self._memory.become(other._memory)

    def reset(self) -> None:
        """Forget the context (state and unfinished window); keep the weights and what learning remembers."""
        if self._memory is not None:
            self._memory.reset()
        self._filled = 0
        self._state[:] = 0
        self._refresh_distribution()

    def save(self, path: str | os.PathLike[str], half: bool = False) -> None:
        """Write all that going on needs to one .safetensors file, atomically; changes nothing here.

        With `half` the weights are rounded to float16: half the size, but what is loaded is not quite the same.
        Raises OSError where `path` cannot be written, ValueError where a number is not finite; an older file of that
        name is then still whole.
        """
        write_checkpoint(path, *self._to_checkpoint(half))

    def _to_checkpoint(self, half: bool = False) -> tuple[Arrays, dict[str, Any]]:
        """The arrays and values of a checkpoint."""
        layout = self._layout
        start, tokens = self._window_so_far()
        at_start = start[layout.columns : layout.network_state].reshape(self.config.layers, 2, layout.hidden)
        named = layout.named(self._theta)
        arrays: Arrays = {n: w.astype(np.float16) if half else w for n, w in named.items()}
        for index in range(self.optimizer.n_slots if self._optimizer_state.n_steps else 0):
            slot = self._optimizer_state.slots[index * layout.size : (index + 1) * layout.size]
            arrays |= {f"optimizer.{index}.{name}": array for name, array in layout.named(slot).items()}
        arrays["h"] = at_start[:, 0, : self.config.hidden]
        arrays["c"] = at_start[:, 1, : self.config.hidden]
        arrays["tokens"] = tokens
        if self._memory is not None and not self._memory.is_new:
            arrays |= self._memory.save()
        values = {
            "config": asdict(self.config),
            "vocabulary": self._vocabulary.describe(),
            "optimizer": self._optimizer_state.describe(),
            "learning": self._learning,
            "n_symbols": self._n_symbols,
            "about": self.about,
        }
        return arrays, values

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> StreamPredictor:
        """The predictor that `save` wrote: it goes on as if it had never stopped, to the last bit.

        Raises OSError where the file cannot be read, ValueError with one line where it is no whole, valid checkpoint.
        """
        arrays, values = read_checkpoint(path)
        try:
            return cls._from_checkpoint(arrays, values)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no usable model: {error}") from None

    @classmethod
    def _from_checkpoint(cls, arrays: Arrays, values: dict[str, Any]) -> StreamPredictor:
        """The predictor whose checkpoint these are; KeyError, TypeError or ValueError where they are not whole."""
        if "plan" in values:
            raise ValueError("it is an unfinished training run, to go on with by train --resume")
        vocabulary = Vocabulary.from_description(values["vocabulary"])
        layout = Layout(Config(**values["config"]), len(vocabulary))
        about = dict(values["optimizer"])
        progress = {"n_steps": about.pop("n_steps"), "powers": about.pop("powers")}
        predictor = cls.from_weights(arrays, vocabulary, layout.config, optimizer_from(about), values["about"])
        optimizer_state = predictor._optimizer_state
        optimizer_state.go_on(**progress)
        for index in range(optimizer_state.optimizer.n_slots if optimizer_state.n_steps else 0):
            prefix = f"optimizer.{index}."
            slot = layout.flat({name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)})
            optimizer_state.keep(index, slot)
        state = aligned_zeros(layout.state)
        both = state[layout.columns : layout.network_state].reshape(layout.config.layers, 2, layout.hidden)
        for index, name in enumerate("hc"):
            if arrays[name].shape != (layout.config.layers, layout.config.hidden):
                raise ValueError(f"{name} has the shape {arrays[name].shape}, not that of the config")
            both[:, index, : layout.config.hidden] = arrays[name]
        tokens = vocabulary.encode(arrays["tokens"])
        if len(tokens) > layout.config.window:
            raise ValueError(f"a window of {len(tokens)} symbols, where the config has {layout.config.window}")
        if not isinstance(values["learning"], bool):
            raise ValueError(f"learning must be true or false, not {values['learning']!r}")
        predictor._open_tape(values["learning"], state, None)
        predictor._run_again(tokens)
        n_symbols = values["n_symbols"]
        if isinstance(n_symbols, bool) or not isinstance(n_symbols, int) or n_symbols < 0:
            raise ValueError(f"n_symbols must be a whole number from 0 on, not {n_symbols!r}")
        if predictor._memory is not None and "memory.weights" in arrays:
            predictor._memory.restore(arrays)
        predictor._refresh_distribution()
        predictor._n_symbols = n_symbols
        return predictor

    def _run_again(self, tokens: Tokens) -> None:
        """Put the unfinished window on the tape again; the weights have not changed since it was first there."""
        self._tokens[: len(tokens)] = tokens
        arrays = self._theta, self._tape, self._tokens, self._bits, self._places
        self._forward(*arrays, 0, 0, 1)  # the distribution of the state that the window began with
        if len(tokens):
            self._forward(*arrays, 0, len(tokens), 1)
        self._filled = len(tokens)


def _require_count(k: int) -> None:
    if k < 0:
        raise ValueError(f"k must be at least 0, not {k}")


def _aligned_copy(array: F32) -> F32:
    copy = aligned_empty(len(array))
    copy[:] = array
    return copy
