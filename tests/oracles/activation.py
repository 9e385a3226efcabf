"""Activations and their gradients in extended precision, independent of onepass.

Goodfellow, Bengio and Courville (2016), section 6.3; the gradients are the derivatives written out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("linear", "relu", "leaky_relu", "sigmoid", "tanh")


def forward(z: Any, kind: str, slope: float = 0.01) -> NDArray[np.float64]:
    """f(z), element by element."""
    z = np.array(z, dtype=np.longdouble)
    with np.errstate(all="ignore"):
        y = {
            "linear": lambda: z,
            "relu": lambda: np.where(np.isnan(z), z, np.where(z > 0, z, 0)),
            "leaky_relu": lambda: np.where(z > 0, z, np.longdouble(slope) * z),
            "sigmoid": lambda: 1 / (1 + np.exp(-z)),
            "tanh": lambda: np.tanh(z),
        }[kind]()
    return np.asarray(y, dtype=np.float64)


def backward(dy: Any, y: Any, kind: str, slope: float = 0.01) -> NDArray[np.float64]:
    """dy f'(z), where y = f(z)."""
    dy, y = np.array(dy, dtype=np.longdouble), np.array(y, dtype=np.longdouble)
    with np.errstate(all="ignore"):
        dz = {
            "linear": lambda: dy,
            "relu": lambda: np.where(y > 0, dy, 0),
            "leaky_relu": lambda: np.where(y > 0, dy, np.longdouble(slope) * dy),
            "sigmoid": lambda: dy * y * (1 - y),
            "tanh": lambda: dy * (1 - y) * (1 + y),  # 1 - y^2, of which 64 bits would lose some
        }[kind]()
    return np.asarray(dz, dtype=np.float64)
