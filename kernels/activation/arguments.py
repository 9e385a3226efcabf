"""The arguments of activations, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ...backend import Array, backend_of
from ...backend.checks.arrays import check_writeable
from ...backend.checks.numbers import Check, non_negative, one_of, positive
from ..array_arguments import check_input, check_out, check_overlap, same_memory
from .contract import Numbers
from .formula import KINDS
from .formula import OPTIONS as DEFAULTS

_check_kind = one_of(*KINDS)
OPTIONS: Mapping[str, Check] = {
    "kind": _check_kind,
    "activation": _check_kind,
    "slope": positive,
    "alpha": positive,
    "beta": positive,
    "threshold": non_negative,
}
"""The kind of a layer is its activation."""


SLOPE, ALPHA, BETA, THRESHOLD = DEFAULTS.values()
"""Defaults, which `check_options` knows again."""


def check_options(
    kind: Any,
    slope: Any = SLOPE,
    alpha: Any = ALPHA,
    beta: Any = BETA,
    threshold: Any = THRESHOLD,
    name: str = "kind",
) -> tuple[str, Numbers]:
    """The kind, and the numbers that it takes; `name` is what the user calls the kind."""
    plain = slope is SLOPE and alpha is ALPHA and beta is BETA and threshold is THRESHOLD
    if plain and type(kind) is str and kind in _PLAIN:
        return _PLAIN[kind]
    try:
        return _checked(kind, slope, alpha, beta, threshold, name)
    except TypeError:  # of what is not hashable, too
        return _checked.__wrapped__(kind, slope, alpha, beta, threshold, name)


@lru_cache(maxsize=256, typed=True)
def _checked(
    kind: Any, slope: Any, alpha: Any, beta: Any, threshold: Any, name: str
) -> tuple[str, Numbers]:
    kind = _check_kind(name, kind)
    given = {"slope": slope, "alpha": alpha, "beta": beta, "threshold": threshold}
    checked = {option: OPTIONS[option](option, value) for option, value in given.items()}
    first, second, *_ = [*(checked[option] for option in KINDS[kind].options), 0.0, 0.0]
    return kind, (first, second)


_PLAIN = {kind: _checked(kind, *DEFAULTS.values(), "kind") for kind in KINDS}
"""What `check_options` tells where no option is given."""


def check_forward(x: Array, bias: Array | None, out: Array | None) -> None:
    """x and bias, and `out`, which may be x itself."""
    check_input("x", x)
    if bias is not None:
        _check_vector("bias", bias, "x", x)
    if out is not None:
        check_out("x", out, x)
        other = None if same_memory(out, x) else x
        check_overlap([("out", out)], [("x", other), ("bias", bias)])


def check_backward(
    dy: Array, y: Array, bias: Array | None, bias_grad: Array | None, out: Array | None
) -> None:
    """dy and y, the bias, and bias_grad and `out`, which may be dy itself."""
    check_input("dy", dy)
    backend_of(dy, y, names=["dy", "y"])
    if _differ(y, dy):
        raise TypeError(
            f"y has dtype {y.dtype} but dy has {dy.dtype}; expected the same. "
            f"Convert it with y.astype({dy.dtype.name!r})"
        )
    if y.shape != dy.shape:
        raise ValueError(f"y has shape {y.shape} but dy has {dy.shape}; expected the same")
    if bias is not None:
        _check_vector("bias", bias, "dy", dy)
    if bias_grad is not None:
        _check_vector("bias_grad", bias_grad, "dy", dy)
        check_writeable("bias_grad", bias_grad)
    if out is not None:
        check_out("dy", out, dy)
    check_overlap(
        [("out", out), ("bias_grad", bias_grad)],
        [
            ("dy", None if out is not None and same_memory(out, dy) else dy),
            ("y", y),
            ("bias", bias),
        ],
    )


def _check_vector(name: str, vector: Array, other: str, array: Array) -> None:
    """One value for each place along the last axis of `array`, beside it and of its dtype."""
    backend_of(array, vector, names=[other, name])
    if _differ(vector, array):
        raise TypeError(
            f"{name} has dtype {vector.dtype} but {other} has {array.dtype}; expected the same. "
            f"Convert it with {name}.astype({array.dtype.name!r})"
        )
    if not array.ndim or vector.shape != array.shape[-1:]:
        wanted = f"{array.shape[-1:]}, one value for each place along its last axis"
        raise ValueError(
            f"{name} has shape {vector.shape} but {other} has {array.shape}; expected "
            f"{wanted if array.ndim else f'no {name}, since {other} has no axes'}"
        )


def _differ(a: Array, b: Array) -> bool:
    """Whether two arrays hold different numbers; their byte order is no difference."""
    return bool(a.dtype != b.dtype and a.dtype.name != b.dtype.name)
