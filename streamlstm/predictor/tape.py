"""The tape: the records of one window of a stream, and where in it the stream stands."""

from __future__ import annotations

import numpy as np

from ..jit.decorators import native
from ..kernels import network
from ..kernels.arrays import BASE, F32, FILLED, I32, POSITION, UNREAD, Stream
from ..model import Layout, aligned_empty, aligned_zeros

FROZEN_WINDOW = 32
"""How many symbols fill the tape of a predictor that does not learn; a block of them shares one read of theta."""

READER_WINDOW = 128
"""The same for a `StreamReader`, whose window begins with each text: most lines are then one block, and 5 to 15 %
faster."""


def start_state(layout: Layout, theta: F32) -> F32:
    """The state in which streams begin: after the begin-of-stream symbol, or zero if the weights do not know it.

    Its distribution is not computed.
    """
    if not layout.has_start(theta):
        return aligned_zeros(layout.state)
    tape = Tape(layout, 1, learning=False)
    tape.stream.tokens[0] = layout.n_symbols
    native(network.forward)(theta, tape.stream, 0, 1, 1)
    return tape.stream.tape[tape.record : tape.record + layout.state]


class Tape:
    """The records of a window, as the kernels take them.

    layout    the network's
    window    how many symbols fill the tape
    learning  whether the records hold the gates of every layer, for `gradient.backward`
    batch     parallel streams

    `stream` has the arrays; see `kernels.arrays.Stream`. The window begins with the zero state.
    """

    def __init__(self, layout: Layout, window: int, learning: bool, *, batch: int = 1) -> None:
        self.layout, self.window, self.learning, self.batch = layout, window, learning, batch
        self.record = layout.record(learning)
        self.stream = Stream(
            tape=aligned_empty((window + 1 + learning) * batch * self.record),
            tokens=np.zeros((window + 1) * batch, dtype=np.int32),
            bits=np.zeros((window + 1) * batch, dtype=np.float32),
            layout=layout.describe(learning, batch),
            position=np.zeros(POSITION, dtype=np.int64),
        )
        self.stream.tape[: batch * self.record] = 0

    @classmethod
    def beginning_with(cls, state: F32, n_symbols: int, layout: Layout, window: int, learning: bool) -> Tape:
        """A tape whose window begins with a state, after `n_symbols` symbols."""
        tape = cls(layout, window, learning)
        tape.begin(state, n_symbols)
        return tape

    def begin(self, state: F32, n_symbols: int) -> None:
        """Begin a window with the state of a stream after `n_symbols` symbols."""
        self.stream.tape[: self.layout.state] = state
        self.stream.position[:] = 0
        self.stream.position[BASE] = n_symbols

    @property
    def filled(self) -> int:
        """How many symbols are on the tape."""
        return self.stream.position.item(FILLED)

    @property
    def n_symbols(self) -> int:
        """How many symbols the stream has seen."""
        return sum(self.stream.position.tolist())

    @property
    def has_unread(self) -> bool:
        """Whether an interrupt came when the first symbol of the window had been learned from, but not been read."""
        return self.stream.position.item(UNREAD) == 1

    @property
    def state(self) -> F32:
        """A view of what the stream carries from symbol to symbol now: the first part of a record."""
        start = self.start_of_state
        return self.stream.tape[start : start + self.layout.state]

    @property
    def start_of_state(self) -> int:
        """Where in the tape the record of the stream's state begins."""
        return self.filled * self.record

    @property
    def first_state(self) -> F32:
        """A view of the state that the window began with."""
        return self.stream.tape[: self.layout.state]

    @property
    def tokens(self) -> I32:
        """A view of the tokens on the tape."""
        return self.stream.tokens[: self.filled]

    def restart(self) -> None:
        """Begin a new window without learning from this one, which is full."""
        tape, position, size, start = (
            self.stream.tape,
            self.stream.position,
            self.layout.state,
            self.window * self.record,
        )
        tape[:size] = tape[start : start + size]
        position[: FILLED + 2] = 0, position.item(BASE) + self.window  # FILLED and BASE in one assignment

    def copy(self) -> Tape:
        """An independent copy; if it does not learn, of the state only."""
        if not self.learning:
            return Tape.beginning_with(self.state, self.n_symbols, self.layout, 0, learning=False)
        twin = Tape(self.layout, self.window, learning=True)
        twin.copy_from(self)
        return twin

    def copy_from(self, other: Tape) -> None:
        """Take over the records in use and the position of a tape of the same kind."""
        used = (other.filled + 1) * self.record
        mine, theirs = self.stream, other.stream
        mine.tape[:used], mine.tokens[:], mine.bits[:] = theirs.tape[:used], theirs.tokens, theirs.bits
        mine.position[:] = theirs.position
