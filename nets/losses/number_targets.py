"""The arguments of losses whose targets are numbers, checked before anything is computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import backend_of
from ...backend.foreign import taken_in
from ..types import DTYPES, Array

_NUMPYS_OR_NONE = (np.ndarray, type(None))


def arrays_of(
    output: Array, targets: Array, weights: Array | None = None, *, called: str = "targets"
) -> tuple[Array, Array, Array | None]:
    """What a loss is called with, arrays of other libraries seen as NumPy's or CuPy's.

    `called` is what errors call the targets.
    """
    if type(output) is type(targets) is np.ndarray and type(weights) in _NUMPYS_OR_NONE:
        return output, targets, weights  # the common case, in a fraction of the time
    output, targets, weights = taken_in(("output", called, "weights"), (output, targets, weights))
    return output, targets, weights


def check_output(output: Array) -> None:
    """`output` is a floating-point NumPy or CuPy array (n, k) or (n,) with at least one element."""
    backend_of(output, names=["output"])
    if output.ndim not in (1, 2) or 0 in output.shape:
        raise ValueError(f"output has shape {output.shape}; expected (n, k) or (n,), at least 1")
    if output.dtype.name not in DTYPES:
        raise TypeError(f"output has dtype {output.dtype}; expected {', '.join(DTYPES)}")


def check_numbers(name: str, values: Array, kinds: str = "iuf") -> None:
    """`values` have a dtype of one of the `kinds`, and all are finite. Waits for a GPU."""
    if values.dtype.kind not in kinds:
        raise TypeError(
            f"{name} have dtype {values.dtype}; expected numbers: integers or float16/32/64"
        )
    with np.errstate(all="ignore"):
        low, high = float(values.min()), float(values.max())
    if not -np.inf < low <= high < np.inf:
        raise ValueError(
            f"{name} hold values that are not finite; expected numbers only. Find them with "
            "numpy.isfinite"
        )


def check_shape(name: str, shape: tuple[int, ...], rows: int, width: int) -> None:
    """`shape` is (rows, width), or (rows,) where the width is 1."""
    if shape != (rows, width) and (width != 1 or shape != (rows,)):
        either = f"({rows},) or ({rows}, 1)" if width == 1 else f"({rows}, {width})"
        raise ValueError(f"{name} have shape {shape}; expected {either}, as the output has")


def aligned(name: str, values: Array, output: Array, kinds: str = "iuf") -> Array:
    """`values` in the shape of `output` and in the dtype it is computed in.

    Raises:
        TypeError, MixedBackendsError: not numbers, or not where `output` lies.
        ValueError: another shape.
    """
    backend_of(output, values, names=["output", name])
    if values.dtype.kind not in kinds:
        raise TypeError(f"{name} have dtype {values.dtype}; expected integers or float16/32/64")
    width = output.shape[1] if output.ndim == 2 else 1
    check_shape(name, values.shape, len(output), width)
    return values.reshape(output.shape).astype(compute_dtype(output), copy=False)


def row_factors(weights: Array | None, output: Array) -> Any:
    """weights / n, to be multiplied with what has the shape of `output`; 1 / n without any."""
    n = len(output)
    if weights is None:
        return 1 / n
    backend_of(output, weights, names=["output", "weights"])
    if weights.shape != (n,) or weights.dtype.kind not in "iuf":
        raise ValueError(
            f"weights have shape {weights.shape} and dtype {weights.dtype}; expected ({n},), a "
            "number for each row"
        )
    factors = weights.astype(compute_dtype(output), copy=False) / n
    return factors[:, None] if output.ndim == 2 else factors


def compute_dtype(output: Array) -> np.dtype[Any]:
    """What is computed in: float32 for float16, else the dtype itself."""
    return np.dtype(np.float32) if output.dtype == np.float16 else np.dtype(output.dtype)
