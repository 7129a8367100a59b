"""A second thread, the assistant, that computes half of each step and update of one predictor.

A step waits for the weights to be read from memory. Two cores read half of them each, in about half the time. The bits
are those of one core: each sum is computed by one of the two threads, in the order that the kernel gives.

While symbols come without a pause, the assistant spins in the kernel `descent.assist`; after a pause it sleeps until
the next window. The caller asks it for help with `call`, which succeeds only if it is spinning: otherwise the caller
does all of the work. Within a task both run the same kernel, each with its `part`, and wait for each other at each
`barrier`.

The two threads communicate through words at the end of `layout`. A layout without these words has no assistant. They
are on separate cache lines:

    STATE      AWAY, READY or CALLED. Only the caller changes READY to CALLED, and only the assistant makes the other
               changes: it cannot finish once it is called
    WANTED     1 while the assistant may be called, else 0; written by Python
    CALLER     how many barriers the caller has reached; ASSISTANT, how many the assistant has
    TASK       FORWARD, BACKWARD or DESCEND; and its two numbers, FIRST and COUNT
"""

import os
import threading
import time
from collections import deque
from typing import Any
from weakref import WeakSet

import numpy as np

from .arrays import F32, I64, Gradient, Stream
from .cores import n_cores
from .intrinsics import acquire, exchange, release, yield_core
from .jit import kernel, native_later

MIN_WEIGHTS = 80_000
"""How many weights a step must read for an assistant to be worth the synchronisation."""

TRIAL, PERIOD = 16, 4000
"""How many windows are timed with the assistant and without it; how many windows later that is done again."""

SPINS_BEFORE_YIELD = 20_000
"""How often a thread at a barrier looks for the other one before it offers its core to it: about 10 µs."""

SPINS_BEFORE_SLEEP = 100_000
"""How often the assistant looks for a task before it leaves its core until the next window: 2 to 4 ms."""

STATE, WANTED, CALLER, ASSISTANT, TASK, FIRST, COUNT, MARKED_SIZE = 32, 33, 48, 64, 80, 81, 82, 96
WHOLE = 0
"""The part of a thread that does all of a task. The parts of two threads are CALLER and ASSISTANT."""
AWAY, READY, CALLED = range(3)
FORWARD, BACKWARD, DESCEND = range(3)


# The kernels' side


@kernel
def share(n, unit, part):
    """The first and the number of those of n things that one thread computes: all, or the units of one half."""
    middle = (n + 2 * unit - 1) // (2 * unit) * unit
    if part == WHOLE:
        return 0, n
    return (0, middle) if part == CALLER else (middle, n - middle)


@kernel
def arrive(layout, part):
    """Tell the other thread that this one has reached a barrier; returns how many it has reached so far."""
    n_reached = layout[part] + 1
    release(layout, part, n_reached)
    return n_reached


@kernel
def barrier(layout, part):
    """Wait until the other thread is here too. Each can then read what the other wrote before."""
    if part != WHOLE:
        other = ASSISTANT if part == CALLER else CALLER
        n_reached, spins = arrive(layout, part), 0
        while acquire(layout, other) < n_reached:
            spins += 1
            if spins % SPINS_BEFORE_YIELD == 0:
                yield_core()


@kernel
def call(layout, task, first, count):
    """Call the assistant for a task, if it is ready; returns the caller's part."""
    if layout.size < MARKED_SIZE or layout[WANTED] == 0:
        return WHOLE
    layout[TASK], layout[FIRST], layout[COUNT] = task, first, count
    return CALLER if exchange(layout, STATE, READY, CALLED) else WHOLE


@kernel
def finish(layout, part):
    """End a task: the caller waits for the assistant, which may then be called again."""
    if part == ASSISTANT:
        release(layout, STATE, READY)
        arrive(layout, part)
    else:
        barrier(layout, part)


# Python's side


class Trial:
    """Which is faster, with the assistant or alone: TRIAL windows of each are timed, and the faster way is kept.

    After PERIOD windows there is another trial, or sooner if the windows with the assistant become slower. The other
    core may be busy, or may share its execution units with this one.
    """

    def __init__(self) -> None:
        self.is_assisted = False
        self._alone = 0.0  # seconds of a window
        self._switch(False, TRIAL)

    def window_done(self, seconds: float) -> None:
        """Record how long a window took, and decide about the next one."""
        self._n += 1
        if not self.is_assisted or self._n > TRIAL:  # the system needs a moment to give the assistant a core
            self._seconds.append(seconds)
        if not self.is_assisted:
            if self._n == self._end:
                self._alone = sorted(self._seconds)[TRIAL // 2]
                self._switch(True, PERIOD)
        elif 2 * sum(seconds > self._alone for seconds in self._seconds) > TRIAL:
            self._switch(False, PERIOD if self._n <= 2 * TRIAL else TRIAL)
        elif self._n == self._end:
            self._switch(False, TRIAL)

    def _switch(self, is_assisted: bool, end: int) -> None:
        self.is_assisted, self._n, self._end = is_assisted, 0, end
        self._seconds: deque[float] = deque(maxlen=TRIAL)


class Assistant:
    """A thread that assists one predictor from `start` to `end`.

    assist   the entry `descent.assist`
    learner  the buffers of an update, which both threads use
    """

    def __init__(self, assist: Any, learner: Any) -> None:
        self.is_done = False
        self.learner = learner
        self.layout = np.zeros(MARKED_SIZE, dtype=np.int64)
        self._entry, self._assist = assist, native_later(assist)  # not in the thread, which could compile at exit
        self._arrays: tuple[Any, ...] = ()
        self._asleep = _held_lock()
        self._trial, self._seconds = Trial(), 0.0

    def start(self) -> None:
        """Start the thread; if the system has no more threads, there is no assistant."""
        try:
            threading.Thread(target=self._work, name="streamlstm assistant", daemon=True).start()
            _started.add(self)
        except RuntimeError:
            self.is_done = True

    def end(self) -> None:
        """End the thread, without waiting for it."""
        self.is_done = True
        self._update_wanted()
        self._wake()

    def set_arrays(self, stream: Stream, *others: F32 | Gradient) -> None:
        """Work with these arguments of `assist` from now on, on a layout that is not in use yet."""
        self.layout[WANTED] = 0
        self._arrays, self.layout = (stream, *others), stream.layout
        self._update_wanted()

    def add_work(self, started: float) -> None:
        """Count the time from `time.perf_counter() == started` until now as work on the caller's window."""
        self._seconds += time.perf_counter() - started

    def window_done(self) -> None:
        """Decide about the next window by the work on this one, without the caller's pauses."""
        if self._assist is None:
            self._assist = native_later(self._entry)
        else:
            self._trial.window_done(self._seconds)
        self._seconds = 0.0
        self._update_wanted()

    def _update_wanted(self) -> None:
        """Say in the layout whether the assistant is wanted, and wake it if it is."""
        is_wanted = self._assist is not None and self._trial.is_assisted and not self.is_done
        self.layout[WANTED] = is_wanted
        if is_wanted and self.layout[STATE] == AWAY:
            self._wake()

    def _wake(self) -> None:
        """Let the thread look for work, now or when it is about to sleep.

        It waits for a lock, not for an `Event`: an interrupt in one of its methods could leave that locked.
        """
        if self._asleep.locked():  # only this method releases it, and only the thread acquires it
            self._asleep.release()

    def _work(self) -> None:
        while True:
            self._asleep.acquire()
            arrays = self._arrays
            if self.is_done:  # checked after reading the arrays: once it is set, the arrays just read are not valid
                return
            self._assist(*arrays)


def _held_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


_started: WeakSet[Assistant] = WeakSet()


def _forget_threads() -> None:
    """In a child process, which has none of its parent's threads: their locks stay as they were."""
    for assistant in _started:
        assistant._asleep = _held_lock()
        assistant.end()
        assistant.layout[STATE] = AWAY


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def with_marks(layout: I64) -> I64:
    """A copy of a layout that has the words for an assistant."""
    marked = np.zeros(MARKED_SIZE, dtype=np.int64)
    marked[: len(layout)] = layout
    return marked


def helps(n_weights: int) -> bool:
    """Whether an assistant can speed up a step that reads this many weights."""
    return n_weights >= MIN_WEIGHTS and n_cores() > 1
