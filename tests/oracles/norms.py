"""Layer, RMS and group norm in extended precision, written from the papers, independent of onepass.

Layer norm: Ba, Kiros and Hinton (2016), equations 3 and 4. RMS norm: Zhang and Sennrich (2019),
equation 4. Group norm: Wu and He (2018), equations 1 to 3. All see an array as rows of the values
that are normalized together, with gamma and beta spread over the whole array. Gradients follow the
chain rule line by line, unsimplified.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ACTIVATIONS = (None, "relu", "silu", "gelu")


class Forward(NamedTuple):
    y: Array
    z: Array  # y before the activation


class Gradients(NamedTuple):
    dx: Array  # and the residual's
    dgamma: Array
    dbeta: Array


class Terms(NamedTuple):
    """How large the terms are that each result is added up from: its rounding errors' unit."""

    y: Array
    dx: Array
    dgamma: Array
    dbeta: Array


# --- activations ----------------------------------------------------------------------------------
_erfc = np.frompyfunc(math.erfc, 1, 1)


def _distribution(z: Any) -> Any:
    """Phi(z) of the standard normal distribution."""
    return 0.5 * _erfc(-np.float64(z) / math.sqrt(2.0)).astype(np.float64)


def activated(z: Any, activation: str | None) -> Any:
    """max(z, 0), where NaN stays NaN; z sigmoid(z); z Phi(z)."""
    if activation == "relu":
        return np.where(z <= 0, 0, z)
    if activation == "silu":
        return z / (1 + np.exp(-z))
    return z * _distribution(z) if activation == "gelu" else z


def _through_activation(dy: Any, z: Any, activation: str | None) -> Any:
    """dy f'(z); dy counts as 0 where the relu gave 0."""
    if activation == "relu":
        return np.where(z <= 0, 0, dy)
    if activation == "silu":
        sigmoid = 1 / (1 + np.exp(-z))
        return dy * (sigmoid + z * sigmoid * (1 - sigmoid))
    if activation == "gelu":
        return dy * (_distribution(z) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi))
    return dy


# --- one for all three ----------------------------------------------------------------------------
class Norm:
    """A norm of arrays like x: which values go together, and which axes gamma and beta have.

    Args:
        groups: of channels, axis 1, for group norm; None: the axes of normalized_shape.
        centered: the mean is taken off, as by all but RMS norm.
    """

    def __init__(
        self, x: Any, eps: float, normalized_shape: Any = None, groups: Any = None, centered=True
    ) -> None:
        self.shape, self.eps, self.centered = x.shape, np.longdouble(eps), centered
        if groups is None:
            last = x.shape[-1:] if normalized_shape is None else normalized_shape
            self.vector = tuple(np.atleast_1d(last).tolist())
            self.spread = self.vector
            self.others = tuple(range(len(x.shape) - len(self.vector)))
            self.values = math.prod(self.vector)
        else:
            channels, *inner = x.shape[1:]
            self.vector = (channels,)
            self.spread = (channels, *[1] * len(inner))
            self.others = (0, *range(2, x.ndim))
            self.values = channels // groups * math.prod(inner)
        self.count = math.prod(x.shape[axis] for axis in self.others)  # of terms of dgamma

    def rows(self, array: Any) -> Any:
        """A copy, (rows, values)."""
        count = math.prod(self.shape) // max(self.values, 1)
        return np.array(array, dtype=np.longdouble, order="C").reshape(count, self.values)

    def over_all(self, vector: Any, default: float) -> Any:
        """gamma or beta as rows; None is `default` throughout."""
        whole = np.full(self.spread, default) if vector is None else vector
        return self.rows(np.broadcast_to(np.reshape(whole, self.spread), self.shape))

    def whole(self, rows: Any) -> Array:
        return np.asarray(rows.reshape(self.shape), dtype=np.float64)

    def columns(self, rows: Any) -> Array:
        """Sums over all but the axes of gamma."""
        total = rows.reshape(self.shape).sum(axis=self.others)
        return np.asarray(total, dtype=np.float64).reshape(self.vector)

    def mean(self, rows: Any) -> Any:
        return rows.sum(axis=1, keepdims=True) / max(self.values, 1)

    def center(self, rows: Any) -> tuple[Any, Any]:
        """x - mu (x itself in RMS norm), and the root that divides it."""
        away = rows - self.mean(rows) if self.centered else rows
        return away, np.sqrt(self.mean(away**2) + self.eps)

    def forward(self, x: Any, gamma: Any, beta: Any, activation: str | None) -> Forward:
        away, root = self.center(self.rows(x))
        z = self.over_all(gamma, 1.0) * (away / root) + self.over_all(beta, 0.0)
        return Forward(self.whole(activated(z, activation)), self.whole(z))

    def backward(self, dy: Any, x: Any, gamma: Any, beta: Any, activation: str | None) -> Gradients:
        away, root = self.center(self.rows(x))
        scale = self.over_all(gamma, 1.0)
        z = scale * (away / root) + self.over_all(beta, 0.0)
        dz = _through_activation(self.rows(dy), z, activation)
        dxhat = dz * scale
        dvar = (dxhat * away).sum(axis=1, keepdims=True) * -0.5 / root**3
        daway = dxhat / root + dvar * 2 * away / max(self.values, 1)
        dx = daway - self.mean(daway) if self.centered else daway  # away = x - mean(x)
        return Gradients(self.whole(dx), self.columns(dz * away / root), self.columns(dz))

    def terms(self, dy: Any, x: Any, gamma: Any, beta: Any, activation: str | None) -> Terms:
        """The mean is exact to eps of mean |x|, and xhat to that over the root; the slope of an
        activation to eps, and to what z is off."""
        values, slope = self.rows(x), np.abs(self.rows(dy))
        away, root = self.center(values)
        xhat = np.abs(away / root)
        if self.centered:
            xhat = xhat + self.mean(np.abs(values)) / root
        scale = np.abs(self.over_all(gamma, 1.0))
        y = scale * xhat + np.abs(self.over_all(beta, 0.0))
        if activation in ("silu", "gelu"):
            slope = slope * (1 + y)
        dxhat = slope * scale
        pull = xhat * self.mean(dxhat * xhat) + (self.mean(dxhat) if self.centered else 0)
        dx = (dxhat + pull) / root
        return Terms(self.whole(y), self.whole(dx), self.columns(slope * xhat), self.columns(slope))


# --- the three ------------------------------------------------------------------------------------
def norm_of(operation: str, x: Any, **options: Any) -> Norm:
    """`operation` with its options but for the activation; RMS norm's eps None is that of x's
    dtype."""
    eps = options.pop("eps", None if operation == "rms_norm" else 1e-5)
    eps = float(np.spacing(np.ones((), x.dtype))) if eps is None else eps
    return Norm(x, eps, centered=operation != "rms_norm", **options)


def _summed(x: Any, residual: Any) -> Any:
    total = np.asarray(x, dtype=np.longdouble)
    return total if residual is None else total + np.asarray(residual, dtype=np.longdouble)


def forward(
    operation: str,
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    *,
    residual: Any = None,
    activation: str | None = None,
    **options: Any,
) -> Forward:
    norm = norm_of(operation, x, **options)
    return norm.forward(_summed(x, residual), gamma, beta, activation)


def backward(
    operation: str,
    dy: Any,
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    *,
    residual: Any = None,
    activation: str | None = None,
    **options: Any,
) -> Gradients:
    """Gradients of sum(dy y); the residual's is dx, since both enter by their sum."""
    norm = norm_of(operation, x, **options)
    return norm.backward(dy, _summed(x, residual), gamma, beta, activation)


def terms(
    operation: str,
    dy: Any,
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    *,
    residual: Any = None,
    activation: str | None = None,
    **options: Any,
) -> Terms:
    norm = norm_of(operation, x, **options)
    return norm.terms(dy, _summed(x, residual), gamma, beta, activation)
