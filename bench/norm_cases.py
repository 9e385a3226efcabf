"""What is measured of batch normalization: shapes, arrays, calls, and the idiomatic expressions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .. import kernels
from ..backend import Array, Backend

BYTES_FORWARD, BYTES_BACKWARD = 3, 5
"""Values moved an element: x twice and y; x and dy twice and dx. A cache may spare the second."""


@dataclass(frozen=True)
class NormCase:
    """One shape and its channel axis."""

    shape: tuple[int, ...]
    axis: int = 1

    @property
    def name(self) -> str:
        last = ", channels last" if self.axis == -1 else ""
        return f"({', '.join(map(str, self.shape))}){last}"

    @property
    def size(self) -> int:
        return prod(self.shape)

    def arrays(self, dtype: str, backend: Backend, seed: int = 0) -> dict[str, Array]:
        """x, dy, gamma, beta and running statistics."""
        draw = np.random.default_rng(seed)
        channels = self.shape[self.axis]
        x = draw.standard_normal(self.shape, dtype="float32") * 3 + 5
        values: dict[str, np.ndarray] = {
            "x": x,
            "dy": draw.standard_normal(self.shape, dtype="float32"),
            "gamma": draw.uniform(0.5, 2.0, channels),
            "beta": draw.standard_normal(channels),
            "running_mean": np.zeros(channels),
            "running_var": np.ones(channels),
        }
        return {name: backend.asarray(value.astype(dtype)) for name, value in values.items()}

    def calls(
        self, arrays: dict[str, Array], engine: str = "auto", activation: str | None = None
    ) -> dict[str, Callable[[], Any]]:
        """The whole public calls, as a user writes them: new arrays for y and dx each time."""
        a = arrays
        vectors = [a[name] for name in ("gamma", "beta", "running_mean", "running_var")]
        options: dict[str, Any] = {
            "channel_axis": self.axis,
            "activation": activation,
            "engine": engine,
        }

        def forward() -> Any:
            return kernels.batch_norm_forward(a["x"], *vectors, **options)

        def forward_backward() -> Any:
            y, saved = forward()
            return y, *kernels.batch_norm_backward(a["dy"], saved, engine=engine)

        _, saved = forward()
        return {
            "forward": forward,
            "forward+backward": forward_backward,
            "backward": lambda: kernels.batch_norm_backward(a["dy"], saved, engine=engine),
            "inference": lambda: kernels.batch_norm_inference(a["x"], *vectors, **options),
        }


IMAGES = tuple(
    map(NormCase, [(32, 64, 56, 56), (64, 256, 14, 14), (128, 512, 7, 7), (8, 64, 112, 112)])
)
CHANNELS_LAST = tuple(
    NormCase((case.shape[0], *case.shape[2:], case.shape[1]), -1) for case in IMAGES
)
DENSE = tuple(map(NormCase, [(128, 256), (128, 1024)]))
LARGE = tuple(map(NormCase, [(8, 32, 384, 384), (4, 16, 768, 768)]))
"""A channel's slab exceeds the cores' caches."""


def idiomatic(
    arrays: dict[str, np.ndarray], axis: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """(forward, forward+backward) in NumPy as a reader of the paper writes them."""
    x, dy, gamma, beta = (arrays[name] for name in ("x", "dy", "gamma", "beta"))
    axes = tuple(k for k in range(x.ndim) if k != axis % x.ndim)
    shape = [1] * x.ndim
    shape[axis] = -1
    g, b, m = gamma.reshape(shape), beta.reshape(shape), x.size // gamma.size

    def forward() -> Any:
        mu = x.mean(axis=axes, keepdims=True)
        var = x.var(axis=axes, keepdims=True)
        inv_std = 1 / np.sqrt(var + 1e-5)
        xhat = (x - mu) * inv_std
        return g * xhat + b, xhat, inv_std

    def forward_backward() -> Any:
        y, xhat, inv_std = forward()
        dbeta = dy.sum(axis=axes, keepdims=True)
        dgamma = (dy * xhat).sum(axis=axes, keepdims=True)
        dx = g * inv_std / m * (m * dy - dbeta - xhat * dgamma)
        return y, dx, dgamma.reshape(-1), dbeta.reshape(-1)

    return forward, forward_backward


def assert_same_norm(
    case: NormCase, dtype: str, backend: Backend, engine: str, activation: str | None = None
) -> None:
    """Raise unless `engine` gives what the array path gives; run before anything is timed."""
    results = []
    for name in (engine, "array"):
        calls = case.calls(case.arrays(dtype, backend), name, activation)
        y, dx, dgamma, dbeta = calls["forward+backward"]()
        found = y, dx, dgamma, dbeta, calls["inference"]()
        results.append([backend.to_numpy(array).astype("float64") for array in found])
    rtol = {"float64": 1e-11, "float32": 1e-5}.get(dtype, 1e-2)
    for fused, plain in zip(*results, strict=True):
        scale = max(1.0, float(np.abs(plain).max()))
        np.testing.assert_allclose(fused, plain, rtol=rtol, atol=rtol * scale)
