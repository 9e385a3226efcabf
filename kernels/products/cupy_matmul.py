"""The product of two matrices on a GPU, with what comes before or behind it in a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ...backend import Array, backend_of
from ...backend.checks.arrays import check_writeable
from ...backend.failures import Explained
from ..activation import activation_forward
from ..activation.arguments import check_options
from ..array_arguments import check_input, check_overlap
from ..compiling.gpu.cuda_columns import column_sums
from . import cublaslt as lt
from .cupy_device import NoRoomError
from .cupy_plan import Plan
from .cupy_trial import try_out
from .problem import Described, NoProductError, Problem, described

_MOST = 1024  # plans; a network has some for each batch size

_EPILOGUES = {  # (f, has a bias, sums up b's columns)
    ("linear", False, False): lt.CUBLASLT_EPILOGUE_DEFAULT,
    ("linear", True, False): lt.CUBLASLT_EPILOGUE_BIAS,
    ("relu", False, False): lt.CUBLASLT_EPILOGUE_RELU,
    ("relu", True, False): lt.CUBLASLT_EPILOGUE_RELU_BIAS,
    ("linear", False, True): lt.CUBLASLT_EPILOGUE_BGRADA,
}
_plans: dict[tuple, Plan | str] = {}
"""What was made ready, by what it is for; or why it can't be."""


def matmul(
    a: Array,
    b: Array,
    out: Array | None = None,
    *,
    bias: Array | None = None,
    bias_grad: Array | None = None,
    activation: str = "linear",
    **options: Any,
) -> Array:
    """As this room's `matmul`, whose docstring tells what it takes and gives."""
    try:
        plan = _plan(a, b, out, bias, bias_grad, activation)
        if type(plan) is Plan:
            done = plan.run(a, b, out, bias if bias_grad is None else bias_grad)
            if done is not None:
                return done
    except NoProductError as error:
        _plans[_key(a, b, out, bias, bias_grad, activation)] = str(error)
    except NoRoomError:
        pass  # which the next call may find
    except Exception:
        with Explained("matmul", a, "cupy"):
            raise
    with Explained("matmul", a, "cupy"):
        return _apart(a, b, out, bias, bias_grad, activation, options)


def why_apart(
    a: Array,
    b: Array,
    out: Array | None = None,
    *,
    bias: Array | None = None,
    bias_grad: Array | None = None,
    activation: str = "linear",
) -> str:
    """As this room's `why_apart`."""
    try:
        plan = _plan(a, b, out, bias, bias_grad, activation)
    except NoRoomError as error:
        return str(error)
    return plan if isinstance(plan, str) else ""


def _key(
    a: Array,
    b: Array,
    out: Array | None,
    bias: Array | None,
    bias_grad: Array | None,
    activation: str,
) -> tuple:
    """What the plan depends on; AttributeError for what are no CuPy arrays."""
    vector = bias if bias_grad is None else bias_grad
    epilogue = _EPILOGUES.get((activation, bias is not None, bias_grad is not None), 0)
    return (
        described(a),
        described(b),
        None if out is None else described(out),
        None if vector is None else described(vector),
        epilogue,
    )


def _plan(
    a: Array,
    b: Array,
    out: Array | None,
    bias: Array | None,
    bias_grad: Array | None,
    activation: str,
) -> Plan | str:
    """What runs the product; or why nothing can."""
    try:
        key = _key(a, b, out, bias, bias_grad, activation)
    except AttributeError:
        return "the arrays are not CuPy's"
    if (plan := _plans.get(key)) is None:
        if len(_plans) >= _MOST:
            _plans.clear()
        first, second, result, vector, epilogue = key
        facts = Described(*first), Described(*second), result and Described(*result)
        plan = _plans[key] = _make(Problem(*facts, vector and Described(*vector), epilogue))
    return plan


def _make(problem: Problem) -> Plan | str:
    import cupy

    if not problem.epilogue:
        return "cuBLASLt has no product with such an activation, bias and bias_grad at once"
    index = problem.a.device
    with cupy.cuda.Device(index):
        try:
            plan = Plan(problem)
            try_out(index, problem.a.kind, problem.epilogue)
        except NoProductError as error:
            return str(error)
    return plan


def _apart(
    a: Array,
    b: Array,
    out: Array | None,
    bias: Array | None,
    bias_grad: Array | None,
    activation: str,
    options: Mapping[str, Any],
) -> Array:
    """The same by a launch for each part."""
    check_options(activation, name="activation", **options)
    alone = bias is None and bias_grad is None and activation == "linear"
    if alone or out is not None or bias_grad is not None:  # else the parts check what is theirs
        _check(a, b, out, bias, bias_grad)
    backend = backend_of(a, names=["a"])
    with backend.scope():
        if alone:
            return backend.xp.matmul(a, b, out=out)
        if bias_grad is not None and bias_grad.size:
            add_up = _column_sums(b, bias_grad)
        y = matmul(a, b, out)
        if bias is not None or activation != "linear":
            activation_forward(y, activation, bias=bias, out=y, **options)
        if bias_grad is not None and bias_grad.size:
            add_up()
    return y


def _column_sums(b: Array, sums: Array) -> Callable[[], object]:
    """What writes the sums of b's columns."""
    if isinstance(b, np.ndarray):
        return partial(b.sum, axis=0, out=sums)
    return column_sums(b if b.flags.c_contiguous else b.copy(), sums)


def _check(
    a: Array, b: Array, out: Array | None, bias: Array | None, bias_grad: Array | None
) -> None:
    given = {"a": a, "b": b, "out": out, "bias": bias, "bias_grad": bias_grad}
    given = {name: array for name, array in given.items() if array is not None}
    backend_of(*given.values(), names=list(given))
    check_input("a", a)
    if a.dtype != b.dtype:
        raise TypeError(
            f"b has dtype {b.dtype} but a has {a.dtype}; expected the same. Convert one of them"
        )
    for name, array in (("a", a), ("b", b)):
        if array.ndim != 2:
            raise ValueError(f"{name} has shape {array.shape}; expected a matrix, of two axes")
    if a.shape[1] != b.shape[0]:
        raise ValueError(
            f"a has shape {a.shape} and b {b.shape}; expected as many rows of b as columns of a"
        )
    shapes = {"out": (a.shape[0], b.shape[1]), "bias": b.shape[1:], "bias_grad": b.shape[1:]}
    for name, shape in shapes.items():
        array = given.get(name)
        if array is None:
            continue
        if array.shape != shape:
            raise ValueError(
                f"{name} has shape {array.shape}; expected {shape} for a {a.shape} and b {b.shape}"
            )
        if array.dtype != b.dtype:
            raise TypeError(
                f"{name} has dtype {array.dtype} but b has {b.dtype}; expected the same"
            )
        if name != "bias":
            check_writeable(name, array)
    check_overlap([("out", out), ("bias_grad", bias_grad)], [("a", a), ("b", b), ("bias", bias)])
