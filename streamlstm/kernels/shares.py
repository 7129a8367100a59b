"""How two threads share a kernel's work: who makes what, where they meet, and how one calls the other.

The caller makes its part of a task and the assistant the other; each sum is made by one of them in the order that the
kernel gives it, so two give the bits of one. The assistant waits in a kernel of its own (see `assistant`) and is
called only if it is there. Without it the caller makes the whole.

What they tell each other are marks at the end of the `layout` that kernels are given, [SIZE] if there may be an
assistant, else shorter. What one thread writes and the other reads lies on cache lines of its own: STATE of the
assistant; how often each of the two has come to a meeting, at CALLER and at ASSISTANT; the TASK, with its two numbers
FROM and COUNT. The rest is the caller's: for how long it WAITED at most for the other; and if the assistant's core has
other work: for how many symbols it is left ALONE now, how long a PAUSE that was at first, and how many symbols flowed
TOGETHER since.
"""

from .atomics import acquire, exchange, release, yield_core
from .jit import kernel

WHOLE, CALLER, ASSISTANT = 0, 48, 64
"""Who makes a part: one thread makes all, or each of two its own. Two of these are places as well."""

STATE, TASK, FROM, COUNT, WAITED, ALONE, PAUSE, TOGETHER = 32, 80, 81, 82, 96, 97, 98, 99
SIZE = 112
AWAY, READY, CALLED = range(3)
FORWARD, BACKWARD, DESCEND = range(3)

YIELD = 20_000
"""How often one looks for the other before it lets its core go, which both may want: about 10 µs."""
PATIENCE = 100
"""How often it does before the caller thinks that the assistant's core is busy: about 1 ms."""
SHORTEST_PAUSE, LONGEST_PAUSE = 2_000, 640_000
"""For how many symbols it does without it then: twice as many as before if it has not helped for longer than that."""


@kernel
def share(n, unit, part):
    """The first, and how many, of n things are one thread's part: all, or the units of one half."""
    middle = (n + 2 * unit - 1) // (2 * unit) * unit
    if part == WHOLE:
        return 0, n
    return (0, middle) if part == CALLER else (middle, n - middle)


@kernel
def come(layout, part):
    """Tell the other thread that this one has come here; returns how often it has by now."""
    times = layout[part] + 1
    release(layout, part, times)
    return times


@kernel
def meet(layout, part):
    """Wait until the other thread has come here too: what each wrote before, both can read from then on."""
    if part != WHOLE:
        other = ASSISTANT if part == CALLER else CALLER
        times, looks = come(layout, part), 0
        while acquire(layout, other) < times:
            looks += 1
            if looks % YIELD == 0:
                yield_core()
        if part == CALLER:
            layout[WAITED] = max(layout[WAITED], looks // YIELD)


@kernel
def call(layout, task, first, count):
    """Call the assistant for a task of `count` symbols, if it is there; returns the caller's part."""
    if layout.size < SIZE:
        return WHOLE
    if task == FORWARD:
        layout[ALONE] = max(0, layout[ALONE] - count)
    if layout[ALONE] > 0:
        return WHOLE
    layout[TASK], layout[FROM], layout[COUNT] = task, first, count
    if not exchange(layout, STATE, READY, CALLED):
        return WHOLE
    layout[TOGETHER] += count if task == FORWARD else 0
    return CALLER


@kernel
def leave(layout, part):
    """The last meeting of a task; from then on the assistant may be called again, but not if it let the caller wait."""
    if part == ASSISTANT:
        release(layout, STATE, READY)
        come(layout, part)
    elif part == CALLER:
        meet(layout, part)
        if layout[WAITED] > PATIENCE:
            is_steady = layout[TOGETHER] > layout[PAUSE]
            layout[PAUSE] = SHORTEST_PAUSE if is_steady else min(max(2 * layout[PAUSE], SHORTEST_PAUSE), LONGEST_PAUSE)
            layout[ALONE], layout[TOGETHER] = layout[PAUSE], 0
            release(layout, STATE, AWAY)
        layout[WAITED] = 0
