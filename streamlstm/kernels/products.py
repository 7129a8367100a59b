"""Sums and products of vectors and matrices in flat arrays: y += x·W, and its gradients with respect to x and W.

`Vectors` and `Matrix` say where in an array they lie; the array is the argument before them. The order of every sum is
fixed.
"""

from ..jit.decorators import inlined, kernel
from ..jit.intrinsics import WIDE, load, load_tile, repeat, row_sums, splat, spread, store, store_tile
from .arrays import ZERO

SUMS = 16 if WIDE else 4
"""How many times 16 sums stay in registers. Each sum has the same order for any number."""
TILE = 16 * SUMS


@kernel
def clear(y, at, n):
    """y[at : at + n] = 0, for n a multiple of 32."""
    for j in range(at, at + n, 32):
        store(y, j, splat(ZERO, 32))


@kernel
def copy_row(y, at, x, source, n):
    """y[at : at + n] = x[source : source + n], for n a multiple of 32, as in all these."""
    for j in range(0, n, 32):
        store(y, at + j, load(x, source + j, 32))


@kernel
def add_row(y, at, x, source, n):
    """y[at : at + n] += x[source : source + n]."""
    for j in range(0, n, 32):
        store(y, at + j, load(y, at + j, 32) + load(x, source + j, 32))


@kernel
def copy_sum(y, at, x, first, second, n):
    """y[at : at + n] = x[first : first + n] + x[second : second + n]."""
    for j in range(0, n, 32):
        store(y, at + j, load(x, first + j, 32) + load(x, second + j, 32))


@inlined
def add_tile(tape, theta, operands, r, j, rows, n):
    """y_r[j] += Σ_k x_r[k]·W[k, j] for `rows` vectors from r on and n columns from j on; both numbers are literals."""
    y, x, W = operands
    at = y.start + r * y.stride + j
    tile = load_tile(tape, at, y.stride, rows, n)
    for k in range(W.rows):
        row = load(theta, W.start + k * W.columns + j, n)
        tile = tile + spread(tape, x.start + r * x.stride + k, x.stride, rows, n) * repeat(row, 1, rows)
    store_tile(tape, at, y.stride, rows, tile)


@kernel
def add_product(tape, y, x, theta, W):
    """y_r[j] += Σ_k x_r[k]·W[k, j] for all vectors r and columns j, whose number is a multiple of 128.

    SUMS vectors, or 4, share one reading of W. A single vector waits for W to be read, which is faster the longer the
    contiguous part of a row is.
    """
    operands, n = (y, x, W), W.columns
    end_of_tiles, end_of_fours = y.n - y.n % SUMS, y.n - y.n % 4
    for r in range(0, end_of_tiles, SUMS):
        for j in range(0, n, 16):
            add_tile(tape, theta, operands, r, j, SUMS, 16)
    for r in range(end_of_tiles, end_of_fours, 4):
        for j in range(0, n, 64):
            add_tile(tape, theta, operands, r, j, 4, 64)
    for r in range(end_of_fours, y.n):
        for j in range(0, n - 255, 256):
            add_tile(tape, theta, operands, r, j, 1, 256)
        for j in range(n - n % 256, n, 128):
            add_tile(tape, theta, operands, r, j, 1, 128)


@kernel
def add_transposed_product(work, y, theta, W, tape, d, from_the_end):
    """y_r[k] += Σ_j W[k, j]·d_r[j] for all vectors r and rows k.

    Computes four k at once, and four vectors if WIDE. For a single vector the rows may be taken from the last to the
    first: a caller that alternates finds the rows that it read last still in the cache.
    """
    end_of_fours = d.n - d.n % 4 if WIDE else 0
    for r in range(0, end_of_fours, 4):
        for k in range(0, W.rows, 4):
            tile = splat(ZERO, 256)  # 4 vectors by 4 k, 16 lanes each
            for j in range(0, W.columns, 16):
                rows = load_tile(theta, W.start + k * W.columns + j, W.columns, 4, 16)
                others = load_tile(tape, d.start + r * d.stride + j, d.stride, 4, 16)
                tile = tile + repeat(rows, 1, 4) * repeat(others, 4, 4)
            at = y.start + r * y.stride + k
            store_tile(work, at, y.stride, 4, load_tile(work, at, y.stride, 4, 4) + row_sums(tile, 16))
    for r in range(end_of_fours, d.n):
        for step in range(0, W.rows, 4):
            k = W.rows - 4 - step if from_the_end else step
            sums = splat(ZERO, 64)
            for j in range(0, W.columns, 16):
                rows = load_tile(theta, W.start + k * W.columns + j, W.columns, 4, 16)
                sums = sums + rows * repeat(load(tape, d.start + r * d.stride + j, 16), 1, 4)
            at = y.start + r * y.stride + k
            store(work, at, load(work, at, 4) + row_sums(sums, 4))


@kernel
def outer_products(grad, dW, tape, x, d):
    """dW[k, :] = Σ_r x_r[k]·d_r[:], r ascending; the sums of SUMS rows stay in registers for 64 vectors."""
    for first in range(0, d.n, 64):
        for k in range(0, dW.rows, SUMS):
            for j in range(0, dW.columns, 16):
                at = dW.start + k * dW.columns + j
                tile = splat(ZERO, TILE) if first == 0 else load_tile(grad, at, dW.columns, SUMS, 16)
                for r in range(first, min(first + 64, d.n)):
                    row = load(tape, d.start + r * d.stride + j, 16)
                    tile = tile + spread(tape, x.start + r * x.stride + k, 1, SUMS, 16) * repeat(row, 1, SUMS)
                store_tile(grad, at, dW.columns, SUMS, tile)


@kernel
def sum_vectors(grad, at, tape, d, n):
    """grad[at : at + n] = Σ_r d_r[:n], r ascending, for n a multiple of 128: the gradient of a bias."""
    for j in range(0, n, 128):
        total = splat(ZERO, 128)
        for r in range(d.n):
            total = total + load(tape, d.start + r * d.stride + j, 128)
        store(grad, at + j, total)
