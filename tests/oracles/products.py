"""Matrix products with a bias and an activation behind them, in extended precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import activation


def product(
    a: Any, b: Any, bias: Any = None, kind: str = "linear", slope: float = 0.01
) -> NDArray[np.float64]:
    """f(a b + bias)."""
    a, b = np.array(a, dtype=np.longdouble), np.array(b, dtype=np.longdouble)
    with np.errstate(all="ignore"):
        z = (a[:, :, np.newaxis] * b[np.newaxis, :, :]).sum(axis=1)
        if bias is not None:
            z = z + np.array(bias, dtype=np.longdouble)
    return activation.forward(z, kind, slope)


def magnitude(a: Any, b: Any, bias: Any = None) -> NDArray[np.float64]:
    """|a| |b| + |bias|, of which rounding errors are so many eps."""
    return product(*(None if each is None else np.abs(each) for each in (a, b, bias)))


def column_sums(b: Any) -> NDArray[np.float64]:
    return np.asarray(np.array(b, dtype=np.longdouble).sum(axis=0), dtype=np.float64)
