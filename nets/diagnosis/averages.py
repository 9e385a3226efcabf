"""Exponentially weighted averages."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from ...backend import backend_of
from ...backend.checks.numbers import decay_rate, flag, one_of
from ...backend.checks.plain_array import check_plain
from ...backend.foreign import taken_in
from ..types import Array


class ExponentialAverage:
    """An average of all values so far, in which a value counts less the longer ago it came.

        v = beta v + (1 - beta) x
        average = v / (1 - beta^t)

    t counts the values from 1. About the last 1 / (1 - beta) of them matter: `window`.

    Args:
        beta: the weight of the past, in [0, 1).
        correct_bias: divide by 1 - beta^t. Without, the averages start near v's zero and need
            about `window` values to come up to the size of what is averaged.
        start: "zero" starts v at 0; "first" at the first value, which then is the first average
            and counts more than any later one for about `window` values. It has no bias, so
            `correct_bias` makes no difference to it.

    Raises:
        TypeError, ValueError: an argument is out of its range.

    Example:
        >>> average = ExponentialAverage(0.9)
        >>> [round(average.update(x), 6) for x in (10, 20)]
        [10.0, 15.263158]
    """

    def __init__(self, beta: float = 0.9, correct_bias: bool = True, start: str = "zero") -> None:
        self.beta = decay_rate("beta", beta)
        self.correct_bias = flag("correct_bias", correct_bias)
        self.start: str = one_of("zero", "first")("start", start)
        self.steps = 0
        self._v: Any = None

    @property
    def window(self) -> float:
        """How many values the average is about: 1 / (1 - beta)."""
        return 1 / (1 - self.beta)

    @property
    def value(self) -> Any:
        """The average now, an array of its own; RuntimeError before the first value."""
        if not self.steps:
            raise RuntimeError(f"{self!r} has averaged nothing yet; call update(x) first")
        if self.correct_bias and self.start == "zero":
            return self._v / (1 - self.beta**self.steps)
        # What is handed out doesn't change with the next update.
        return self._v if isinstance(self._v, float) else self._v.copy()

    def update(self, x: Any) -> Any:
        """Take in `x`, which is left untouched, and return the average.

        Args:
            x: a number, or an array, NumPy's or CuPy's, always of one shape and device. The
                average of numbers is a float; that of arrays has their dtype, but float32 for
                float16, whose eps is larger than most 1 - beta, and float64 for integers. It is
                kept in one array, updated in place. nan and infinity stay in it for good.

        Raises:
            TypeError: `x` is neither; it or the values before are on another device.
            ValueError: its shape is not that of the values before. Nothing was taken in.
        """
        if isinstance(x, (Real, np.bool_)):
            return self._update_number(float(x))
        (x,) = taken_in(["x"], [x])
        backend = backend_of(x, names=["x"])
        if x.dtype.kind not in "fiub":
            raise TypeError(f"x has dtype {x.dtype}; expected numbers")
        if self.steps:
            self._check(x)
        with backend.scope(), np.errstate(under="ignore"):
            x = x.astype(_wide(x), copy=False)
            if not self.steps:
                self._v = backend.xp.zeros(x.shape, x.dtype)
            if not self.steps and self.start == "first":
                self._v[...] = x
            else:
                self._v *= self.beta
                self._v += (1 - self.beta) * x
            self.steps += 1
            return self.value

    def _update_number(self, x: float) -> float:
        if self.steps and not isinstance(self._v, float):
            raise TypeError(f"x is the number {x}; expected an array, as before")
        if self.steps or self.start == "zero":
            x = self.beta * (self._v or 0.0) + (1 - self.beta) * x
        self._v = x
        self.steps += 1
        return float(self.value)

    def _check(self, x: Array) -> None:
        """Refuse an `x` that is unlike the arrays before."""
        if isinstance(self._v, float):
            raise TypeError(f"x is an array of shape {x.shape}; expected a number, as before")
        backend_of(self._v, x, names=("the average", "x"))
        if x.shape != self._v.shape:
            raise ValueError(f"x has shape {x.shape}; expected {self._v.shape}, as before")
        if _wide(x) != self._v.dtype:
            raise TypeError(f"x has dtype {x.dtype}; expected one that averages in {self._v.dtype}")

    def __repr__(self) -> str:
        return (
            f"ExponentialAverage({self.beta}, correct_bias={self.correct_bias}, "
            f"start={self.start!r})"
        )


def exponential_average(
    values: Any, beta: float = 0.9, correct_bias: bool = True, start: str = "zero"
) -> Array:
    """The average after each of `values`, taken along the first axis, as an array of their shape.

    Args:
        values: a sequence of numbers, or an array (n, ...), which is left untouched.
        beta, correct_bias, start: see `ExponentialAverage`, whose dtypes hold here too.

    Raises:
        TypeError, ValueError: an argument is out of its range, or `values` has no axis.
    """
    check_plain(values, "values")
    values = values if hasattr(values, "dtype") else np.asarray(values)
    if not values.ndim:
        raise ValueError(f"values is {values!r}; expected a sequence")
    average = ExponentialAverage(beta, correct_bias, start)
    backend = backend_of(values, names=["values"])
    with backend.scope():
        out = backend.empty(values.shape, _wide(values))
        for k in range(len(values)):
            out[k] = average.update(values[k])
    return out


def _wide(x: Array) -> np.dtype[Any]:
    """The dtype in which `x` is averaged."""
    kept = {"float16": "float32", "float32": "float32"}
    return np.dtype(kept.get(x.dtype.name, "float64"))
