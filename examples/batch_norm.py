"""What batch normalization buys: training over initial scales and learning rates, with and without.

    python examples/batch_norm.py [--device auto] [--out batch_norm.png]

A network 64-64-64-64-10 learns the digits for 6 epochs of plain gradient descent from each of 36
settings. The picture shows the share of held-out digits that it gets right, and, for one good
setting and more epochs, the losses on both sides of the split: the noise of the batches'
statistics regularizes a little, and goes together with dropout, which does so too.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
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
    Dropout,
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
SEEDS = 5


@dataclass(frozen=True)
class Kind:
    """A network 64-64-64-64-10, with or without batch norm and dropout."""

    batch_norm: bool
    keep_prob: float = 1.0

    @property
    def name(self) -> str:
        parts = ["batch norm"] * self.batch_norm + ["dropout"] * (self.keep_prob < 1)
        return "with " + " and ".join(parts) if parts else "without batch norm"

    def net(self, scale: float, seed: int, device: str) -> Sequential:
        """One whose weights start at `scale` times He's initialization."""
        layers: list[Layer] = []
        for _ in range(3):
            if self.batch_norm:
                layers += [Dense(64, 64, bias=False), BatchNorm(64, activation="relu")]
            else:
                layers += [Dense(64, 64), ReLU()]
            layers += [Dropout(self.keep_prob)] if self.keep_prob < 1 else []
        net = Sequential(*layers, Dense(64, 10), seed=seed, device=device)
        for name, parameter in net.parameters().items():
            if name.endswith("weight"):
                parameter *= scale
        return net


WITHOUT, WITH = Kind(False), Kind(True)
FOUR = (WITHOUT, Kind(False, 0.9), WITH, Kind(True, 0.9))


@cache
def digits() -> Dataset:
    return load_digits(seed=0)


def train(net: Sequential, lr: float, epochs: int, seed: int = 0) -> History | None:
    """The history of one run, or None where it diverged."""
    data = digits()
    try:
        return fit(
            net,
            (data.x_train, data.y_train),
            loss=SoftmaxCrossEntropy(),
            optimizer=SGD(net.parameters(), lr=lr),
            epochs=epochs,
            batch_size=32,
            validation=(data.x_test, data.y_test),
            seed=seed,
            progress=False,
        )
    except FloatingPointError:
        return None


def accuracies(kind: Kind, device: str) -> np.ndarray:
    """Held-out accuracy for each scale (rows) and learning rate (columns); NaN: diverged."""
    grid = np.full((len(SCALES), len(RATES)), np.nan)
    for i, scale in enumerate(SCALES):
        for j, rate in enumerate(RATES):
            history = train(kind.net(scale, 0, device), rate, 6)
            if history is not None:
                grid[i, j] = history.val_accuracy[-1]
    return grid


def longer(kind: Kind, device: str) -> list[History]:
    """40 epochs with a good setting, from each seed."""
    runs = [train(kind.net(1.0, seed, device), 0.1, 40, seed) for seed in range(SEEDS)]
    return [history for history in runs if history is not None]


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


def draw_losses(axes: plt.Axes, without: History, with_norm: History) -> None:
    for kind, history, style in ((WITHOUT, without, "--"), (WITH, with_norm, "-")):
        epochs = range(1, history.epochs + 1)
        axes.semilogy(epochs, history.loss, style, color="0.6", label=f"{kind.name}, training")
        axes.semilogy(epochs, history.val_loss, style, color="0.0", label=f"{kind.name}, held out")
    axes.set_xlabel("epoch")
    axes.set_ylabel("cross-entropy")
    axes.set_title("scale 1, learning rate 0.1: losses of one run")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def draw_regularization(axes: plt.Axes, losses: list[list[float]]) -> None:
    """The held-out losses of each kind's runs, and their mean as a bar."""
    rows = range(len(FOUR))
    axes.barh(rows, [*map(np.mean, losses)], 0.5, color="0.85", edgecolor="0.0", label="mean")
    points = [(loss, row) for row, several in enumerate(losses) for loss in several]
    axes.plot(*zip(*points, strict=True), "o", color="0.0", label="one seed each")
    axes.set_yticks(rows, [kind.name.replace(" and ", "\nand ") for kind in FOUR])
    axes.invert_yaxis()
    axes.set_xlabel("cross-entropy, held out")
    axes.set_title("scale 1, learning rate 0.1: after 40 epochs")
    axes.legend(fontsize=8, loc="lower right")


def main() -> None:
    parser = argparse.ArgumentParser(description="What batch normalization buys, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("batch_norm.png"), metavar="FILE")
    options = parser.parse_args()
    figure, axes = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
    for place, kind in zip(axes[0], (WITHOUT, WITH), strict=True):
        grid = accuracies(kind, options.device)
        good = int((grid >= GOOD).sum())
        print(
            f"{kind.name}: {good} of {grid.size} settings reach {GOOD:.0%} of the held-out digits"
        )
        draw_grid(place, grid, f"{kind.name}: held-out accuracy after 6 epochs")
    runs = {kind: longer(kind, options.device) for kind in FOUR}
    losses = [[history.val_loss[-1] for history in histories] for histories in runs.values()]
    for kind, several in zip(FOUR, losses, strict=True):
        print(f"{kind.name}: held-out loss {np.mean(several):.3f} after 40 epochs")
    draw_losses(axes[1, 0], runs[WITHOUT][0], runs[WITH][0])
    draw_regularization(axes[1, 1], losses)
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
