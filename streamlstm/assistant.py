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

import numpy as np
import numpy.typing as npt

from .atomics import acquire, exchange, pause, release
from .gradient import flow_back
from .jit import entry, native
from .kernels import flow
from .optim import descend_by
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

Arrays = tuple[npt.NDArray[Any], ...]


@entry("f4[::1], f4[::1], i4[::1], f4[::1], f4[::1], u1[::1], f4[::1], f4[::1], i8[::1]")
def assist(theta, tape, tokens, grad, work, touched, slots, hyper, layout):
    """Make the assistant's part of every task that is called for, until none was for a while; returns how many were.

    The arrays are those of `kernels.forward`, `gradient.backward` and `optim.descend`; grad, work, touched, slots and
    hyper may be empty for a net that does not learn.
    """
    release(layout, STATE, READY)
    state, tasks, idle = READY, 0, 0
    while state != AWAY:
        idle += 1
        if state == CALLED:
            task, first, count = layout[TASK], layout[FROM], layout[COUNT]
            if task == FORWARD:
                flow(theta, tape, tokens, layout, first, count, 1, ASSISTANT)
            elif task == BACKWARD:
                flow_back(theta, grad, work, tape, tokens, touched, layout, count, 1, ASSISTANT)
            else:
                descend_by(first, theta, slots, grad, touched, hyper, layout, ASSISTANT)
            leave(layout, ASSISTANT)
            tasks += 1
            idle = 0
        pause()
        if idle >= LONGEST_IDLE:
            exchange(layout, STATE, READY, AWAY)  # not if it has been called meanwhile
        state = acquire(layout, STATE)
    return tasks


class Assistant:
    """A thread that assists one predictor from `start` to `end`. Nobody waits for its end.

    By the clock, it rests if it does not make windows faster, each time for longer: a core may only seem to be free, as
    some virtual ones do. To know how fast the caller goes alone, it rests at first and now and then.
    """

    def __init__(self) -> None:
        self._is_done = False
        self._wanted, self._here = threading.Event(), threading.Event()
        self._arrays: Arrays = (np.zeros(SIZE, dtype=np.int64),)
        self._layout = self._arrays[-1]
        self._seconds: dict[bool, deque[float]] = {helped: deque(maxlen=SPELL) for helped in (True, False)}
        self._n_meetings, self._since = 0, 0.0
        self._rests, self._left, self._worked, self._next_rest = True, SPELL, 0, SPELL

    def take(self, arrays: Arrays) -> None:
        """Work with these arguments of `assist` from now on.

        Where one of them is another array than before, the layout must be another one too: nobody is called at the old
        one any more, and the assistant is sent away from it.
        """
        self._layout[STATE] = AWAY
        self._arrays, self._layout = arrays, arrays[-1]
        self._layout[ALONE] = FOREVER if self._rests else 0
        self._n_meetings, self._since = 0, 0.0
        self._wanted.set()

    def start(self) -> None:
        """Begin; where the system gives no more threads, there is no assistant."""
        native(assist)  # compiled here: a thread that nobody waits for may be in the middle of it at the end
        try:
            threading.Thread(target=self._work, name="streamlstm assistant", daemon=True).start()
        except RuntimeError:
            self._is_done = True

    def end(self) -> None:
        """There is nothing more to do."""
        self._is_done = True
        self._layout[STATE] = AWAY
        self._wanted.set()

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            arrays = self._arrays
            if self._is_done:  # looked at last: arrays from before it was set are not called for any more
                return
            self._here.set()
            if arrays[-1][ALONE] == 0:
                native(assist)(*arrays)

    def note_window(self) -> None:
        """The caller is done with a window, some of it with the assistant or all alone."""
        now, n_meetings = time.perf_counter(), int(self._layout[CALLER])
        if self._since:
            self._seconds[n_meetings != self._n_meetings].append(now - self._since)
        self._since, self._n_meetings = now, n_meetings
        self._left -= 1
        if self._left == 0:
            self._end_spell()
        if self._layout[STATE] == AWAY and self._layout[ALONE] == 0 and not self._is_done:
            self._here.clear()
            self._wanted.set()
            # not waited for, it could wait long itself: for Python's lock, which this thread hardly ever leaves
            if not self._here.wait(WAKING):
                self._rest()

    def _end_spell(self) -> None:
        """It has rested, or worked, for long enough to judge."""
        self._left = SPELL
        if self._rests:
            self._rests, self._layout[ALONE] = False, 0
            return
        self._worked += SPELL
        with_it, alone = self._seconds[True], self._seconds[False]
        if len(with_it) < SPELL:
            return  # it was sent away meanwhile
        if alone and statistics.median(with_it) > GAIN * statistics.median(alone):
            self._rest()
        elif self._worked >= BETWEEN:
            self._next_rest = SPELL
            self._rest()

    def _rest(self) -> None:
        """Do without it for some windows, if that comes to nothing again for twice as many."""
        self._left, self._next_rest = self._next_rest, min(2 * self._next_rest, LONGEST_REST)
        self._rests, self._worked, self._layout[ALONE], self._layout[STATE] = True, 0, FOREVER, AWAY
        self._seconds[True].clear()


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
