"""What batch normalization buys: training over initial scales and learning rates, with and without.

    python examples/batch_norm.py [--device auto] [--out batch_norm.png]

A network 64-64-64-64-10 learns the digits for 6 epochs of plain gradient descent from each of 36
settings. The picture shows the share of held-out digits that it gets right, and, for one good
setting and more epochs, the losses on both sides of the split: the noise of the batches'
statistics regularizes a little.
"""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from onepass.nets import (
    SGD,
    BatchNorm,
    Dataset,
    Dense,
    History,
    Layer,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    load_digits,
)

SCALES = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)  # times He's initial deviation
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
GOOD = 0.9


def network(batch_norm: bool, scale: float, device: str) -> Sequential:
    """64-64-64-64-10 whose weights start at `scale` times He's initialization."""
    layers: list[Layer] = []
    for _ in range(3):
        if batch_norm:
            layers += [Dense(64, 64, bias=False), BatchNorm(64, activation="relu")]
        else:
            layers += [Dense(64, 64), ReLU()]
    net = Sequential(*layers, Dense(64, 10), seed=0, device=device)
    for name, parameter in net.parameters().items():
        if name.endswith("weight"):
            parameter *= scale
    return net


@cache
def digits() -> Dataset:
    return load_digits(seed=0)


def train(batch_norm: bool, scale: float, lr: float, epochs: int, device: str) -> History | None:
    """The history of one run, or None where it diverged."""
    data = digits()
    net = network(batch_norm, scale, device)
    try:
        return fit(
            net,
            (data.x_train, data.y_train),
            loss=SoftmaxCrossEntropy(),
            optimizer=SGD(net.parameters(), lr=lr),
            epochs=epochs,
            batch_size=32,
            validation=(data.x_test, data.y_test),
            progress=False,
        )
    except FloatingPointError:
        return None


def accuracies(batch_norm: bool, device: str) -> np.ndarray:
    """Held-out accuracy for each scale (rows) and learning rate (columns); NaN: diverged."""
    grid = np.full((len(SCALES), len(RATES)), np.nan)
    for i, scale in enumerate(SCALES):
        for j, rate in enumerate(RATES):
            history = train(batch_norm, scale, rate, 6, device)
            if history is not None:
                grid[i, j] = history.val_accuracy[-1]
    return grid


def draw_grid(axes: plt.Axes, grid: np.ndarray, title: str) -> None:
    axes.imshow(np.nan_to_num(grid), cmap="gray", vmin=-0.6, vmax=1.0, aspect="auto")
    for i, j in np.ndindex(grid.shape):
        text = "diverged" if np.isnan(grid[i, j]) else f"{grid[i, j]:.0%}"
        dark = np.nan_to_num(grid[i, j]) < 0.2
        weight = "bold" if grid[i, j] >= GOOD else "normal"
        axes.text(
            j, i, text, ha="center", va="center", color="white" if dark else "black",
            fontsize=8, fontweight=weight,
        )  # fmt: skip
    axes.set_xticks(range(len(RATES)), [f"{rate:g}" for rate in RATES])
    axes.set_yticks(range(len(SCALES)), [f"{scale:g}" for scale in SCALES])
    axes.set_xlabel("learning rate")
    axes.set_ylabel("initial weights / He")
    axes.set_title(title)


def draw_losses(axes: plt.Axes, device: str) -> None:
    for batch_norm, style in ((False, "--"), (True, "-")):
        history = train(batch_norm, 1.0, 0.1, 40, device)
        if history is not None:
            epochs = range(1, history.epochs + 1)
            name = "with batch norm" if batch_norm else "without"
            axes.semilogy(epochs, history.loss, style, color="0.6", label=f"{name}, training")
            axes.semilogy(epochs, history.val_loss, style, color="0.0", label=f"{name}, held out")
    axes.set_xlabel("epoch")
    axes.set_ylabel("cross-entropy")
    axes.set_title("scale 1, learning rate 0.1")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description="What batch normalization buys, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("batch_norm.png"), metavar="FILE")
    options = parser.parse_args()
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for place, batch_norm in zip(axes, (False, True), strict=False):
        grid = accuracies(batch_norm, options.device)
        name = "with batch norm" if batch_norm else "without batch norm"
        good = int((grid >= GOOD).sum())
        print(f"{name}: {good} of {grid.size} settings reach {GOOD:.0%} of the held-out digits")
        draw_grid(place, grid, f"{name}: held-out accuracy after 6 epochs")
    draw_losses(axes[2], options.device)
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
