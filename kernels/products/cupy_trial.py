"""A small product, tried once on each GPU: that cuBLASLt computes there what is meant.

NVIDIA's pages don't say what their ReLU makes of NaN, which must stay NaN here; and which sums a
gradient's epilogue writes is better seen than read. What fails the trial is not used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import KernelError
from . import cublaslt as lt
from .cupy_plan import Plan
from .problem import Described, NoProductError, Problem, described

_ROWS, _INNER, _COLUMNS = 24, 16, 8


def try_out(index: int, kind: str, epilogue: int) -> None:
    """Run products with an epilogue on GPU `index`, the current device, once; the host waits.

    Raises:
        NoProductError: there is no such product, or it does not compute what is meant.
        NoRoomError: there is no memory to work in, so that nothing was tried.
        KernelError: the current stream is captured, where nothing can be tried.
    """
    key = index, kind, epilogue
    if key not in _reasons:
        if _is_captured():
            raise KernelError(
                "the first matrix product of its kind comes while a stream is captured; expected "
                "one before that, since the kind is tried out. Run the step once before its capture"
            )
        _reasons[key] = _tried(kind, epilogue)
    if reason := _reasons[key]:
        raise NoProductError(reason)


def _is_captured() -> bool:
    import cupy

    return bool(cupy.cuda.get_current_stream().is_capturing())


_reasons: dict[tuple[int, str, int], str] = {}
"""GPU, dtype's character and epilogue -> why products are not cuBLASLt's; "" where they are."""


def _tried(kind: str, epilogue: int) -> str:
    import cupy

    sums = epilogue == lt.CUBLASLT_EPILOGUE_BGRADA
    a, b, vector, y, expected = _example(kind, epilogue)
    try:
        given = [cupy.asarray(each) for each in (a, b, vector)]
        if sums:
            given[0] = cupy.asarray(a.T.copy()).T  # as the gradient of a weight takes it
        first, second, third = (Described(*described(each)) for each in given)
        alone = epilogue in (lt.CUBLASLT_EPILOGUE_DEFAULT, lt.CUBLASLT_EPILOGUE_RELU)
        plan = Plan(Problem(first, second, None, None if alone else third, epilogue))
        out = plan.run(given[0], given[1], None, None if alone else given[2])
    except NoProductError as error:
        return str(error)
    if out is None or not np.array_equal(out.get(), y, equal_nan=True):
        return f"a trial with epilogue {epilogue} gave a wrong product"
    if sums and not np.array_equal(given[2].get(), expected):
        return f"a trial with epilogue {epilogue} gave wrong sums"
    return ""


def _example(kind: str, epilogue: int) -> tuple[Any, ...]:
    """(a, b, vector, what a product is, what the vector is then): numbers that nobody rounds."""
    rng = np.random.default_rng(0)
    a = rng.integers(-3, 4, (_ROWS, _INNER)).astype(float)
    b = rng.integers(-3, 4, (_INNER, _COLUMNS)).astype(float)
    vector = rng.integers(-9, 10, _COLUMNS).astype(float)
    if epilogue == lt.CUBLASLT_EPILOGUE_BGRADA:
        y, sums = a @ b, b.sum(axis=0)
    else:
        a[3, 5] = np.nan
        y, sums = a @ b, vector
        if epilogue & lt.CUBLASLT_EPILOGUE_BIAS:
            y = y + vector
        if epilogue & lt.CUBLASLT_EPILOGUE_RELU:
            y = np.maximum(y, 0)
    return tuple(each.astype(kind) for each in (a, b, vector, y, sums))
