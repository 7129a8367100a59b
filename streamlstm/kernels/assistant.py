"""A second core that makes half of what one predictor's kernels do: what is read per core is halved.

A step of one symbol waits for the reading of the weights, an update computes and reads: two cores do both in about half
the time, with the same bits (see `shares`).
"""

import os
import statistics
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np

from .arrays import F32, I64, Gradient, Stream
from .atomics import acquire, exchange, pause, release
from .descent import descend_by
from .gradient import flow_back
from .jit import entry, native
from .network import flow
from .shares import (
    ALONE,
    ASSISTANT,
    AWAY,
    BACKWARD,
    CALLED,
    CALLER,
    COUNT,
    FORWARD,
    FROM,
    LONGEST_PAUSE,
    READY,
    SIZE,
    STATE,
    TASK,
    leave,
)

LONGEST_IDLE = 100_000
"""How often the assistant looks for a call before it leaves its core, until a window is over: 2 to 4 ms."""

LEAST_READ = 80_000
"""How many weights a step must read for half of them to be worth the meetings."""

SPELL, BETWEEN, LONGEST_REST = 16, 400, 512
"""How many windows are made with the assistant, or alone, to learn how fast that is; after how many with it that is
learned again; and for how many at most it rests."""
GAIN = 0.95
"""At most this part of the time alone must a window take with the assistant: else it rests."""
FOREVER = 1 << 62

WAKING = 1e-3
"""For how many seconds the caller waits at most for an assistant that sleeps."""

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux tells a container how many µs of how many it may compute."""

Arguments = tuple[Any, ...]


@entry
def assist(theta: F32, stream: Stream, gradient: Gradient, slots: F32, hyper: F32):
    """Make the assistant's part of every task that is called for, until none was for a while.

    The arrays are those of `network.forward`, `gradient.backward` and `descent.descend`; gradient, slots and hyper may
    be empty for a net that does not learn.
    """
    layout = stream.layout
    release(layout, STATE, READY)
    state, idle = READY, 0
    while state != AWAY:
        idle += 1
        if state == CALLED:
            task, first, count = layout[TASK], layout[FROM], layout[COUNT]
            if task == FORWARD:
                flow(theta, stream, first, count, 1, ASSISTANT)
            elif task == BACKWARD:
                flow_back(theta, gradient, stream, count, 1, ASSISTANT)
            else:
                descend_by(first, theta, slots, gradient, hyper, layout, ASSISTANT)
            leave(layout, ASSISTANT)
            idle = 0
        pause()
        if idle >= LONGEST_IDLE:
            exchange(layout, STATE, READY, AWAY)  # not if it has been called meanwhile
        state = acquire(layout, STATE)


class Judge:
    """By the clock, whether an assistant is worth its core: one may only seem to be free, as some virtual ones do.

    While it `rests` the caller goes alone: at first and now and then, to know how fast that is, and whenever windows
    are not faster with the assistant; then each time for longer.
    """

    def __init__(self) -> None:
        self.rests = True
        self._left, self._worked, self._next_rest = SPELL, 0, SPELL
        self._seconds: dict[bool, deque[float]] = {helped: deque(maxlen=SPELL) for helped in (True, False)}

    def note(self, helped: bool, seconds: float) -> None:
        """A window took so long, some of it with the assistant or all alone."""
        self._seconds[helped].append(seconds)
        self._left -= 1
        if self._left == 0:
            self._end_spell()

    def _end_spell(self) -> None:
        self._left = SPELL
        if self.rests:
            self.rests = False
            return
        self._worked += SPELL
        with_it, alone = self._seconds[True], self._seconds[False]
        if len(with_it) < SPELL:
            return  # it was sent away meanwhile
        if alone and statistics.median(with_it) > GAIN * statistics.median(alone):
            self.rest()
        elif self._worked >= BETWEEN:
            self._next_rest = SPELL
            self.rest()

    def rest(self) -> None:
        """Do without it for some windows; if it is no gain then either, for twice as many."""
        self._left, self._next_rest = self._next_rest, min(2 * self._next_rest, LONGEST_REST)
        self.rests, self._worked = True, 0
        self._seconds[True].clear()


class Assistant:
    """A thread that assists one predictor from `start` to `end`."""

    def __init__(self, learner: Any) -> None:
        self.is_done = False
        self.learner = learner  # the buffers of an update, which both threads use
        self.layout = np.zeros(SIZE, dtype=np.int64)
        self._arrays: Arguments = ()
        self._judge = Judge()
        self._wanted, self._here = threading.Event(), threading.Event()
        self._n_meetings, self._since = 0, 0.0

    def take(self, theta: F32, stream: Stream, gradient: Gradient, slots: F32, hyper: F32) -> None:
        """Work with these arguments of `assist` from now on.

        Where one of them is another array than before, the layout must be another one too: nobody is called at the old
        one any more, and the assistant is sent away from it.
        """
        self.layout[STATE] = AWAY
        self._arrays, self.layout = (theta, stream, gradient, slots, hyper), stream.layout
        self.layout[ALONE] = FOREVER if self._judge.rests else 0
        self._n_meetings, self._since = 0, 0.0

    def start(self) -> None:
        """Begin; where the system gives no more threads, there is no assistant."""
        native(assist)  # compiled here: a thread that nobody waits for may be in the middle of it at the end
        try:
            threading.Thread(target=self._work, name="streamlstm assistant", daemon=True).start()
            _started.add(self)
        except RuntimeError:
            self.is_done = True

    def end(self) -> None:
        """There is nothing more to do. Nobody waits for the thread's end."""
        self.is_done = True
        self.layout[STATE] = AWAY
        self._wanted.set()

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            arrays = self._arrays
            if self.is_done:  # looked at last: arrays from before it was set are not called for any more
                return
            self._here.set()
            native(assist)(*arrays)

    def note_window(self) -> None:
        """The caller is done with a window: judge, and wake the assistant if it sleeps and is wanted."""
        now, n_meetings, layout = time.perf_counter(), int(self.layout[CALLER]), self.layout
        if self._since:
            self._judge.note(n_meetings != self._n_meetings, now - self._since)
        self._since, self._n_meetings = now, n_meetings
        if layout[STATE] == AWAY and layout[ALONE] == 0 and not self.is_done:
            self._here.clear()
            self._wanted.set()
            # not waited for, it could wait long itself: for Python's lock, which this thread hardly ever leaves
            if not self._here.wait(WAKING):
                self._judge.rest()
        if self._judge.rests and layout[ALONE] <= LONGEST_PAUSE:
            layout[ALONE], layout[STATE] = FOREVER, AWAY
        elif not self._judge.rests and layout[ALONE] > LONGEST_PAUSE:
            layout[ALONE] = 0


_started: WeakSet[Assistant] = WeakSet()


def _forget_threads() -> None:
    """A child process has none of its parent's threads; what they held locked stays so."""
    for helper in _started:
        helper._wanted = threading.Event()
        helper.end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def with_marks(layout: I64) -> I64:
    """A copy of a layout with room for the marks of `shares`."""
    marked = np.zeros(SIZE, dtype=np.int64)
    marked[: len(layout)] = layout
    return marked


def helps(n_weights: int) -> bool:
    """Whether an assistant makes a step faster that reads so many weights."""
    return n_weights >= LEAST_READ and n_cores() > 1


def n_cores() -> int:
    """How many cores this process may use, by its affinity and, in a container, by its quota."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # there is no such file, or it says "max"
        quota, period = QUOTA.read_text().split()
        n = min(n, int(quota) // int(period))
    return n
