"""The ways five optimizers take: down a long valley, and away from a saddle.

    python examples/optimizer_paths.py [--device auto] [--out optimizer_paths.png]

Above: f(x, y) = x^2/20 + y^2 from (-7, 2), where the gradient hardly points to the minimum, 40
steps, each optimizer with a learning rate that suits it. Gradient descent swings across the valley,
momentum rolls through it, and the three that divide by the gradients' size go along it.
Below: x^2 - y^2 from (-1, 0.001), next to its saddle, 60 steps, all with the same learning rate.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import onepass
from onepass.nets import SGD, AdaGrad, Adam, Momentum, Optimizer, RMSprop


@dataclass(frozen=True)
class Surface:
    """f(x, y) = a x^2 + b y^2, where a path starts, and what the picture shows of it."""

    name: str
    a: float
    b: float
    start: tuple[float, float]
    steps: int
    view: tuple[float, float]
    levels: tuple[float, ...]
    rates: tuple[float, ...]

    def value(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self.a * x**2 + self.b * y**2

    def path(self, make: Callable[..., Optimizer], lr: float, device: str) -> np.ndarray:
        """The points after 0, 1, 2, ... steps: (steps + 1, 2)."""
        backend = onepass.get_backend(device)
        point = backend.asarray(np.array(self.start))
        slope = backend.asarray(np.array([2 * self.a, 2 * self.b]))
        optimizer = make([point], lr=lr)
        points = [backend.to_numpy(point).copy()]
        for _ in range(self.steps):
            optimizer.step([slope * point])
            points.append(backend.to_numpy(point).copy())
        return np.array(points)


OPTIMIZERS = (SGD, Momentum, AdaGrad, RMSprop, Adam)
VALLEY = Surface(
    "x^2/20 + y^2", 1 / 20, 1.0, (-7.0, 2.0), 40, (8.0, 3.2),
    (0.02, 0.1, 0.4, 1, 2, 4, 7, 11), (0.95, 0.1, 1.5, 0.1, 0.5),
)  # fmt: skip
SADDLE = Surface(
    "x^2 - y^2", 1.0, -1.0, (-1.0, 0.001), 60, (1.3, 1.3),
    (-1.2, -0.8, -0.4, -0.1, 0, 0.1, 0.4, 0.8, 1.2), (0.03,) * 5,
)  # fmt: skip


def draw(axes: plt.Axes, surface: Surface, path: np.ndarray) -> None:
    right, top = surface.view
    x, y = np.meshgrid(np.linspace(-right, right, 161), np.linspace(-top, top, 161))
    lines = axes.contour(
        x, y, surface.value(x, y), surface.levels, colors="0.65", linewidths=0.7,
        negative_linestyles="dashed",
    )  # fmt: skip
    axes.clabel(lines, surface.levels[::2], fontsize=6, fmt="%g")
    axes.plot(*path.T, "-o", color="0.0", linewidth=1, markersize=2.5, label="each step")
    axes.plot(*path[0], "s", color="0.0", markerfacecolor="white", label="start")
    axes.plot(0, 0, "+", color="0.0", markersize=12, label="gradient 0")
    axes.set_xlim(-right, right)
    axes.set_ylim(-top, top)


def main() -> None:
    parser = argparse.ArgumentParser(description="Optimizers' paths on contours, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("optimizer_paths.png"), metavar="FILE")
    options = parser.parse_args()
    figure, axes = plt.subplots(2, 5, figsize=(15, 6.2), layout="constrained")
    for row, surface in zip(axes, (VALLEY, SADDLE), strict=True):
        for place, kind, lr in zip(row, OPTIMIZERS, surface.rates, strict=True):
            path = surface.path(kind, lr, options.device)
            found = f"f = {surface.value(*path[-1]):.2g} after {surface.steps} steps"
            print(f"{surface.name}, {kind.__name__}: {found}")
            draw(place, surface, path)
            place.set_title(f"{kind.__name__}, lr {lr:g}\n{found}", fontsize=10)
            place.set_xlabel("x")
        row[0].set_ylabel(f"f = {surface.name}\n\ny")
        row[0].legend(fontsize=7, loc="lower right")
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
