"""Input normalization: every feature to mean 0 and deviation 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import sqrt

import numpy as np

from ...backend import backend_of
from ...backend.foreign import taken_in
from ..state_checks import check_values
from ..types import Array, HostArray

_ROWS = 1 << 14
"""Rows that are taken at once: bounds the memory."""


class Normalizer:
    """x' = (x - mean) / deviation, each feature by the mean and deviation of the training set.

        mean = 1/m sum of x        deviation = sqrt(1/m sum of (x - mean)^2)

    Fit it on the training set only and apply it to all sets: what a model learns from must know
    nothing of the data it is judged by, and all sets must be moved alike.

    Works on either backend. Means are accumulated in float64, in two passes, so that a mean of
    1e4 beside a deviation of 1 does no harm. A feature that is constant up to the rounding of mean
    and sum gets deviation 1 and becomes 0, without a warning:

        deviation^2 <= m eps deviation^2 + (m eps mean)^2        eps: that of float64

    Such are computed columns, the total of shares say: divided by their deviation, their last bits
    would be a feature of +-1, and a new sample's millions.

    Conventions: those of scikit-learn's StandardScaler, this rule too, and m, not m - 1, under the
        sum. But `inverse` is in float64 always, where scikit-learn's keeps float32: a mean may need
        more digits than what is normalized.

    Attributes:
        mean, deviation: (features,), NumPy float64; RuntimeError before `fit`.

    Example:
        >>> import numpy as np
        >>> x_train, x_test = np.array([[1.0], [3.0]]), np.array([[5.0]])
        >>> normalizer = Normalizer().fit(x_train)
        >>> normalizer.apply(x_test)
        array([[3.]])
    """

    def __init__(self) -> None:
        self._mean: HostArray | None = None
        self._deviation: HostArray | None = None

    @property
    def mean(self) -> HostArray:
        return self._fitted()[0]

    @property
    def deviation(self) -> HostArray:
        return self._fitted()[1]

    def fit(self, x: Array, weights: HostArray | None = None) -> Normalizer:
        """Learn mean and deviation from the training set `x`, (m, features), and return self.

        Args:
            weights: how often each row counts, (m,), numbers >= 0, not all 0; None: once each. Then
                `x` is an array of NumPy, and m the sum of weights.

        Raises:
            TypeError: `x` is not an array of numbers.
            ValueError: it has no rows or another number of dimensions, holds values that are not
                finite (the first is named), or a feature spans more than float64 can square; or
                weights are not what they should be.
        """
        (x,) = taken_in(["x"], [x])
        _check(x, None)
        if not len(x):
            raise ValueError("x has no rows; expected at least one sample to fit on")
        if weights is not None:
            weights = np.asarray(weights, np.float64)
            if type(x) is not np.ndarray or weights.shape != (len(x),):
                raise ValueError(
                    f"weights have shape {weights.shape}; expected ({len(x)},), a number for "
                    "each row of a NumPy array"
                )
            if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
                raise ValueError("weights are not finite numbers >= 0, of which one is > 0")
            x, weights = x[weights > 0], weights[weights > 0]
        backend = backend_of(x)
        with backend.scope(), np.errstate(over="ignore", under="ignore", invalid="ignore"):
            xp, wide = backend.xp, np.float64
            if weights is None:
                mean = sum(part.sum(axis=0, dtype=wide) for part in _parts(x)) / len(x)
                squares = sum(xp.square(part - mean).sum(axis=0) for part in _parts(x))
                deviation = xp.sqrt(squares / len(x))
            else:
                shares = [*_parts(weights / weights.sum())]
                pairs = [*zip(shares, _parts(x), strict=True)]
                mean = sum(w @ part.astype(wide) for w, part in pairs)
                deviation = xp.sqrt(sum(w @ xp.square(part - mean) for w, part in pairs))
            equal = x.min(axis=0) == x.max(axis=0)
            rounding = len(x) * float(np.finfo(wide).eps)
            constant = deviation * sqrt(1 - rounding) <= rounding * xp.abs(mean)
            deviation = xp.where(equal | constant, 1.0, deviation)
            mean = xp.where(equal, x[0], mean)  # without the rounding of the sum
        found = backend.to_numpy(mean), backend.to_numpy(deviation)
        _check_finite(x, np.isfinite(found[0]) & np.isfinite(found[1]))
        self._mean, self._deviation = found
        return self

    def apply(self, x: Array) -> Array:
        """(x - mean) / deviation, a new array (n, features) on the device of `x`.

        In the dtype of `x`, or float32 where that is not floating; computed in float64.

        Raises:
            RuntimeError: before `fit`.
            TypeError: `x` is not an array of numbers.
            ValueError: it has another width, or holds values that are not finite.
        """
        mean, deviation = self._fitted()
        (x,) = taken_in(["x"], [x])
        _check(x, len(mean))
        backend = backend_of(x)
        with backend.scope(), np.errstate(over="ignore", under="ignore", invalid="ignore"):
            out = backend.empty(x.shape, x.dtype if x.dtype.kind == "f" else np.float32)
            for part, rows in zip(_parts(x), _parts(out), strict=True):
                rows[...] = (part - backend.asarray(mean)) / backend.asarray(deviation)
            total = backend.to_numpy(out.sum(axis=0, dtype=np.float64))
        _check_finite(x, np.isfinite(total))
        return out

    def inverse(self, x: Array) -> Array:
        """x deviation + mean: what `apply` took, a new array in float64, up to the rounding of `x`.

        Raises:
            RuntimeError: before `fit`.
            TypeError, ValueError: `x` is not an array of numbers of this width.
        """
        mean, deviation = self._fitted()
        (x,) = taken_in(["x"], [x])
        _check(x, len(mean))
        backend = backend_of(x)
        with backend.scope(), np.errstate(under="ignore"):
            out = backend.empty(x.shape, np.float64)
            for part, rows in zip(_parts(x), _parts(out), strict=True):
                rows[...] = part * backend.asarray(deviation) + backend.asarray(mean)
            return out

    def state_dict(self) -> dict[str, HostArray]:
        """{"mean", "deviation"}: copies, to save; RuntimeError before `fit`."""
        mean, deviation = self._fitted()
        return {"mean": mean.copy(), "deviation": deviation.copy()}

    def load_state_dict(self, state: Mapping[str, HostArray]) -> None:
        """Take over what `state_dict` gave, or nothing of it.

        Raises:
            TypeError: it is not a mapping of NumPy arrays in float64.
            ValueError: a name is missing or unexpected, shapes differ, a number is not finite, or
                a deviation is not > 0.
        """
        mean = state["mean"] if isinstance(state, Mapping) and "mean" in state else np.empty(0)
        model = np.empty((np.size(mean),), np.float64)
        check_values(state, {"mean": model, "deviation": model}, "state")
        deviation = state["deviation"]
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
            raise ValueError(
                "state holds numbers that are not finite, or a deviation that is not > 0; expected "
                "what state_dict() gave"
            )
        self._mean, self._deviation = mean.copy(), deviation.copy()

    def _fitted(self) -> tuple[HostArray, HostArray]:
        if self._mean is None or self._deviation is None:
            raise RuntimeError("the normalizer has seen no data yet; call fit(x_train) first")
        return self._mean, self._deviation

    def __repr__(self) -> str:
        return (
            f"Normalizer({'not fitted' if self._mean is None else f'{len(self._mean)} features'})"
        )


def _check(x: Array, width: int | None) -> None:
    """Refuse what is no (n, width) array of numbers."""
    backend_of(x, names=["x"])
    if x.dtype.kind not in "fiub":
        raise TypeError(f"x has dtype {x.dtype}; expected numbers")
    if x.ndim != 2 or width not in (None, x.shape[1]):
        expected = "features" if width is None else width
        raise ValueError(f"x has shape {x.shape}; expected (n, {expected}), a row a sample")


def _check_finite(x: Array, good: HostArray) -> None:
    """Name the first value of `x` that is not finite, in the first feature that is not `good`."""
    if good.all():
        return
    feature = int(np.argmin(good))
    column = backend_of(x).to_numpy(x[:, feature])
    finite = np.isfinite(column)
    if finite.all():
        raise ValueError(
            f"x holds {column.min()} to {column.max()} in feature {feature}; expected numbers "
            "that float64 can average and square, and that the dtype can hold"
        )
    row = int(np.argmin(finite))
    raise ValueError(
        f"x holds {column[row]} in row {row}, feature {feature}; expected finite numbers. Leave "
        "such rows out, or fill them, with the feature's mean say"
    )


def _parts(x: Array) -> Iterator[Array]:
    return (x[start : start + _ROWS] for start in range(0, len(x), _ROWS))
