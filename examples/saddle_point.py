"""Saddles and plateaus: who gets away from where the gradient is nearly zero, and when.

    python examples/saddle_point.py [--device auto] [--out saddle_point.png]

Left: x^2 - y^2 from (-1, 0.00001), a hair's breadth off the line that leads into the saddle. Right:
a sigmoid unit that says 0.993 and should say 0, under the squared error, whose slope 2 a^2 (1 - a)
is nearly 0 there. All optimizers have the same learning rate. Gradient descent is as slow as the
gradient is small; momentum (the heavy-ball form) adds its steps up, and RMSprop and Adam divide by
the gradient's size. So does AdaGrad, but its steps grow shorter and shorter.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import onepass
from onepass.nets import (
    SGD,
    AdaGrad,
    Adam,
    Dense,
    MeanSquaredError,
    Momentum,
    Optimizer,
    RMSprop,
    Sequential,
    Sigmoid,
)

STYLES: dict[type[Optimizer], str] = {
    SGD: "-o", Momentum: "--s", AdaGrad: "-.^", RMSprop: ":D", Adam: "-v",
}  # fmt: skip
STEPS, LR = 700, 0.02
PLATEAU_STEPS, PLATEAU_LR = 700, 0.1


def saddle(kind: type[Optimizer], device: str) -> np.ndarray:
    """f = x^2 - y^2 after 0, 1, 2, ... steps."""
    backend = onepass.get_backend(device)
    point = backend.asarray(np.array([-1.0, 1e-5]))
    slope = backend.asarray(np.array([2.0, -2.0]))
    optimizer = kind([point], lr=LR)
    values = []
    for _ in range(STEPS + 1):
        x, y = backend.to_numpy(point)
        values.append(x**2 - y**2)
        if values[-1] < -1e3:  # away for good
            break
        optimizer.step([slope * point])
    return np.array(values)


def plateau(kind: type[Optimizer], device: str) -> np.ndarray:
    """The squared error of one sigmoid unit after 0, 1, 2, ... steps."""
    net = Sequential(Dense(1, 1, init="zeros"), Sigmoid(), dtype="float64", device=device)
    net.parameters()["0.bias"][...] = 5.0
    optimizer, loss = kind(net.parameters(), lr=PLATEAU_LR), MeanSquaredError()
    x, y = net.backend.asarray(np.ones((1, 1))), net.backend.asarray(np.zeros((1, 1)))
    values = []
    for _ in range(PLATEAU_STEPS + 1):
        value, gradient = loss(net.forward(x, train=True), y)
        values.append(float(value))
        net.backward(gradient)
        optimizer.step()
    return np.array(values)


def left_after(values: np.ndarray, below: float) -> int | None:
    """The first step after which a value is `below` that; None if it never is."""
    found = np.flatnonzero(values < below)
    return int(found[0]) if len(found) else None


def draw(
    axes: plt.Axes, name: str, curves: dict[type[Optimizer], np.ndarray], below: float
) -> None:
    for kind, values in curves.items():
        left = left_after(values, below)
        when = f"after {left} steps" if left is not None else "not yet"
        print(f"{name}, {kind.__name__}: away {when}")
        axes.plot(
            values, STYLES[kind], color="0.0", linewidth=1.2, markersize=5, markerfacecolor="white",
            markevery=0.13, label=f"{kind.__name__}: {when}",
        )  # fmt: skip
    axes.axhline(below, color="0.6", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("steps")
    axes.grid(alpha=0.3)
    title = "away (below the grey line)"
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 2}
    axes.legend(title=title, fontsize=9, title_fontsize=9, **place)


def main() -> None:
    parser = argparse.ArgumentParser(description="Leaving a saddle and a plateau, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("saddle_point.png"), metavar="FILE")
    options = parser.parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.4), layout="constrained")
    draw(left, "saddle", {kind: saddle(kind, options.device) for kind in STYLES}, below=-1.0)
    left.set_ylim(-3, 1.2)
    left.set_ylabel("f(x, y)")
    left.set_title(f"saddle x^2 - y^2 from (-1, 0.00001), lr {LR}")
    draw(right, "plateau", {kind: plateau(kind, options.device) for kind in STYLES}, below=0.1)
    right.set_ylabel("squared error")
    right.set_title(f"plateau of a sigmoid unit, lr {PLATEAU_LR}")
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
