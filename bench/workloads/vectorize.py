"""Logistic regression three times: Python loops, matrix products, one fused pass.

    z = X w + b        a = 1 / (1 + exp(-z))        cost = mean of -y log a - (1 - y) log(1 - a)
    dz = a - y         dw = X.T dz / m              db = mean of dz

X has a row a sample, which is the transpose of a course's w.T X. The cost is computed from the
logits, max(z, 0) - y z + log(1 + exp(-|z|)), so that no logarithm of 0 is taken.

Source: Bishop 2006, Pattern Recognition and Machine Learning, eq. 4.90 and 4.91.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import exp, log1p
from typing import Any

import numpy as np

from ..measuring.candidate import Candidate
from ..measuring.workload import Workload

Result = tuple[float, Any, float]
"""(cost, dw, db)."""

PATHS = ("loop", "array", "numba")
_LOOP_LIMIT = 1_000_000
"""Elements of X that Python goes through in a fraction of a second."""


def loop_logistic(
    x: list[list[float]], y: list[float], w: list[float], b: float
) -> tuple[float, list[float], float]:
    """In Python, over samples and features; lists, which Python reads faster than arrays."""
    m, n = len(x), len(w)
    cost, db, dw = 0.0, 0.0, [0.0] * n
    for i in range(m):
        z = b
        for j in range(n):
            z += x[i][j] * w[j]
        tail = exp(-abs(z))
        a = 1 / (1 + tail) if z >= 0 else tail / (1 + tail)
        cost += max(z, 0.0) - y[i] * z + log1p(tail)
        dz = a - y[i]
        for j in range(n):
            dw[j] += x[i][j] * dz
        db += dz
    return cost / m, [value / m for value in dw], db / m


def array_logistic(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: float) -> Result:
    """In NumPy: two products with X, and expressions over vectors."""
    z = x @ w + x.dtype.type(b)
    tail = np.exp(-np.abs(z))
    a = np.where(z >= 0, 1, tail) / (1 + tail)
    cost = np.mean(np.maximum(z, 0) - y * z + np.log1p(tail), dtype=np.float64)
    dz = a - y
    return float(cost), dz @ x / x.dtype.type(len(x)), float(dz.mean(dtype=np.float64))


def numba_logistic(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: float) -> Result:
    """In one compiled pass that reads X once."""
    from .numba_logistic import fused_logistic

    dw = np.empty_like(w)
    cost, db = fused_logistic(x, y, w, float(b), dw)
    return cost, dw, db


class Logistic(Workload):
    """Cost and gradients of `samples` rows of `features` numbers, in float32."""

    section = "vectorize"

    def __init__(self, samples: int, features: int) -> None:
        self.samples, self.features = samples, features
        self.operation = "logistic regression"
        self.label = f"{samples} x {features}"
        self.dtype, self.device = "float32", "cpu"

    @property
    def size(self) -> int:
        """Elements of X."""
        return self.samples * self.features

    @property
    def bytes(self) -> int:
        """Read X, y and w once; write dw."""
        return 4 * (self.size + self.samples + 2 * self.features)

    @property
    def paths(self) -> tuple[str, ...]:
        """Without the loop where it would take seconds."""
        return PATHS if self.size <= _LOOP_LIMIT else PATHS[1:]

    def arrays(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """x, y, w, b: labels that the features tell, but for some noise."""
        draw = np.random.default_rng(seed)
        x = draw.standard_normal((self.samples, self.features), dtype=np.float32)
        truth, noise = draw.standard_normal(self.features), draw.standard_normal(self.samples)
        y = (x @ truth + noise > 0).astype(np.float32)
        w = draw.standard_normal(self.features, dtype=np.float32) / np.float32(self.features**0.5)
        return x, y, w, 0.25

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        x, y, w, b = self.arrays()
        expected = array_logistic(
            x.astype(np.float64), y.astype(np.float64), w.astype(np.float64), b
        )
        candidates: dict[str, Candidate] = {}
        for path in paths:
            call = self._call(path, x, y, w, b)
            for name, found, right in zip(("cost", "dw", "db"), call(), expected, strict=True):
                np.testing.assert_allclose(
                    found, right, rtol=1e-4, atol=1e-5, err_msg=f"{name} by {path!r}"
                )
            again = 2 if path in ("loop", "array") else 1
            candidates[path] = Candidate(call, moved=self.bytes + (again - 1) * 4 * self.size)
        return candidates

    def _call(
        self, path: str, x: np.ndarray, y: np.ndarray, w: np.ndarray, b: float
    ) -> Callable[[], Result]:
        if path == "loop":
            lists: tuple[Any, Any, Any] = (x.tolist(), y.tolist(), w.tolist())
            return lambda: loop_logistic(*lists, b)
        step = {"array": array_logistic, "numba": numba_logistic}[path]
        return lambda: step(x, y, w, b)
