"""What is measured of norms over rows: shapes, arrays, calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ... import kernels
from ...backend import Array, Backend

VALUES = {"forward": 2, "backward": 3, "forward+backward": 5}
"""Moved an element: x and y; dy, x and dx. Rows stay in a cache between two readings."""


@dataclass(frozen=True)
class RowNormCase:
    """A norm and the shape of its input.

    Attributes:
        kind: "layer_norm", "rms_norm" or "group_norm".
        groups: of channels, for group norm.
    """

    kind: str
    shape: tuple[int, ...]
    groups: int = 1

    @property
    def name(self) -> str:
        groups = f", {self.groups} groups" if self.kind == "group_norm" else ""
        return f"({', '.join(map(str, self.shape))}){groups}"

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def columns(self) -> int:
        """The length of gamma and beta."""
        return self.shape[1] if self.kind == "group_norm" else self.shape[-1]

    @property
    def vectors(self) -> tuple[str, ...]:
        return ("gamma",) if self.kind == "rms_norm" else ("gamma", "beta")

    def arrays(self, dtype: str, backend: Backend, seed: int = 0) -> dict[str, Array]:
        """x, dy, gamma and, but for RMS norm, beta."""
        draw = np.random.default_rng(seed)
        values: dict[str, np.ndarray] = {
            "x": draw.standard_normal(self.shape, dtype="float32") * 3 + 1,
            "dy": draw.standard_normal(self.shape, dtype="float32"),
            "gamma": draw.uniform(0.5, 2.0, self.columns),
            "beta": draw.standard_normal(self.columns),
        }
        names = ("x", "dy", *self.vectors)
        return {name: backend.asarray(values[name].astype(dtype)) for name in names}

    def calls(self, arrays: dict[str, Array], engine: str = "auto") -> dict[str, Callable[[], Any]]:
        """The whole public calls, as a user writes them: new arrays for y and dx each time."""
        run = getattr(kernels, f"{self.kind}_forward")
        back = getattr(kernels, f"{self.kind}_backward")
        given = [arrays[name] for name in ("x", *self.vectors)]
        options: dict[str, Any] = {"engine": engine}
        if self.kind == "group_norm":
            options["groups"] = self.groups
        if self.kind == "rms_norm":
            options["eps"] = EPS
        dy = arrays["dy"]
        _, saved = run(*given, **options)

        def forward_backward() -> Any:
            y, kept = run(*given, **options)
            return y, *back(dy, kept, engine=engine)

        return {
            "forward": lambda: run(*given, **options)[0],
            "backward": lambda: back(dy, saved, engine=engine),
            "forward+backward": forward_backward,
        }


EPS = 1e-5
ROWS = ((4096, 768), (512, 4096), (32768, 64))
SMALL_ROWS = (16, 256)
"""A call, and little else."""
GROUPS = RowNormCase("group_norm", (32, 64, 56, 56), 8)
