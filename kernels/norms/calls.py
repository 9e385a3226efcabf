"""How a norm's call comes to its engine: at once where all is plain, else with care."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from ...backend import Array, backend_of
from ...backend.checks.numbers import positive
from ...backend.failures import Explained
from ...backend.memory_pool import empty_as
from ..array_arguments import same_memory
from ..compiling.dtypes import NATIVE, compute_dtype
from ..order import copy, order_of
from ..rows.contract import Arrays
from ..rows.engines import choose, get
from ..rows.skeleton import Shape
from .activations import FORWARD
from .arguments import check_activation, check_like, check_saved, check_target, shape_of_rows
from .norm import Norm, Saved, backward_rows, forward_rows

Results = tuple[Array, Array | None, Array | None]
_READABLE = 0x1 | 0x100  # NumPy's C_CONTIGUOUS | ALIGNED
_EMPTY: dict[str, Any] = {"f": np.empty((0, 0), np.float32), "d": np.empty((0, 0), np.float64)}


def quick_rows(x: Any, gamma: Any, beta: Any) -> Shape | None:
    """The rows of a NumPy array's last axis, if gamma and beta may belong to it."""
    if type(x) is not np.ndarray or not x.ndim:
        return None
    for vector in (gamma, beta):
        if vector is not None and (type(vector) is not np.ndarray or vector.ndim != 1):
            return None
    return shape_of_rows(x.shape, 1)


def quick_forward(
    norm: Norm, x: Any, shape: Shape, gamma: Any, beta: Any, eps: Any, residual: Any,
    activation: Any,
) -> tuple[Array, Saved] | None:  # fmt: skip
    """y and what is saved, by engine "numba", if these arguments need no care: contiguous NumPy
    arrays of one dtype; None if nothing was done. `x` is a NumPy array, `shape` its rows."""
    char = NATIVE.get(x.dtype)
    if char is None or not x.size or x.flags.num & _READABLE != _READABLE:
        return None
    if type(eps) is not float or not 0.0 < eps < inf:
        return None
    if activation is not None and (type(activation) is not str or activation not in FORWARD):
        return None
    period = shape.period
    if not (_fits(gamma, x, period) and _fits(beta, x, period)):
        return None
    y = empty_as(x)
    elements: tuple[Any, ...] = (x, y)
    if residual is not None:
        if not _alike(residual, x):
            return None
        elements = x, residual, empty_as(x), y
    kept = np.empty((len(norm.kept), shape.rows), x.dtype)
    vectors = (gamma, beta)[: len(norm.vectors)]
    arrays = Arrays(elements, vectors, _EMPTY[char], kept, _EMPTY[char])
    rows = forward_rows(norm, residual is not None, activation)
    get("numba").run(rows, shape, arrays, (eps,))
    return y, Saved(norm, elements[-2], gamma, beta, kept, shape, x.shape, activation)


def quick_backward(norm: Norm, dy: Any, saved: Any) -> Results | None:
    """The same of gradients."""
    if type(saved) is not Saved or saved.norm is not norm or saved.overwritten:
        return None
    x, gamma, beta, kept, shape = saved.x, saved.gamma, saved.beta, saved.kept, saved.shape
    char = NATIVE.get(x.dtype)
    if char is None or not x.size or not _alike(dy, x) or type(x) is not np.ndarray:
        return None
    if x.shape != saved.axes or x.flags.num & _READABLE != _READABLE:
        return None
    if type(kept) is not np.ndarray or kept.shape != (len(norm.kept), shape.rows):
        return None
    if kept.dtype is not x.dtype or kept.flags.num & _READABLE != _READABLE:
        return None
    period = shape.period
    if not (_fits(gamma, x, period) and _fits(beta, x, period)):
        return None
    dx = empty_as(x)
    added = _EMPTY[char]
    summed = gamma is not None or beta is not None
    if summed:
        added = np.empty((len(norm.vectors), period), x.dtype)
    vectors = (gamma, beta)[: len(norm.vectors)]
    rows = backward_rows(norm, saved.activation, summed)
    get("numba").run(rows, shape, Arrays((dy, x, dx), vectors, kept, _EMPTY[char], added), ())
    return (
        dx,
        None if gamma is None else added[0] if gamma.ndim == 1 else added[0].reshape(gamma.shape),
        None if beta is None else added[1] if beta.ndim == 1 else added[1].reshape(beta.shape),
    )


def _fits(vector: Any, x: Any, period: int) -> bool:
    return vector is None or (
        type(vector) is np.ndarray
        and vector.dtype is x.dtype
        and vector.size == period
        and vector.flags.num & _READABLE == _READABLE
    )


def _alike(array: Any, x: Any) -> bool:
    return (
        type(array) is np.ndarray
        and array.dtype is x.dtype
        and array.shape == x.shape
        and array.flags.num & _READABLE == _READABLE
    )


def forward(
    norm: Norm, x: Array, shape: Shape, gamma: Array | None, beta: Array | None, eps: Any,
    residual: Array | None, activation: Any, out: Array | None, engine: str,
) -> tuple[Array, Saved]:  # fmt: skip
    """y and what is saved, of arrays that are checked but for `out`."""
    eps, activation = positive("eps", eps), check_activation("activation", activation)
    if out is not None:
        vectors_read = ("gamma", gamma), ("beta", beta)
        check_target("x", out, x, (("x", x), ("residual", residual)), vectors_read)
    chosen, backend = choose(engine, x), backend_of(x)
    dtype = compute_dtype(x.dtype)
    with backend.scope(), Explained(f"{norm.name}_forward", x, chosen.name):
        y = backend.empty(x.shape, _native(x)) if out is None else out
        kept = backend.empty((len(norm.kept), shape.rows), dtype)
        held = x if residual is None else backend.empty(x.shape, _native(x))
        if x.size:
            place = y if _is_run(y) else backend.empty(x.shape, _native(x))
            branch = () if residual is None else (_run_of(x), _run_of(residual))
            elements = (*branch, held if branch else _run_of(x), place)
            nothing = backend.empty((0, 0), dtype)
            given = (gamma, beta)[: len(norm.vectors)]
            vectors = tuple(_vector(each, dtype) for each in given)
            arrays = Arrays(elements, vectors, nothing, kept, nothing)
            chosen.run(forward_rows(norm, bool(branch), activation), shape, arrays, (eps,))
            _put_back(y, place)
        replaced = out is not None and same_memory(out, held)
    return y, Saved(norm, held, gamma, beta, kept, shape, x.shape, activation, replaced)


def backward(norm: Norm, dy: Array, saved: Saved, out: Array | None, engine: str) -> Results:
    """dx and the gradients of gamma and beta, if `dy` and `saved` are right."""
    check_saved(norm, saved)
    check_like("dy", dy, saved.x, "saved.x")
    x, gamma, beta, shape = saved.x, saved.gamma, saved.beta, saved.shape
    if out is not None:
        read = ("saved.gamma", gamma), ("saved.beta", beta), ("saved.kept", saved.kept)
        check_target("dy", out, dy, (("dy", dy), ("saved.x", x)), read)
    chosen, backend = choose(engine, x), backend_of(x)
    dtype, summed = compute_dtype(x.dtype), gamma is not None or beta is not None
    with backend.scope(), Explained(f"{norm.name}_backward", x, chosen.name):
        dx = backend.empty(x.shape, _native(x)) if out is None else out
        size = (len(norm.vectors), shape.period) if summed else (0, 0)
        added = (backend.empty if x.size else backend.xp.zeros)(size, dtype)
        if x.size:
            place = dx if _is_run(dx) else backend.empty(x.shape, _native(x))
            vectors = tuple(_vector(each, dtype) for each in (gamma, beta)[: len(norm.vectors)])
            nothing = backend.empty((0, 0), dtype)
            arrays = Arrays((_run_of(dy), _run_of(x), place), vectors, saved.kept, nothing, added)
            chosen.run(backward_rows(norm, saved.activation, summed), shape, arrays, ())
            _put_back(dx, place)
            saved.overwritten = out is not None and same_memory(out, x)
        return dx, _gradient(gamma, added, 0), _gradient(beta, added, 1)


def _gradient(vector: Array | None, added: Array, k: int) -> Array | None:
    """The gradient of a vector, of its shape and dtype."""
    if vector is None:
        return None
    with np.errstate(all="ignore"):
        return added[k].reshape(vector.shape).astype(vector.dtype.newbyteorder("="), copy=False)


def _native(x: Array) -> np.dtype[Any]:
    return x.dtype.newbyteorder("=")


def _is_run(array: Array) -> bool:
    """Whether engines can take it: rows after rows, aligned, of native byte order."""
    return bool(array.flags.c_contiguous) and order_of(array) is not None


def _run_of(array: Array) -> Array:
    """`array` if engines can take it, else a copy that they can."""
    if _is_run(array):
        return array
    made = backend_of(array).empty(array.shape, _native(array))
    copy(made, array)
    return made


def _put_back(target: Array, place: Array) -> None:
    if place is not target:
        copy(target, place)


def _vector(vector: Array | None, dtype: str) -> Array | None:
    """One value a column as engines take it."""
    if vector is None:
        return None
    if vector.dtype.name == dtype and _is_run(vector):
        return vector.reshape(-1)
    return vector.astype(dtype, order="C", copy=True).reshape(-1)
