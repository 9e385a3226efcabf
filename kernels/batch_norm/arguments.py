"""The arguments of batch normalization, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from numbers import Integral
from typing import Any

from ...backend import Array, backend_of
from ...backend.checks.arrays import check_writeable
from ...backend.checks.numbers import Check, fraction, positive
from ...backend.types import DTYPES
from ..array_arguments import check_input
from .layout import Layout, layout_of

VECTORS = ("gamma", "beta", "running_mean", "running_var")


def check_pair(array: Array, x: Array, name: str, called: str = "dy") -> None:
    """An array of floating-point numbers like x, which users call `name`."""
    check_input(called, array)
    backend_of(x, array, names=[name, called])
    if array.dtype != x.dtype:
        raise TypeError(
            f"{called} has dtype {array.dtype} but {name} has {x.dtype}; expected the same. "
            f"Convert it with {called}.astype({x.dtype.name!r})"
        )
    if array.shape != x.shape:
        raise ValueError(
            f"{called} has shape {array.shape} but {name} has {x.shape}; expected the same"
        )


def check_layout(x: Array, channel_axis: Any) -> Layout:
    """The layout of x around its channel axis."""
    if x.ndim < 2:
        raise ValueError(
            f"x has shape {x.shape}; expected at least 2 axes, such as (samples, channels)"
        )
    if not isinstance(channel_axis, Integral) or isinstance(channel_axis, bool):
        raise TypeError(f"channel_axis is {channel_axis!r}; expected an integer, such as 1 or -1")
    if not -x.ndim <= channel_axis < x.ndim:
        raise ValueError(
            f"channel_axis is {channel_axis} but x has {x.ndim} axes; expected "
            f"{-x.ndim} to {x.ndim - 1}"
        )
    return layout_of(x, int(channel_axis) % x.ndim)


def check_vectors(
    x: Array, layout: Layout, vectors: Sequence[Array | None], called: str = "x"
) -> None:
    """gamma, beta, running_mean and running_var are None or one value a channel, beside x."""
    given = [(name, v) for name, v in zip(VECTORS, vectors, strict=True) if v is not None]
    backend_of(x, *(v for _, v in given), names=[called, *(name for name, _ in given)])
    for name, vector in given:
        written = name.startswith("running")
        if vector.dtype.char not in "efd" and (written or vector.dtype.kind not in "iu"):
            raise TypeError(
                f"{name} has dtype {vector.dtype}; expected {', '.join(DTYPES)}"
                f"{'' if written else ' or integers'}. Convert it with "
                f"{name}.astype({x.dtype.name!r})"
            )
        if vector.shape != (layout.channels,):
            raise ValueError(
                f"{name} has shape {vector.shape}; expected ({layout.channels},), one value for "
                f"each channel along axis {layout.axis} of {called}, whose shape is {x.shape}"
            )


def check_statistics(mean: Array | None, var: Array | None) -> None:
    """Running statistics for inference: both."""
    for name, vector in (("running_mean", mean), ("running_var", var)):
        if vector is None:
            raise TypeError(f"{name} is None; expected the array that batch_norm_forward updated")


def check_running(mean: Array | None, var: Array | None) -> None:
    """Both running statistics or none, distinct and writeable."""
    if (mean is None) != (var is None):
        missing, given = ("running_mean", "running_var")[:: 1 if mean is None else -1]
        raise ValueError(f"{missing} is None but {given} is given; expected both or neither")
    for name, vector in (("running_mean", mean), ("running_var", var)):
        if vector is not None:
            check_writeable(name, vector)


def check_ddof(name: str, value: Any) -> int:
    """0 or 1."""
    integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not integer or value not in (0, 1):
        raise (ValueError if integer else TypeError)(
            f"{name} is {value!r}; expected 1 for the unbiased variance or 0 for the biased one"
        )
    return int(value)


def _check_activation(name: str, value: Any) -> str | None:
    """None or "relu"."""
    if value is not None and not (isinstance(value, str) and value == "relu"):
        raise ValueError(f"{name} is {value!r}; expected None or 'relu'")
    return value


OPTIONS: Mapping[str, Check] = {
    "momentum": fraction,
    "eps": positive,
    "activation": _check_activation,
    "running_var_ddof": check_ddof,
}


def options(momentum: Any, eps: Any, activation: Any) -> tuple[float, float, bool]:
    """(momentum, eps, whether there is a ReLU), checked."""
    try:
        return _remembered(momentum, eps, activation)
    except TypeError:  # a value that can't be remembered, or one of a wrong type
        return _options(momentum, eps, activation)


def _options(momentum: Any, eps: Any, activation: Any) -> tuple[float, float, bool]:
    relu = _check_activation("activation", activation) is not None
    return fraction("momentum", momentum), positive("eps", eps), relu


_remembered = lru_cache(maxsize=64, typed=True)(_options)
