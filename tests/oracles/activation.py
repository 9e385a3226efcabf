"""Activations and their gradients in extended precision, independent of onepass.

Goodfellow, Bengio and Courville (2016), section 6.3; Clevert, Unterthiner and Hochreiter (2016),
eq. 15; Hendrycks and Gimpel (2016), section 2; Dugas et al. (2001), eq. 3, with the threshold that
libraries have. The gradients are the derivatives written out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = (
    "linear", "relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "gelu_tanh", "silu",
    "softplus",
)  # fmt: skip
FROM_Z = ("gelu", "gelu_tanh", "silu", "softplus")
"""Those whose gradient is no function of y."""

_erfc = np.frompyfunc(math.erfc, 1, 1)


def _distribution(z: Any) -> Any:
    """Phi(z) of the standard normal distribution."""
    return 0.5 * np.asarray(_erfc(-np.float64(z) / math.sqrt(2.0)), np.float64)


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def _twice_u(z: Any) -> Any:
    """Of 1 + tanh(u) = 2 / (1 + exp(-2 u))."""
    return 2 * np.sqrt(2 / np.longdouble(math.pi)) * (z + np.longdouble("0.044715") * z**3)


def forward(
    z: Any,
    kind: str,
    slope: float = 0.01,
    alpha: float = 1.0,
    beta: float = 1.0,
    threshold: float = 20.0,
) -> NDArray[np.float64]:
    """f(z), element by element."""
    return np.asarray(_forward(z, kind, slope, alpha, beta, threshold), dtype=np.float64)


def _forward(
    z: Any, kind: str, slope: float, alpha: float, beta: float, threshold: float
) -> NDArray[np.longdouble]:
    z = np.array(z, dtype=np.longdouble)
    slope, alpha, beta = map(np.longdouble, (slope, alpha, beta))
    with np.errstate(all="ignore"):
        return {
            "linear": lambda: z,
            "relu": lambda: np.where(np.isnan(z), z, np.where(z > 0, z, 0)),
            "leaky_relu": lambda: np.where(z > 0, z, slope * z),
            "sigmoid": lambda: _sigmoid(z),
            "tanh": lambda: np.tanh(z),
            "elu": lambda: np.where(z > 0, z, alpha * np.expm1(np.where(z > 0, 0, z))),
            "gelu": lambda: z * _distribution(z),
            "gelu_tanh": lambda: z * _sigmoid(_twice_u(z)),
            "silu": lambda: z * _sigmoid(z),
            "softplus": lambda: np.where(
                beta * z > threshold, z, np.logaddexp(np.longdouble(0), beta * z) / beta
            ),
        }[kind]()


def backward(
    dy: Any,
    told: Any,
    kind: str,
    slope: float = 0.01,
    alpha: float = 1.0,
    beta: float = 1.0,
    threshold: float = 20.0,
) -> NDArray[np.float64]:
    """dy f'(z), told from z where `kind` is in FROM_Z, else from y = f(z)."""
    dz = _backward(dy, told, kind, slope, alpha, beta, threshold)
    return np.asarray(dz, dtype=np.float64)


def _backward(
    dy: Any, told: Any, kind: str, slope: float, alpha: float, beta: float, threshold: float
) -> NDArray[np.longdouble]:
    dy, y = np.array(dy, dtype=np.longdouble), np.array(told, dtype=np.longdouble)
    z, far = y, np.isinf(y)
    slope, alpha, beta = map(np.longdouble, (slope, alpha, beta))

    def vanishing(product: Any) -> Any:
        """What tends to 0 for infinite z."""
        return np.where(far, 0, product)

    with np.errstate(all="ignore"):
        return {
            "linear": lambda: dy,
            "relu": lambda: np.where(y > 0, dy, 0),
            "leaky_relu": lambda: np.where(y > 0, dy, slope * dy),
            "sigmoid": lambda: dy * y * (1 - y),
            "tanh": lambda: dy * (1 - y) * (1 + y),  # 1 - y^2, of which 64 bits would lose some
            "elu": lambda: np.where(y > 0, dy, dy * (y + alpha)),
            "gelu": lambda: (
                dy
                * (
                    _distribution(z)
                    + vanishing(z * np.exp(-z * z / 2) / np.sqrt(2 * np.longdouble(math.pi)))
                )
            ),
            "gelu_tanh": lambda: dy * _of_product(z, _twice_u, vanishing),
            "silu": lambda: dy * _of_product(z, lambda z: z, vanishing),
            "softplus": lambda: dy * np.where(beta * z > threshold, 1, _sigmoid(beta * z)),
        }[kind]()


def _of_product(z: Any, inner: Any, vanishing: Any) -> Any:
    """The derivative of z sigmoid(inner(z))."""
    v = inner(z)
    odd = inner is _twice_u
    slope = 2 * np.sqrt(2 / np.longdouble(math.pi)) * (1 + 3 * np.longdouble("0.044715") * z * z)
    both = np.where(np.abs(v) > 1e4, 0, z * _sigmoid(v) * _sigmoid(-v) * (slope if odd else 1))
    return _sigmoid(v) + np.where(np.isnan(z), z, vanishing(both))


def size(
    z: Any, kind: str, dtype: str, gradient: bool = False, **options: float
) -> NDArray[np.float64]:
    """Rounding errors' unit beside |y| or |f'|, which it is alone for kinds that are told from y.

    |f| + |z f'|, what y changes by where z does by its own size, or of the gradient |f'| + |z f''|;
    and what is 1e4 times the smallest normal number or less may be 0.
    """
    if kind not in (*FROM_Z, "elu"):
        return np.zeros(np.shape(z))
    info = np.finfo(dtype)
    smallest = 1e3 * float(info.tiny) / float(info.eps)
    if kind == "elu":
        return np.full(np.shape(z), 0.0 if gradient else smallest)
    given = {"slope": 0.01, "alpha": 1.0, "beta": 1.0, "threshold": 20.0} | options
    z, h = np.array(z, dtype=np.longdouble), np.longdouble(2.0**-20)

    def of(z: Any) -> Any:
        return _backward(1.0, z, kind, **given) if gradient else _forward(z, kind, **given)

    with np.errstate(all="ignore"):
        found = np.abs(of(z)) + np.abs(of(z * (1 + h)) - of(z * (1 - h))) / (2 * h)
    found = np.clip(found, smallest, np.finfo(np.float64).max)
    return np.where(np.isnan(found), 0, found).astype(np.float64)
