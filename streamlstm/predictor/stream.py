"""A stream of tokens: the network, the memory and the optimizer at work, without symbols and without files.

One token's way: its surprisal is read from the distribution held, then one step of the network and the memory makes the
next distribution. Each time the window's T tokens are on the tape and the token after them is known, the gradient of
those T predictions updates the weights, and the tape restarts from the carried state.

All that changes lies in arrays that a kernel changes as its last act, or in `_parts`, which is replaced as a whole: an
interrupt leaves a stream before or after a whole block. An update may already have used the next token as its target;
the caller continues with that token.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from ..kernels import network, second_core
from ..kernels.arrays import F32, FILLED
from ..kernels.descent import assist
from ..kernels.jit import native
from ..kernels.second_core import Assistant
from ..memory.memory import Memory
from ..memory.parked import StreamMemory
from ..memory.undo import UndoLog
from ..model import Layout
from ..optim import Optimizer
from ..vocabulary import Tokens
from .captured import Captured
from .parked import ParkedStream, Window
from .sources import TokenSource
from .tape import FROZEN_WINDOW, LANE_WINDOW, Tape, start_state
from .trace import Step
from .weights import Learner, Weights

Learn = Literal["all", "memory", "nothing"]
"""What learns: the network's weights and the memory, the memory only, or nothing."""


class _Parts(NamedTuple):
    """Everything about a stream that changes."""

    weights: Weights
    tape: Tape
    memory: Memory | None
    helper: Assistant | None = None


class TokenStream:
    """What a stream of tokens carries from token to token, and how it learns.

    layout  the shape of the network
    theta   float32, the weights, see `network`
    memory  the memory beside the network, or None

    It begins as after `reset`, and learns.
    """

    def __init__(self, layout: Layout, theta: F32, optimizer: Optimizer, memory: Memory | None) -> None:
        self.layout = layout
        self._forward, self._step = native(network.forward), native(network.step)
        tape = Tape(layout, layout.config.window, learning=True)
        tape.first_state[:] = start_state(layout, theta)
        self._parts = self._refreshed(_Parts(Weights.fresh(theta, optimizer, self), tape, memory))

    @property
    def weights(self) -> Weights:
        """theta and the optimizer's state; shared with forks until one of them learns."""
        return self._parts.weights

    @property
    def tape(self) -> Tape:
        """The records of the current window."""
        return self._parts.tape

    @property
    def memory(self) -> Memory | None:
        """The counts and the mixture."""
        return self._parts.memory

    @property
    def learn(self) -> Learn:
        """What learns from what is observed. Setting it drops the unfinished window, not the context."""
        parts = self._parts
        if parts.tape.learning:
            return "all"
        return "memory" if parts.memory is not None and parts.memory.learning else "nothing"

    @learn.setter
    def learn(self, learn: Learn) -> None:
        parts = self._parts
        if learn != self.learn:
            is_alike = parts.tape.learning == (learn == "all")
            tape = parts.tape if is_alike else self._new_tape(learn == "all")
            memory = parts.memory and parts.memory.with_learning(learn != "nothing")
            self._parts = parts._replace(tape=tape, memory=memory)

    @property
    def distribution(self) -> F32:
        """The distribution of the next token, float32 [V]; a view."""
        tape, layout = self._parts.tape, self.layout
        start = tape.start_of_state + layout.prediction
        return tape.stream.tape[start : start + layout.n_symbols]

    def observe_token(self, token: int) -> float:
        """Take the next token, which is not checked; returns its surprisal in bits."""
        weights, tape, memory, helper = self._parts
        started = 0.0 if helper is None else time.perf_counter()
        bits: float = self._step(weights.theta, tape.stream, token)
        if bits < 0:  # the window is full
            weights, tape, memory, helper = self._begin_window(token)
            bits = self._step(weights.theta, tape.stream, token)
        if memory is not None:
            bits = memory.remember_next(tape.stream)
        if helper is not None:
            helper.add_work(started)
        return bits

    def steps(self, source: TokenSource, n: int) -> Iterator[Step]:
        """Observe up to n tokens, as many at a time as the tape takes, and yield a `Step` for each run of them.

        At each yield the predictor has observed the tokens of the step and no others: it may be asked and forked.
        Stops early if the source has no more tokens.
        """
        done = 0
        while done < n:
            parts = self._parts
            started = 0.0 if parts.helper is None else time.perf_counter()
            at = parts.tape.filled
            if at == parts.tape.window:
                parts, at = self._begin_window(source.peek(parts.weights, parts.tape)), 0
            weights, tape, memory, helper = parts
            end = min(tape.window, at + n - done)
            source.prepare(weights, tape, at, end - at)
            while at < end:
                count = source.feed(weights, memory, tape, at, end - at)
                if not count:
                    return
                if helper is not None:
                    helper.add_work(started)
                yield Step(done, count, tape.stream, at)
                done, at = done + count, at + count
                started = 0.0 if helper is None else time.perf_counter()

    def start_from(self, state: F32, tokens: Tokens, bits: F32, n_symbols: int, learn: Learn) -> None:
        """Go to where a window began with a state and has taken these tokens, after `n_symbols` tokens in all.

        bits  the surprisals of these tokens; those of a mixture cannot be computed again
        """
        parts = self._parts
        window = self.layout.config.window if learn == "all" else 0
        tape = Tape.beginning_with(state, n_symbols - len(tokens), self.layout, window, learn == "all")
        memory = parts.memory and parts.memory.with_learning(learn != "nothing")
        self._parts = self._refilled(parts._replace(tape=tape, memory=memory), tokens, bits)

    def _refilled(self, parts: _Parts, tokens: Tokens, bits: F32) -> _Parts:
        """The same parts, with the tokens of an unfinished window on the tape and the next distribution computed."""
        theta, stream = parts.weights.theta, parts.tape.stream
        stream.tokens[: len(tokens)] = tokens
        if len(tokens):
            self._forward(theta, stream, 0, 0, 1)  # the distribution of the state
            self._forward(theta, stream, 0, len(tokens), 1)
        stream.bits[: len(tokens)] = bits
        stream.position[FILLED] = len(tokens)
        return self._refreshed(parts)

    # Many streams over one model

    def lane(self, max_slots: int) -> TokenStream:
        """A stream that takes the place of one parked stream after another, which all begin where this one is.

        max_slots  the most pages in the overlay of each, see `StreamMemory`

        This stream must not change as long as the lane is in use.
        """
        lane = self.fork(self.learn)
        parts = lane._parts
        memory = None if parts.memory is None else StreamMemory(parts.memory, max_slots)
        tape = parts.tape if parts.tape.learning else lane._new_tape(False, LANE_WINDOW)
        lane._parts = lane._refreshed(_Parts(parts.weights, tape, memory))
        return lane

    def park(self) -> ParkedStream:
        """What the stream of this lane has of its own; see `Lane`."""
        weights, tape, memory, _ = self._parts
        assert memory is None or isinstance(memory, StreamMemory)
        state, tokens = (tape.first_state, tape.tokens) if tape.learning else (tape.state, tape.tokens[:0])
        window = Window(state.copy(), tokens.copy(), tape.stream.bits[: len(tokens)].copy())
        return ParkedStream(weights, window, tape.n_symbols, None if memory is None else memory.park())

    def resume_and_read(self, parked: ParkedStream, tokens: Tokens) -> int:
        """Go on with another stream of this lane, whose arrays it takes over; returns how many of the tokens it read.

        It reads the first ones, as many as the tape takes, but none if the network learns or if there is no memory.
        """
        weights, tape, memory, _ = self._parts
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
        """Go on with another stream, whose network may have learned."""
        old, tape, memory, _ = self._parts
        parked.weights.share_with(self)
        parked.weights.release(parked)
        if memory is not None and parked.memory is not None:
            assert isinstance(memory, StreamMemory)
            memory.resume(parked.memory)
        state, tokens, bits = parked.window
        tape.begin(state, parked.n_symbols - len(tokens))
        self._parts = self._refilled(self._parts._replace(weights=parked.weights), tokens, bits)
        if old is not parked.weights:
            old.release(self)

    def fork(self, learn: Learn) -> TokenStream:
        """An independent copy, in which this learns."""
        parts, twin = self._parts, object.__new__(TokenStream)
        twin.layout, twin._forward, twin._step = self.layout, self._forward, self._step
        parts.weights.share_with(twin)
        memory = parts.memory and parts.memory.fork().with_learning(learn != "nothing")
        is_alike = parts.tape.learning == (learn == "all")
        tape = parts.tape.copy() if is_alike else self._new_tape(learn == "all", assisted=False)
        twin._parts = _Parts(parts.weights, tape, memory)
        return twin

    def reset(self) -> None:
        """Go to the state in which streams begin; keep the weights and what has been counted."""
        parts, tape = self._parts, self._new_tape(self._parts.tape.learning)
        tape.first_state[:] = start_state(self.layout, parts.weights.theta)
        memory = parts.memory.restarted() if parts.memory is not None else None
        self._parts = parts = self._refreshed(parts._replace(tape=tape, memory=memory))
        self._publish_arrays(parts)

    def log_changes(self) -> UndoLog:
        """Log all changes of the memory from now on; an earlier log ends."""
        memory = self._parts.memory
        return UndoLog(0) if memory is None else memory.log_changes()

    def capture(self, log: UndoLog) -> Captured:
        """What `restore` needs beside the log, whose epoch begins now. Raises ValueError if the log has ended."""
        weights, tape, memory, _ = self._parts
        return Captured(weights, tape.copy(), None if memory is None else memory.captured(log))

    def restore(self, captured: Captured, log: UndoLog) -> None:
        """Become equal to what this stream was when `capture` was called; see `StreamPredictor.restore`."""
        parts, memory = self._parts, None
        if parts.memory is not None and captured.memory is not None:
            memory = parts.memory.restored(captured.memory, log)
        tape = captured.tape.copy()
        captured.weights.share_with(self)
        restored = _Parts(captured.weights, tape if parts.helper is None else tape.with_marks(), memory, parts.helper)
        self._parts = restored
        if parts.weights is not captured.weights:
            parts.weights.release(self)
        if memory is not None:
            memory.finish_restore()
        self._publish_arrays(restored)

    def _refreshed(self, parts: _Parts) -> _Parts:
        """The same parts, with the distribution of the state that they hold computed."""
        self._forward(parts.weights.theta, parts.tape.stream, parts.tape.filled, 0, 1)
        if parts.memory is not None:
            parts.memory.mix(parts.tape.stream, parts.tape.filled)
        return parts

    def _begin_window(self, next_token: int) -> _Parts:
        """The tape is full: learn from it if `learning`, and begin the next window.

        It does not learn from a window that was predicted well: that would cost time and change little.
        """
        parts = self._parts
        if parts.tape.learning:
            if not parts.weights.skip(parts.tape):
                parts = self._learn(next_token)
        elif parts.tape.window:
            parts.tape.restart()
        else:
            self._parts = parts = parts._replace(tape=self._new_tape(False, FROZEN_WINDOW))
        if parts.helper is not None:
            self._publish_arrays(parts)
            parts.helper.window_done()
        return parts

    def _learn(self, next_token: int) -> _Parts:
        """Update the weights by the gradient of the window, with weights of its own."""
        parts = self._own_weights() if self._parts.weights.is_shared else self._parts
        learner = Learner(self.layout, parts.tape.window) if parts.helper is None else parts.helper.learner
        parts.weights.update(parts.tape, next_token, learner)
        return parts

    def _new_tape(self, learning: bool, window: int = 0, *, assisted: bool | None = None) -> Tape:
        """A tape whose window begins where the stream stands now; if it does not learn, of `window` symbols."""
        if assisted is None:
            assisted = self._parts.helper is not None
        tape = self._parts.tape
        if learning:
            window = self.layout.config.window
        tape = Tape.beginning_with(tape.state, tape.n_symbols, self.layout, window, learning)
        return tape.with_marks() if assisted else tape

    def _own_weights(self) -> _Parts:
        """Copy the weights that are shared with a fork, so that they may change."""
        parts, shared = self._parts, self._parts.weights
        tape = parts.tape if parts.helper is None else parts.tape.with_marks()
        self._parts = parts._replace(weights=shared.copy(self), tape=tape)
        shared.release(self)
        return self._parts

    # The second core

    @contextmanager
    def assisted(self) -> Iterator[None]:
        """See `StreamPredictor.assisted`."""
        n_weights = self.layout.tables  # all that lies before the tables is read in each step
        helper = self._parts.helper
        if (helper is not None and not helper.is_done) or not second_core.helps(n_weights):
            yield
            return
        helper = Assistant(assist, Learner(self.layout, self.layout.config.window))
        try:
            self._set_helper(helper)
            helper.start()
            yield
        finally:
            helper.end()
            self._set_helper(None)

    def _set_helper(self, helper: Assistant | None) -> None:
        """Work with an assistant from now on, or without; an unfinished window continues."""
        parts = self._parts
        tape = parts.tape.without_marks() if helper is None else parts.tape.with_marks()
        self._parts = parts = parts._replace(helper=helper, tape=tape)
        if not tape.learning:
            self._parts = parts = parts._replace(tape=self._new_tape(False))
        if helper is not None:
            self._publish_arrays(parts)

    def _publish_arrays(self, parts: _Parts) -> None:
        """Give the assistant the arrays of these parts, if they are not those that it has.

        Where an array was replaced, the layout was too: until this, the assistant is not called.
        """
        weights, tape, _, helper = parts
        if helper is not None and helper.layout is not tape.stream.layout:
            learner = helper.learner
            arrays = weights.theta, weights.first, weights.optimizer.slots
            helper.set_arrays(tape.stream, *arrays, learner.gradient, learner.hyper)
