"""Arrays of any layout for engines that take contiguous ones only: seen as rows, or copied.

Arrays that are one run of memory, in one order whatever it is, are seen as rows without a copy. If
the axis of the bias is not the fastest in memory, a row is a whole block of its channels, and the
bias is repeated along it.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ...backend import Array, backend_of
from ..compiling.dtypes import compute_dtype
from ..order import copy, empty_like, order_of, run_like, write_all
from .contract import ActivationEngine, Numbers


def forward_in_runs(
    engine: ActivationEngine,
    x: Array,
    bias: Array | None,
    y: Array,
    kind: str,
    numbers: Numbers,
    fresh: bool,
) -> None:
    """`engine.forward` on any arrays."""
    place = y if order_of(y) is not None else empty_like(x)
    x = run_like(x, place, fresh or place is not y or isinstance(y, np.ndarray))
    bias = None if bias is None else _repeated(bias, _inner(place))
    width = 0 if bias is None else bias.size
    engine.forward(
        _rows(x, width), bias, _rows(place, width), kind, numbers, fresh=fresh or place is not y
    )
    if place is not y:
        copy(y, place)


def backward_in_runs(
    engine: ActivationEngine,
    dy: Array,
    y: Array,
    dz: Array,
    bias: Array | None,
    bias_grad: Array | None,
    kind: str,
    numbers: Numbers,
    fresh: bool,
) -> None:
    """`engine.backward` on any arrays."""
    on_cpu, place, sums = isinstance(dz, np.ndarray), dz, None
    if order_of(dz) is None:
        place = empty_like(y)
    in_rows = bias_grad is None or (_inner(place) == 1 and order_of(bias_grad) is not None)
    if in_rows and (on_cpu or place is dz):
        sums = bias_grad
    summed_later = bias_grad is not None and sums is None
    if summed_later and not (on_cpu or fresh):
        place = empty_like(place)  # which is copied to dz once the sums are there
    fresh = fresh or place is not dz
    dy, y = run_like(dy, place, fresh or on_cpu), run_like(y, place, fresh=False)
    bias = None if bias is None else _repeated(bias, _inner(place))
    row = bias if sums is None else sums
    width = 0 if row is None else row.size
    dy, y, rows = (_rows(array, width) for array in (dy, y, place))
    engine.backward(dy, y, rows, bias, sums, kind, numbers, fresh=fresh)
    results = [] if place is dz else [(dz, place)]
    if summed_later:
        results.insert(0, (bias_grad, _sums(place)))
    write_all(results)


def _repeated(bias: Array, inner: int) -> Array:
    """The bias of a row in which so many elements share a place, as one run of memory."""
    if order_of(bias) is None:
        bias = bias.astype(bias.dtype.newbyteorder("="), order="C", copy=True)
    return bias if inner == 1 else backend_of(bias).xp.repeat(bias, inner)


def _sums(run: Array) -> Array:
    """The sums over all axes but the last, in float64; each stretch of memory by itself before,
    which NumPy adds up in pairs."""
    blocks = _rows(run, _inner(run)).reshape(-1, run.shape[-1], _inner(run))
    stretches = blocks.sum(axis=2, dtype=compute_dtype(run.dtype))
    return stretches.sum(axis=0, dtype="float64")


def _inner(run: Array) -> int:
    """Elements of a run of memory that lie between two places along its last axis."""
    order = order_of(run)
    if order is None or run.flags.c_contiguous:
        return 1
    return prod(run.shape[axis] for axis in order[order.index(run.ndim - 1) + 1 :])


def _rows(run: Array, width: int) -> Array:
    """A run of memory as rows of that width, or as one row if it is 0; without a copy."""
    order = order_of(run)
    assert order is not None
    return run.transpose(order).reshape(-1, width or run.size)
