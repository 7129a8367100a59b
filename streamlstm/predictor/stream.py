"""A parked stream: all that it does not share with the other streams over the same model.

A stream of tokens: the network, the memory and the optimizer at work, without symbols and without files.

The path of a token: its surprisal is read from the current distribution; then one step of the network and the memory
computes the next distribution. When the window's T tokens are on the tape and the token after them is known, the
gradient of those T predictions updates the weights, and the tape restarts from the carried state.

All state is in arrays, whose position a kernel writes last, or in `_parts`, which is replaced as a whole. So an
interrupt leaves a stream that depends on the tokens it has observed, and on nothing else. The kernel that learns from a
full window counts its last target as observed; if an interrupt comes before that token is read, `_settled` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..checkpoint import Arrays
from ..jit.decorators import native
from ..kernels import network
from ..kernels.arrays import F32, FILLED
from ..memory.memory import Memory
from ..memory.parked import ParkedMemory, StreamMemory
from ..model import Layout
from ..modelfile import Learn
from ..optim import Optimizer
from ..vocabulary import Tokens
from .sources import TokenSource
from .tape import FROZEN_WINDOW, READER_WINDOW, Tape, start_state
from .trace import Step
from .weights import Learner, Weights


class Window(NamedTuple):
    """An unfinished window.

    state   float32, h and c at its beginning, as they lie in a record
    tokens  int32 [n]
    bits    float32 [n], their surprisals
    """

    state: F32
    tokens: Tokens
    bits: F32


class ParkedStream:
    """One of many streams over a model, while no `StreamReader` reads for it.

    weights    those of the model, until the stream learns: then its own
    window     the unfinished window
    n_symbols  how many symbols it has seen
    memory     None without one
    """

    def __init__(self, weights: Weights, window: Window, n_symbols: int, memory: ParkedMemory | None) -> None:
        self.weights, self.window, self.n_symbols, self.memory = weights, window, n_symbols, memory

    def copy(self) -> ParkedStream:
        """An independent copy, which shares the weights until one of the two learns."""
        memory = None if self.memory is None else self.memory.copy()
        return ParkedStream(self.weights.shared(), self.window, self.n_symbols, memory)

    def nbytes(self, model: Weights) -> int:
        """The number of bytes that it takes, without the weights of its model."""
        own = sum(array.nbytes for array in self.window)
        own += 0 if self.memory is None else self.memory.nbytes
        return own if self.weights.theta is model.theta else own + self.weights.nbytes

    def to_arrays(self, layout: Layout, model: Weights) -> tuple[Arrays, dict[str, Any]]:
        """The arrays by name and the JSON values of a snapshot, without the weights of the model."""
        h, c = layout.hidden_state(self.window.state)
        arrays: Arrays = {"h": h, "c": c, "tokens": self.window.tokens, "bits": self.window.bits}
        values: dict[str, Any] = {"n_symbols": self.n_symbols}
        if self.memory is not None:
            arrays |= self.memory.to_arrays()
        if self.weights.theta is not model.theta:
            arrays |= {"theta": self.weights.theta, "slots": self.weights.optimizer.slots}
            values["optimizer"] = self.weights.optimizer.describe()
        return arrays, values


# A stream of tokens: the network, the memory and the optimizer at work, without symbols and without files


class _Parts(NamedTuple):
    """Everything about a stream that changes."""

    weights: Weights
    tape: Tape
    memory: Memory | None


class TokenStream:
    """The state of a stream of tokens, and how it learns.

    layout  the shape of the network
    theta   float32 [P], the weights, see `network`
    memory  the memory beside the network, or None

    At first it is as after `reset`, and learns.
    """

    def __init__(self, layout: Layout, theta: F32, optimizer: Optimizer, memory: Memory | None) -> None:
        self.layout = layout
        self._forward, self._step = native(network.forward), native(network.step)
        tape = Tape(layout, layout.config.window, learning=True)
        tape.first_state[:] = start_state(layout, theta)
        self._parts = self._refreshed(_Parts(Weights.fresh(theta, optimizer), tape, memory))

    @property
    def weights(self) -> Weights:
        """theta and the optimizer's state; shared with forks until one of them learns."""
        return self._settled().weights

    @property
    def tape(self) -> Tape:
        """The records of the current window."""
        return self._settled().tape

    @property
    def memory(self) -> Memory | None:
        """The counts and the mixture."""
        return self._settled().memory

    @property
    def learn(self) -> Learn:
        """What learns from the tokens observed. Setting it drops the unfinished window, not the context."""
        parts = self._parts
        if parts.tape.learning:
            return "all"
        return "memory" if parts.memory is not None and parts.memory.learning else "nothing"

    @learn.setter
    def learn(self, learn: Learn) -> None:
        parts = self._settled()
        if learn != self.learn:
            is_alike = parts.tape.learning == (learn == "all")
            tape = parts.tape if is_alike else self._new_tape(learn == "all")
            memory = parts.memory and parts.memory.with_learning(learn != "nothing")
            self._parts = parts._replace(tape=tape, memory=memory)

    @property
    def distribution(self) -> F32:
        """The distribution of the next token, float32 [V]; a view."""
        tape, layout = self._settled().tape, self.layout
        start = tape.start_of_state + layout.prediction
        return tape.stream.tape[start : start + layout.n_symbols]

    def observe_token(self, token: int) -> float:
        """Take the next token, which is not checked; returns its surprisal in bits."""
        weights, tape, memory = self._parts
        bits: float = self._step(weights.theta, tape.stream, token)
        if bits < 0:  # the window is full, or an interrupt came before its first token was read
            if self._settled().tape.filled < tape.window:
                return self.observe_token(token)
            weights, tape, memory = self._begin_window(token)
            self._forward(weights.theta, tape.stream, 0, 1, 1)
            bits = tape.stream.bits.item(0)
        if memory is not None:
            bits = memory.remember_next(tape.stream)
        return bits

    def steps(self, source: TokenSource, n: int) -> Iterator[Step]:
        """Observe up to n tokens, as many at a time as fit on the tape, and yield a `Step` for each run of them.

        At each yield the stream has observed the tokens of the step and no others, and may be queried and forked.
        Stops early if the source has no more tokens.
        """
        done = 0
        while done < n:
            parts = self._settled()
            at = parts.tape.filled
            if at == parts.tape.window:
                token = source.peek(parts.weights, parts.tape)
                if token < 0:
                    return
                parts, at = self._begin_window(token), 0
            weights, tape, memory = parts
            end = min(tape.window, at + n - done)
            source.prepare(weights, tape, at, end - at)
            while at < end:
                count = source.feed(weights, memory, tape, at, end - at)
                if not count:
                    return
                yield Step(done, count, tape.stream, at)
                done, at = done + count, at + count

    def start_from(self, state: F32, tokens: Tokens, bits: F32, n_symbols: int, learn: Learn) -> None:
        """Continue after `n_symbols` tokens, in an unfinished window that began with a state and has these tokens.

        bits  the surprisals of these tokens; those of a mixture cannot be computed again
        """
        parts = self._parts
        window = self.layout.config.window if learn == "all" else 0
        tape = Tape.beginning_with(state, n_symbols - len(tokens), self.layout, window, learn == "all")
        memory = parts.memory and parts.memory.with_learning(learn != "nothing")
        self._parts = self._refilled(parts._replace(tape=tape, memory=memory), tokens, bits)

    def _refilled(self, parts: _Parts, tokens: Tokens, bits: F32) -> _Parts:
        """The same parts with the tokens of an unfinished window on the tape, and the next distribution computed."""
        theta, stream = parts.weights.theta, parts.tape.stream
        stream.tokens[: len(tokens)] = tokens
        if len(tokens):
            self._forward(theta, stream, 0, 0, 1)  # the distribution of the state
            self._forward(theta, stream, 0, len(tokens), 1)
        stream.bits[: len(tokens)] = bits
        stream.position[FILLED] = len(tokens)
        return self._refreshed(parts)

    # Many streams over one model

    def resumable(self, max_slots: int) -> TokenStream:
        """A copy that can `park` its stream and resume another one. All these streams begin where this one stands.

        max_slots  the most pages in the overlay of each stream, see `StreamMemory`

        This stream must not change as long as the copy is in use.
        """
        if self.memory is not None:
            self.memory.without_overlay()  # those of the streams are in its place
        twin = self.fork(self.learn)
        parts = twin._parts
        memory = None if parts.memory is None else StreamMemory(parts.memory, max_slots)
        tape = parts.tape if parts.tape.learning else twin._new_tape(False, READER_WINDOW)
        twin._parts = twin._refreshed(_Parts(parts.weights, tape, memory))
        return twin

    def park(self) -> ParkedStream:
        """The current stream. Its arrays are not copies: another stream must be resumed next."""
        weights, tape, memory = self._settled()
        assert memory is None or isinstance(memory, StreamMemory)
        state, tokens = (tape.first_state, tape.tokens) if tape.learning else (tape.state, tape.tokens[:0])
        window = Window(state.copy(), tokens.copy(), tape.stream.bits[: len(tokens)].copy())
        return ParkedStream(weights, window, tape.n_symbols, None if memory is None else memory.park())

    def resume_and_read(self, parked: ParkedStream, tokens: Tokens) -> int:
        """Resume a parked stream, whose arrays it takes over, and read its next tokens. Returns how many were read.

        These are as many as fit on the tape, but none if the network learns or if there is no memory.
        """
        weights, tape, memory = self._parts
        if tape.learning or memory is None or parked.memory is None:
            self._resume(parked)
            return 0
        assert isinstance(memory, StreamMemory)
        tape.begin(parked.window.state, parked.n_symbols)
        n = min(len(tokens), tape.window)
        tape.stream.tokens[:n] = tokens[:n]
        memory.resume_and_read(parked.memory, weights.theta, tape.stream, n)
        return n

    def _resume(self, parked: ParkedStream) -> None:
        """Resume a parked stream, whose network may have learned."""
        _, tape, memory = self._parts
        if memory is not None and parked.memory is not None:
            assert isinstance(memory, StreamMemory)
            memory.resume(parked.memory)
        state, tokens, bits = parked.window
        tape.begin(state, parked.n_symbols - len(tokens))
        self._parts = self._refilled(self._parts._replace(weights=parked.weights), tokens, bits)

    def fork(self, learn: Learn) -> TokenStream:
        """An independent copy, in which this learns."""
        parts, twin = self._settled(), object.__new__(TokenStream)
        twin.layout, twin._forward, twin._step = self.layout, self._forward, self._step
        memory = parts.memory and parts.memory.fork().with_learning(learn != "nothing")
        is_alike = parts.tape.learning == (learn == "all")
        tape = parts.tape.copy() if is_alike else self._new_tape(learn == "all")
        twin._parts = _Parts(parts.weights.shared(), tape, memory)
        return twin

    def reset(self) -> None:
        """Return to the state in which streams begin; keep the weights and the counts."""
        parts = self._settled()
        tape = self._new_tape(parts.tape.learning)
        tape.first_state[:] = start_state(self.layout, parts.weights.theta)
        memory = parts.memory.restarted() if parts.memory is not None else None
        self._parts = self._refreshed(parts._replace(tape=tape, memory=memory))

    def restore(self, snapshot: TokenStream) -> None:
        """Become a copy of another stream, of which this one is a fork or the other way round."""
        self._parts = snapshot.fork(snapshot.learn)._parts

    def _refreshed(self, parts: _Parts) -> _Parts:
        """The same parts, with the distribution of their state computed."""
        self._forward(parts.weights.theta, parts.tape.stream, parts.tape.filled, 0, 1)
        if parts.memory is not None:
            parts.memory.mix(parts.tape.stream, parts.tape.filled)
        return parts

    def _settled(self) -> _Parts:
        """The parts, after reading the token that an interrupt has left unread, if there is one."""
        _, tape, memory = parts = self._parts
        if tape.has_unread:
            self._forward(parts.weights.theta, tape.stream, 0, 1, 1)
            if memory is not None:
                memory.remember_next(tape.stream)
        return parts

    def _begin_window(self, next_token: int) -> _Parts:
        """Learn from the full tape, if the network learns, and begin the next window, which has this token to read.

        It does not learn from a window that was predicted well: that would take time and change little.
        """
        parts = self._parts
        if parts.tape.learning:
            if not parts.weights.skip(parts.tape, next_token):
                parts = self._learn(next_token)
        else:
            if parts.tape.window:
                parts.tape.restart()
            else:
                self._parts = parts = parts._replace(tape=self._new_tape(False, FROZEN_WINDOW))
            parts.tape.stream.tokens[0] = next_token
        return parts

    def _learn(self, next_token: int) -> _Parts:
        """Update the weights by the gradient of the window; first copy them if they are shared."""
        parts = self._parts
        if parts.weights.is_shared:
            self._parts = parts = parts._replace(weights=parts.weights.copy())
        parts.weights.update(parts.tape, next_token, Learner(self.layout, parts.tape.window))
        return parts

    def _new_tape(self, learning: bool, window: int = 0) -> Tape:
        """A tape whose window begins where the stream stands. If the network does not learn, `window` is its length."""
        tape = self._parts.tape
        if learning:
            window = self.layout.config.window
        return Tape.beginning_with(tape.state, tape.n_symbols, self.layout, window, learning)
