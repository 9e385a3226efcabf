"""The arguments of norms, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from numbers import Integral
from typing import Any

from ...backend import Array, backend_of
from ...backend.checks.numbers import Check, count, positive
from ..array_arguments import check_input, check_out, check_overlap, same_memory
from ..compiling.dtypes import compute_dtype
from ..rows.contract import BESIDE
from ..rows.skeleton import Shape
from .activations import FORWARD
from .norm import Norm, Saved


def check_activation(name: str, value: Any) -> str | None:
    """None, "relu", "silu" or "gelu"."""
    if not (value is None or (isinstance(value, str) and value in FORWARD)):
        names = ", ".join(repr(name) for name in FORWARD)
        raise ValueError(f"{name} is {value!r}; expected one of {names}")
    return value


def check_lengths(name: str, value: Any, such: str = "64 or (3, 32, 32)") -> tuple[int, ...]:
    """The lengths of axes, at least one of them; a number is that of a single one."""
    try:
        whole = _is_integer(value)
        shape: tuple[Any, ...] = (value,) if whole else tuple(value)
    except TypeError:
        shape = (None,)
    if not all(map(_is_integer, shape)) or isinstance(value, str):
        raise TypeError(
            f"{name} is {value!r}; expected the lengths of x's last axes, such as {such}"
        )
    if not shape or any(length < 0 for length in shape):
        raise ValueError(
            f"{name} is {value!r}; expected the lengths of x's last axes, such as {such}"
        )
    return tuple(map(int, shape))


def _eps_or_none(name: str, value: Any) -> float | None:
    return None if value is None else positive(name, value)


_LAST_AXES: Mapping[str, Check] = {
    "normalized_shape": check_lengths,
    "eps": positive,
    "activation": check_activation,
}
OPTIONS: Mapping[str, Mapping[str, Check]] = {
    "layer_norm": _LAST_AXES,
    "rms_norm": {**_LAST_AXES, "eps": _eps_or_none},
    "group_norm": {"groups": count, "eps": positive, "activation": check_activation},
}


def check_last_axes(x: Array, normalized_shape: Any) -> tuple[int, ...]:
    """The lengths of the axes that a row has."""
    if not x.ndim:
        raise ValueError("x has no axes; expected at least 1, such as (samples, features)")
    if normalized_shape is None:
        return tuple(x.shape[-1:])
    such = f"{x.shape[-1]} or {x.shape[-1:]}"
    shape = check_lengths("normalized_shape", normalized_shape, such)
    if len(shape) > x.ndim or x.shape[x.ndim - len(shape) :] != shape:
        raise ValueError(
            f"normalized_shape is {normalized_shape!r} but x has shape {x.shape}; expected the "
            f"lengths of x's last axes, such as {x.shape[-1:]}"
        )
    return shape


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


@lru_cache(maxsize=256)
def shape_of_rows(axes: tuple[int, ...], last: int) -> Shape:
    """Rows of the last axes of an array of that shape."""
    return Shape(prod(axes[: len(axes) - last]), 1, prod(axes[len(axes) - last :]), 1)


@lru_cache(maxsize=256)
def shape_of_groups(axes: tuple[int, ...], groups: int) -> Shape:
    """Rows of so many groups of axis 1."""
    return Shape(axes[0] * groups, groups, axes[1] // groups, prod(axes[2:]))


def check_groups(x: Array, groups: Any) -> Shape:
    """The rows of x, (N, C, ...), of which `groups` divides C."""
    if x.ndim < 2:
        raise ValueError(
            f"x has shape {x.shape}; expected at least 2 axes, (samples, channels, ...)"
        )
    if not _is_integer(groups):
        raise TypeError(
            f"groups is {groups!r} ({type(groups).__name__}); expected an integer that divides the "
            f"{x.shape[1]} channels of x"
        )
    groups = int(groups)
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(
            f"groups is {groups} but x has shape {x.shape}, {x.shape[1]} channels; expected a "
            "number from 1 on that divides them"
        )
    shape = shape_of_groups(x.shape, groups)
    if x.size and shape.width < 2:
        raise ValueError(
            f"x has shape {x.shape}, which is 1 value in each of {groups} groups; expected at "
            "least 2 to take a variance of. Take fewer groups"
        )
    return shape


def check_vector(name: str, vector: Array, shape: tuple[int, ...], x: Array) -> None:
    """One value a column, beside x, of its dtype or the one that is computed in."""
    backend_of(x, vector, names=["x", name])
    wanted = {x.dtype.name, compute_dtype(x.dtype)}
    if vector.dtype.name not in wanted:
        raise TypeError(
            f"{name} has dtype {vector.dtype} but x has {x.dtype}; expected "
            f"{' or '.join(sorted(wanted))}. Convert it with {name}.astype({x.dtype.name!r})"
        )
    if vector.shape != shape:
        raise ValueError(
            f"{name} has shape {vector.shape} but x has {x.shape}; expected {shape}, one value for "
            "each place that is normalized"
        )


def check_like(name: str, array: Array, x: Array, other: str = "x") -> None:
    """An array of the shape and dtype of x, which users call `other`."""
    check_input(name, array, BESIDE)
    backend_of(x, array, names=[other, name])
    if array.dtype.name != x.dtype.name:
        raise TypeError(
            f"{name} has dtype {array.dtype} but {other} has {x.dtype}; expected the same. Convert "
            f"it with {name}.astype({x.dtype.name!r})"
        )
    if array.shape != x.shape:
        raise ValueError(
            f"{name} has shape {array.shape} but {other} has {x.shape}; expected the same"
        )


def check_target(
    name: str,
    out: Array,
    like: Array,
    replaceable: Sequence[tuple[str, Array | None]],
    read: Sequence[tuple[str, Array | None]],
) -> None:
    """`out` can take a result like the array called `name`; it may be one of those that are
    replaceable, but shares no memory with others."""
    check_out(name, out, like)
    others = [
        (each, None if array is not None and same_memory(out, array) else array)
        for each, array in replaceable
    ]
    check_overlap([("out", out)], [*others, *read])


def check_saved(norm: Norm, saved: Any) -> None:
    """`saved` is of this norm's forward, and all in it has the shapes of that time."""
    if not isinstance(saved, Saved) or saved.norm is not norm:
        came = f"of {saved.norm.name}" if isinstance(saved, Saved) else f"a {type(saved).__name__}"
        raise TypeError(f"saved is {came}; expected the second result of {norm.name}_forward")
    if saved.overwritten:
        raise ValueError(
            "saved.x was overwritten, by out=x of the forward or by out=saved.x of a backward; "
            "expected the forward's input as it was. Leave out= away in the forward"
        )
    kept = len(norm.kept), saved.shape.rows
    if (
        saved.x.shape != saved.axes
        or not saved.kept.flags.c_contiguous
        or saved.kept.shape != kept
        or saved.kept.dtype.name != compute_dtype(saved.x.dtype)
        or any(v is not None and v.size != saved.shape.period for v in (saved.gamma, saved.beta))
    ):
        raise ValueError(
            f"saved was changed since the forward: x has shape {saved.x.shape}, kept "
            f"{saved.kept.shape} {saved.kept.dtype}; expected {saved.axes} and {kept} "
            f"{compute_dtype(saved.x.dtype)}, and gamma and beta as they were"
        )
