"""Inverted dropout, forward and backward: the same function of x and of dy."""

from __future__ import annotations

from ...backend import Array, backend_of
from ...backend.failures import Explained
from ...backend.foreign import taken_in
from ..array_arguments import asks_for_cpu, check_input, check_out, check_overlap, same_memory
from .arguments import mask_of
from .engines import choose, get


def dropout(
    x: Array,
    keep_prob: float,
    *,
    seed: int,
    draw: int,
    out: Array | None = None,
    engine: str = "auto",
) -> Array:
    """Zero elements of `x` at random and scale up the rest; returns y, which may replace x.

        mask_i = 1 where bits(seed, draw, i) < keep_prob 2^32, else 0
        y = x mask / keep_prob

    The mean of y over all masks is x. bits are 32 random ones, told from the three numbers alone:
    the mask is the same on every engine, device, dtype and layout, and nothing is stored. Backward
    is the same call on dy: dx = dy mask / keep_prob.

    Args:
        x: input, float16/32/64, of any shape; left untouched unless it is `out`.
        keep_prob: probability that an element is kept, in (0, 1]; 1 copies x.
        seed: the seed of the generator, 0 to 2^64 - 1.
        draw: the number of this mask, 0 to 2^64 - 1: under one seed each has another.
        out: where y goes, of x's shape and dtype; may be x itself.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Returns:
        y: `out` if given, else a new array that lies in memory in x's order. A NumPy or CuPy
        array, where `as_array` took in another library's too.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: keep_prob is the probability to keep, as in Srivastava et al.; PyTorch and Keras
        take that of dropping, 1 - keep_prob. i counts the elements in C order from 0, also past
        2^32. x is multiplied by 1 / keep_prob, rounded to its dtype; float16 computes in float32.
        A dropped element is multiplied by 0, as in PyTorch: NaN and inf become NaN. keep_prob
        counts in steps of 2^-32, rounded up, and is at least one. On a GPU arrays that are not
        contiguous are copied; on the CPU, x where `out` lies in another order.
    Source: Srivastava et al. (2014), Dropout, section 10, for the scaling in training; Salmon,
        Moraes, Dror and Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, Philox4x32-10
        for the bits.
    """
    mask = mask_of(keep_prob, seed, draw)
    if asks_for_cpu(engine):
        y = get("numba").quick(x, mask, out)
        if y is not None:
            return y
    x, out = taken_in(("x", "out"), (x, out))
    check_input("x", x)
    if out is not None:
        check_out("x", out, x)
        check_overlap([("out", out)], [("x", None if same_memory(out, x) else x)])
    chosen, backend = choose(engine, x), backend_of(x)
    with backend.scope(), Explained("dropout", x, chosen.name):
        y = backend.empty_like(x) if out is None else out
        if mask.scale == 1.0:
            y[...] = x
        elif x.size:
            chosen.run(x, y, mask)
    return y
