"""A second core that makes half of each step where the next symbol cannot be known: what is read per core is halved.

A step of one symbol waits for the reading of the weights. The predictor's thread makes the first half of the columns
of every product, the assistant's the other half, each sum in the order that `kernels` gives it: the same bits. The
assistant waits in a kernel of its own, and is called only if it is there; without it the step is made alone.

marks  int64 [WORDS]  The words that both threads read, each on a cache line of its own: STATE of the assistant; how
                      often each of the two has come to a place where they meet; the FIRST slot of the step; and if
                      the assistant's core has other work: for how many steps it is left ALONE now, how long a
                      PAUSE that was at first, and how many steps were made TOGETHER since.
"""

import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .atomics import acquire, exchange, pause, release
from .jit import entry, kernel
from .kernels import (
    COLUMNS,
    GATE_STEP,
    GATES,
    HIDDEN,
    LAYERS,
    OUTPUT,
    RECORD,
    SKIP,
    SLOT,
    TABLES,
    VOCABULARY,
    add_product,
    add_row,
    cell,
    copy_row,
    forward,
    score,
    softmax,
)

STATE, CALLER, ASSISTANT, FIRST, ALONE, PAUSE, TOGETHER = range(0, 112, 16)
WORDS = 112
AWAY, READY, CALLED = range(3)

PATIENCE = 2_000_000
"""How often the caller looks for the assistant before it thinks that its core is busy: about 1 ms."""
SHORTEST_PAUSE, LONGEST_PAUSE = 400, 50_000
"""For how many steps it does without it then: twice as many as before if it has not helped for longer than that."""
LONGEST_IDLE = 100_000
"""How often the assistant looks for a call before it leaves its core: 2 to 4 ms."""
SHORTEST_NAP, LONGEST_NAP = 1e-4, 0.1
"""For how many seconds it does: twice as long each time that it was not called since the last."""

LEAST_READ = {False: 125_000, True: 300_000}
"""How many weights a step must read for half of them to be worth the meetings; more if the net learns, since an update
takes back what lies in the other core's cache."""

MEMORY, WINDOWS_BETWEEN, HARM = 16, 400, 1.15
"""How many windows of each kind a trial compares; after how many with the assistant it makes some alone, to compare;
and how many times as long a window with it must take to be thought the slower one."""

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux tells a container how many µs of how many it may compute."""

Arrays = tuple[npt.NDArray[Any], ...]


@kernel
def come(marks, mine):
    """Tell the other thread that this one has come here; returns how often it has by now."""
    times = marks[mine] + 1
    release(marks, mine, times)
    return times


@kernel
def meet(marks, mine, other):
    """Wait until the other thread has come here too; returns how often this one looked."""
    times, looks = come(marks, mine), 0
    while acquire(marks, other) < times:
        looks += 1
    return looks


@kernel
def half(n, is_assistant):
    """The first column, and how many, of one thread's share of n, which is a multiple of 128."""
    middle = (n // 2 + 127) // 128 * 128
    return (middle, n - middle) if is_assistant else (0, middle)


@kernel
def half_step(theta, tape, tokens, layout, first, marks, is_assistant):
    """One thread's half of `forward` for one symbol; the caller makes alone what takes no reading of weights.

    Where each step overwrites the record, too, what is read is whole: h is made anew between two meetings, and p after
    the last. Returns the longest time, in looks, that it waited for the other.
    """
    V, C, H, L, skip = layout[VOCABULARY], layout[COLUMNS], layout[HIDDEN], layout[LAYERS], layout[SKIP]
    N, record = 4 * H, layout[RECORD]
    old = first * layout[SLOT]
    new = old + layout[SLOT]
    mine, other = (ASSISTANT, CALLER) if is_assistant else (CALLER, ASSISTANT)
    longest = 0
    begin, n = half(N, is_assistant)
    for layer in range(L):
        w = layer * (2 * H + 1) * N + begin
        h = C + 2 * layer * H
        gates = new + layout[GATES] + layer * layout[GATE_STEP]
        z = gates + begin
        copy_row(tape, z, theta, w + H * N, n)
        if skip or layer == 0:
            add_row(tape, z, theta, layout[TABLES] + (layer * V + tokens[first]) * N + begin, n)
        if layer > 0:
            add_product(tape, z, new + h - 2 * H, record, 1, theta, w - H * N, H, N, n)
        add_product(tape, z, old + h, record, 1, theta, w, H, N, n)
        longest = max(longest, meet(marks, mine, other))
        if not is_assistant:
            cell(tape, old + h, new + h, gates, H)
        longest = max(longest, meet(marks, mine, other))
    begin, n = half(C, is_assistant)
    w = layout[OUTPUT] + begin
    copy_row(tape, new + begin, theta, w + (L if skip else 1) * H * C, n)
    for layer in range(0 if skip else L - 1, L):
        add_product(tape, new + begin, new + C + 2 * layer * H, record, 1, theta, w, H, C, n)
        w += H * C
    if is_assistant:
        release(marks, STATE, READY)
        come(marks, mine)
    else:
        longest = max(longest, meet(marks, mine, other))
        softmax(tape, new, V, C)
    return longest


@kernel
def pause_assistant(marks):
    """Send the assistant away, which let the caller wait."""
    is_steady = marks[TOGETHER] > marks[PAUSE]
    marks[PAUSE] = SHORTEST_PAUSE if is_steady else min(2 * marks[PAUSE], LONGEST_PAUSE)
    marks[ALONE], marks[TOGETHER] = marks[PAUSE], 0
    release(marks, STATE, AWAY)


@entry("f4[::1], f4[::1], i4[::1], f4[::1], i8[::1], i8, i8[::1]")
def step(theta, tape, tokens, bits, layout, first, marks):
    """`forward` for one symbol, by two cores if an assistant is there; for empty marks there is none."""
    if marks.size == 0:
        forward(theta, tape, tokens, bits, layout, first, 1, 1)
        return
    marks[ALONE] = max(0, marks[ALONE] - 1)
    marks[FIRST] = first
    if marks[ALONE] > 0 or not exchange(marks, STATE, READY, CALLED):
        forward(theta, tape, tokens, bits, layout, first, 1, 1)
        return
    score(tape, tokens, bits, layout, first, 1)
    marks[TOGETHER] += 1
    if half_step(theta, tape, tokens, layout, first, marks, False) > PATIENCE:
        pause_assistant(marks)


@entry("f4[::1], f4[::1], i4[::1], i8[::1], i8[::1]")
def assist(theta, tape, tokens, layout, marks):
    """Make half of every step that is called for, until none was for a while; returns how many there were."""
    release(marks, STATE, READY)
    state, steps, idle = READY, 0, 0
    while state != AWAY:
        idle += 1
        if state == CALLED:
            half_step(theta, tape, tokens, layout, marks[FIRST], marks, True)
            steps += 1
            idle = 0
        pause()
        if idle >= LONGEST_IDLE:
            exchange(marks, STATE, READY, AWAY)  # not if it has been called meanwhile
        state = acquire(marks, STATE)
    return steps


class Assistant:
    """A thread that assists one predictor's steps from `start` until `is_done`.

    arrays  gives theta, tape, tokens, layout and marks as they are now. Whoever puts another array in the place of one
            takes new marks too: at the old ones nobody is called any more, and the assistant leaves them.

    Nobody waits for its end: what it does not find anew it does not touch.
    """

    def __init__(self, arrays: Callable[[], Arrays]) -> None:
        self._arrays = arrays
        self.is_done = False

    def start(self) -> None:
        """Begin; where the system gives no more threads, there is no assistant."""
        with suppress(RuntimeError):
            threading.Thread(target=self._work, name="streamlstm assistant", daemon=True).start()

    def _work(self) -> None:
        nap = SHORTEST_NAP
        while True:
            arrays = self._arrays()
            if self.is_done:  # looked at last: arrays from before it was set are not called for any more
                return
            has_helped = arrays[-1][ALONE] == 0 and assist(*arrays) > 0
            nap = SHORTEST_NAP if has_helped else min(2 * nap, LONGEST_NAP)
            time.sleep(nap)


class Trial:
    """By the clock, whether an assistant helps: a core that only seems to be free, as some virtual ones do, does not.

    Told how long each window took, it sends the assistant away where the windows with it are the slower ones, each time
    for longer, and now and then for a moment, to know how fast it goes alone.
    """

    def __init__(self) -> None:
        self._seconds: dict[bool, deque[float]] = {helped: deque(maxlen=MEMORY) for helped in (True, False)}
        self._n_helped = self._n_losses = 0

    def note(self, marks: npt.NDArray[np.int64], helped: bool, seconds: float) -> None:
        """A window is over that took so many seconds, with some of its steps made together or with none."""
        self._seconds[helped].append(seconds)
        self._n_helped += helped
        if not helped or marks[ALONE] > 0:
            return
        with_it, alone = self._seconds[True], self._seconds[False]
        if len(with_it) == len(alone) == MEMORY and statistics.median(with_it) > HARM * statistics.median(alone):
            marks[ALONE] = SHORTEST_PAUSE << min(self._n_losses, 5)
            self._n_losses += 1
            with_it.clear()
        elif self._n_helped % WINDOWS_BETWEEN == 0:
            marks[ALONE] = SHORTEST_PAUSE
            self._n_losses = 0


def helps(n_weights: int, learning: bool) -> bool:
    """Whether an assistant makes a step faster that reads so many weights."""
    return n_weights >= LEAST_READ[learning] and n_cores() > 1


def n_cores() -> int:
    """How many cores this process may use, by its affinity and, in a container, by its quota."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # there is no such file, or it says "max"
        quota, period = QUOTA.read_text().split()
        n = min(n, int(quota) // int(period))
    return n
