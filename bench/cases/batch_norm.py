"""What is measured of batch normalization: shapes, arrays, calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ... import kernels
from ...backend import Array, Backend

VALUES = {"forward": 3, "backward": 5, "forward+backward": 8, "inference": 2}
"""Moved an element: x twice and y; x and dy twice and dx. A cache may spare the second reading."""

WITH_RESIDUAL = {"forward": 4, "backward": 7, "forward+backward": 11, "inference": 3}
"""With a residual before a ReLU: that too; x, dy and y, of which dz is made, then x, dz and dx."""


@dataclass(frozen=True)
class NormCase:
    """One shape and its channel axis; with a residual or without."""

    shape: tuple[int, ...]
    axis: int = 1
    residual: bool = False

    @property
    def name(self) -> str:
        last = ", channels last" if self.axis == -1 else ""
        return f"({', '.join(map(str, self.shape))}){last}"

    @property
    def size(self) -> int:
        return prod(self.shape)

    def arrays(self, dtype: str, backend: Backend, seed: int = 0) -> dict[str, Array]:
        """x, dy, gamma, beta, running statistics, and the residual if there is one."""
        draw = np.random.default_rng(seed)
        channels = self.shape[self.axis]
        x = draw.standard_normal(self.shape, dtype="float32") * 3 + 5
        values: dict[str, np.ndarray] = {
            "x": x,
            "dy": draw.standard_normal(self.shape, dtype="float32"),
            "gamma": draw.uniform(0.5, 2.0, channels),
            "beta": draw.standard_normal(channels),
            "running_mean": draw.standard_normal(channels),
            "running_var": draw.uniform(0.5, 2.0, channels),
        }
        if self.residual:
            values["residual"] = draw.standard_normal(self.shape, dtype="float32")
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
            "residual": a.get("residual"),
        }

        def forward() -> Any:
            return kernels.batch_norm_forward(a["x"], *vectors, **options)

        def forward_backward() -> Any:
            y, saved = forward()
            return y, *kernels.batch_norm_backward(a["dy"], saved, engine=engine)

        _, saved = kernels.batch_norm_forward(a["x"], a["gamma"], a["beta"], **options)
        return {
            "forward": forward,
            "forward+backward": forward_backward,
            "backward": lambda: kernels.batch_norm_backward(a["dy"], saved, engine=engine),
            "inference": lambda: kernels.batch_norm_inference(a["x"], *vectors, **options),
        }

    def apart(self, arrays: dict[str, Array], engine: str = "auto") -> dict[str, Callable[[], Any]]:
        """The same with a residual and a ReLU as calls of their own, each into memory that is there
        or a new array, as one of ours has it."""
        a, options = arrays, dict[str, Any](channel_axis=self.axis, engine=engine)
        vectors = [a[name] for name in ("gamma", "beta", "running_mean", "running_var")]

        def finished(y: Array) -> Array:
            y += a["residual"]
            return kernels.activation_forward(y, "relu", out=y, engine=engine)

        def forward() -> Any:
            y, saved = kernels.batch_norm_forward(a["x"], *vectors, **options)
            return finished(y), saved

        def backward_of(y: Array, saved: Any) -> Any:
            dz = kernels.activation_backward(a["dy"], y, "relu", engine=engine)
            return *kernels.batch_norm_backward(dz, saved, engine=engine), dz

        def forward_backward() -> Any:
            y, saved = forward()
            return y, *backward_of(y, saved)

        y, saved = kernels.batch_norm_forward(a["x"], a["gamma"], a["beta"], **options)
        finished(y)
        return {
            "forward": forward,
            "forward+backward": forward_backward,
            "backward": lambda: backward_of(y, saved),
            "inference": lambda: finished(
                kernels.batch_norm_inference(a["x"], *vectors, **options)
            ),
        }


IMAGES = tuple(
    map(NormCase, [(32, 64, 56, 56), (64, 256, 14, 14), (128, 512, 7, 7), (8, 64, 112, 112)])
)
BLOCKS = tuple(NormCase(case.shape, residual=True) for case in IMAGES)
"""The same in the block of a residual network."""
CHANNELS_LAST = tuple(
    NormCase((case.shape[0], *case.shape[2:], case.shape[1]), -1) for case in IMAGES
)
DENSE = tuple(map(NormCase, [(128, 256), (128, 1024)]))
TALL = (NormCase((4096, 96)),)
LARGE = tuple(map(NormCase, [(8, 32, 384, 384), (4, 16, 768, 768)]))
"""A channel's slab exceeds the cores' caches."""
