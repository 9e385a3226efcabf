"""Learning-rate schedules: the rate of each update, and what it does to a training.

    python examples/schedules.py [--device auto] [--out schedules.png]

Each schedule has a picture of its own, over 1,000 updates from a rate of 0.1. The last picture is
of a callback: `ReduceOnPlateau` watches the loss of a training whose steps are too large to come to
rest, and makes them smaller where it has stopped falling. What is printed tells where each begins,
how high it gets, and where it ends.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from onepass.nets import (
    SGD,
    Callback,
    Cosine,
    CosineRestarts,
    Dense,
    ExponentialDecay,
    History,
    InverseSqrtDecay,
    InverseTimeDecay,
    LinearDecay,
    Manual,
    MeanSquaredError,
    OneCycle,
    Polynomial,
    ReduceOnPlateau,
    Schedule,
    Sequential,
    Staircase,
    Warmup,
    fit,
)

STEPS, LR = 1000, 0.1
EPOCHS, RATE = 40, 0.3

SCHEDULES: dict[str, tuple[Schedule, ...]] = {
    "InverseTimeDecay": (InverseTimeDecay(LR, decay=0.01, per="step"),),
    "ExponentialDecay": (ExponentialDecay(LR, base=0.996, per="step"),),
    "InverseSqrtDecay": (InverseSqrtDecay(LR, per="step"),),
    "Staircase": (Staircase(LR, factor=0.5, every=200, per="step"),),
    "Manual": (Manual({0: LR, 300: 0.03, 600: 0.06, 800: 0.01}, per="step"),),
    "LinearDecay": (LinearDecay(LR, STEPS), LinearDecay(0.02, 600, end=0.08)),
    "Polynomial": tuple(Polynomial(LR, STEPS, power=power) for power in (0.5, 2, 4)),
    "Cosine": (Cosine(LR, STEPS), Cosine(LR, 700, end=0.02)),
    "CosineRestarts": (CosineRestarts(LR, 143, growth=2), CosineRestarts(0.04, 250)),
    "OneCycle": (OneCycle(LR, STEPS), OneCycle(LR, STEPS, three_phase=True)),
    "Warmup, then Cosine": (Warmup(150).then(Cosine(LR, 850)),),
    "Warmup, Polynomial, Staircase": (
        Warmup(100)
        .then(Polynomial(LR, 500, end=0.04, power=2))
        .then(Staircase(0.04, every=100, per="step")),
    ),
}
LABELS = {
    "LinearDecay": ("to 0", "a rise, which ends after 600"),
    "Polynomial": ("power 0.5", "power 2", "power 4"),
    "Cosine": ("to 0", "to 0.02 within 700"),
    "CosineRestarts": ("growth=2", "of one length"),
    "OneCycle": ("two phases", "three_phase=True"),
}
LOOKS = (
    {"color": "0.0"},
    {"color": "0.45", "linestyle": "--"},
    {"color": "0.0", "linestyle": ":", "linewidth": 2},
)


def rates(schedule: Schedule) -> list[float]:
    """Of each update; an epoch has all of them."""
    return [schedule(0, step) for step in range(1, STEPS + 1)]


def train(device: str, *callbacks: Callback) -> History:
    """Linear regression by small batches at a high rate: noise keeps the weights moving."""
    draws = np.random.default_rng(0)
    x = draws.standard_normal((2000, 20))
    y = x @ draws.standard_normal((20, 1)) + 0.3 * draws.standard_normal((2000, 1))
    net = Sequential(Dense(20, 1), seed=0, device=device)
    return fit(
        net,
        (x, y),
        loss=MeanSquaredError(),
        optimizer=SGD(net.parameters(), lr=RATE),
        epochs=EPOCHS,
        batch_size=32,
        callbacks=callbacks,
        progress=False,
    )


def draw(axes: plt.Axes, name: str) -> None:
    for k, (schedule, look) in enumerate(zip(SCHEDULES[name], LOOKS, strict=False)):
        found = rates(schedule)
        label = LABELS[name][k] if name in LABELS else None
        axes.plot(range(1, STEPS + 1), found, label=label, **look)
        told = f" ({label})" if label else ""
        print(
            f"{name}{told}: from {found[0]:.3g}, {max(found):.3g} at most, "
            f"in the end {found[-1]:.3g}"
        )
    axes.set_title(name, fontsize=10)
    axes.set_ylim(-0.005, 0.115)
    axes.grid(alpha=0.3)
    if name in LABELS:
        axes.legend(fontsize=8)


def draw_plateau(axes: plt.Axes, reduced: History, constant: History) -> None:
    """The losses, and the rate on an axis of its own."""
    epochs = range(1, EPOCHS + 1)
    axes.plot(epochs, reduced.loss, label="loss", **LOOKS[0])
    axes.plot(epochs, constant.loss, label=f"loss at a rate of {RATE} all the time", **LOOKS[1])
    axes.set_ylim(0.08, 0.16)
    axes.set_ylabel("training loss")
    axes.set_xlabel("epoch")
    axes.set_title("ReduceOnPlateau", fontsize=10)
    axes.grid(alpha=0.3)
    right = axes.twinx()
    right.step(epochs, reduced.lr, where="mid", **LOOKS[2])
    right.set_yscale("log")
    right.set_ylabel("rate")
    axes.plot([], [], label="rate, on the right", **LOOKS[2])
    axes.legend(fontsize=8, loc="upper right")


def main() -> None:
    parser = argparse.ArgumentParser(description="Learning-rate schedules, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("schedules.png"), metavar="FILE")
    options = parser.parse_args()
    figure, grid = plt.subplots(4, 4, figsize=(14, 11), layout="constrained")
    places = list(grid.flat)
    for axes, name in zip(places, SCHEDULES, strict=False):
        draw(axes, name)
    for axes in grid[:3, 0]:
        axes.set_ylabel("rate")
    for axes in grid[2]:
        axes.set_xlabel("update")
    for axes in grid[3]:
        axes.remove()
    reduced = train(options.device, ReduceOnPlateau("loss", factor=0.3, patience=3))
    constant = train(options.device)
    draw_plateau(figure.add_subplot(grid[3, 0].get_gridspec()[3, :]), reduced, constant)
    changes = [
        f"{lr:.3g} in epoch {epoch}"
        for epoch, (before, lr) in enumerate(pairwise(reduced.lr), start=2)
        if lr != before
    ]
    print(f"ReduceOnPlateau: from {reduced.lr[0]:.3g} to {', '.join(changes)}")
    print(f"training loss: {reduced.loss[-1]:.4f}, without it {constant.loss[-1]:.4f}")
    figure.savefig(options.out, dpi=90)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
