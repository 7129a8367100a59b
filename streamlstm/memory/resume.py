"""How a reader of parked streams goes on with another stream and reads for it, in one kernel.

A call of a kernel lets another thread of Python run, and at its end it has to wait for that thread. So the fewer
kernels they call, the less the threads of a pool wait for each other.
"""

from ..jit.decorators import entry
from ..kernels.arrays import F32, I32, Stream
from ..kernels.network import forward, output_layer
from .arrays import MemoryArrays
from .delta import DeltaArrays, apply_delta
from .mixture import mix, remember
from .text import set_contexts


@entry
def resume_and_read(
    theta: F32,
    stream: Stream,
    memory: MemoryArrays,
    weights: DeltaArrays,
    marks: I32,
    words: I32,
    count: int,
    learn: bool,
):
    """Give the weights of the mixture the delta `marks`, `words`, and read `count` symbols from the state in slot 0 on.

    Returns the number of symbols done, as `mixture.remember` does.
    """
    apply_delta(weights.array, weights.base, weights.written, marks, words)
    output_layer(theta, stream, 0, 1)
    set_contexts(memory.state)
    mix(memory, stream.tape, stream.layout, 0)
    if count == 0:
        return 0
    forward(theta, stream, 0, count, 1)
    return remember(memory, stream, memory.scratch[:0], memory.written[:0], 0, 0, count, learn)
