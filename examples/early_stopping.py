"""Early stopping: the dev set's loss tells when a network begins to learn by heart.

    python examples/early_stopping.py [--device auto] [--out early_stopping.png]

A network with far more weights than samples learns 300 digits, of which 100 carry a wrong label.
The training loss falls to the end; the dev loss turns when the wrong labels begin to be learned.
With `EarlyStopping` training ends 10 epochs after the best one and brings its weights back.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from onepass.nets import (
    Adam,
    Callback,
    Dense,
    EarlyStopping,
    History,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    accuracy,
    fit,
    load_digits,
    outputs,
    split,
)

EPOCHS, PATIENCE = 50, 10
Pair = tuple[np.ndarray, np.ndarray]


def data() -> tuple[Pair, Pair, Pair]:
    """300 digits to train on, a third of them mislabeled; 748 for the dev set, 749 for the test."""
    digits = load_digits()
    x = np.concatenate([digits.x_train, digits.x_test])
    y = np.concatenate([digits.y_train, digits.y_test])
    (x_train, y_train), dev, test = split(x, y, (300 / 1797, 748 / 1797, 749 / 1797), stratify=True)
    draw = np.random.default_rng(0)
    wrong = draw.permutation(300)[:100]
    y_train[wrong] = (y_train[wrong] + draw.integers(1, 10, 100)) % 10
    return (x_train, y_train), dev, test


def train(
    sets: tuple[Pair, Pair, Pair], device: str, *callbacks: Callback
) -> tuple[Sequential, History]:
    net = Sequential(
        Dense(64, 256), ReLU(), Dense(256, 128), ReLU(), Dense(128, 10), seed=0, device=device
    )
    history = fit(
        net,
        sets[0],
        loss=SoftmaxCrossEntropy(),
        optimizer=Adam(net.parameters(), lr=3e-3),
        epochs=EPOCHS,
        batch_size=32,
        validation=sets[1],
        callbacks=callbacks,
        progress=False,
    )
    return net, history


def dev_loss(net: Sequential, dev: Pair) -> float:
    return float(SoftmaxCrossEntropy()(outputs(net, dev[0]), dev[1])[0])


def draw(axes: plt.Axes, training: list[float], dev: list[float], stopping: EarlyStopping) -> None:
    """Both curves, solid up to the epoch where training was stopped, and what came after."""
    stop = stopping.best_epoch + PATIENCE
    epochs = np.arange(1, len(dev) + 1)
    for values, style, color, name in (
        (training, "-", "0.55", "training"),
        (dev, "-o", "0.0", "dev"),
    ):
        look = {"color": color, "markersize": 4, "markevery": 3, "markerfacecolor": "white"}
        axes.plot(epochs[:stop], values[:stop], style, label=f"{name} set", **look)
        axes.plot(epochs[stop - 1 :], values[stop - 1 :], ":", color=color, linewidth=1.5)
    axes.plot([], [], ":", color="0.0", label="without early stopping")
    axes.axvline(stop, color="0.0", linewidth=0.8, linestyle="--", label=f"stopped, epoch {stop}")
    best = stopping.best_epoch
    axes.plot(
        best, dev[best - 1], "*", color="0.0", markersize=15,
        label=f"best dev loss, epoch {best}: restored",
    )  # fmt: skip
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description="Early stopping, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("early_stopping.png"), metavar="FILE")
    options = parser.parse_args()
    sets = data()
    stopping = EarlyStopping("val_loss", patience=PATIENCE)
    stopped, short = train(sets, options.device, stopping)
    to_the_end, long = train(sets, options.device)
    print(
        f"best dev loss {stopping.best:.4f} at epoch {stopping.best_epoch}, stopped after epoch "
        f"{short.epochs}; with the weights restored {dev_loss(stopped, sets[1]):.4f}, after "
        f"{EPOCHS} epochs {dev_loss(to_the_end, sets[1]):.4f}"
    )
    shares = [accuracy(net, *sets[2]) for net in (stopped, to_the_end)]
    print(f"test accuracy {shares[0]:.1%} against {shares[1]:.1%}")
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    draw(left, long.loss, long.val_loss, stopping)
    left.set_ylabel("cross-entropy")
    left.set_title("loss")
    errors = (
        [100 * (1 - share) for share in shares] for shares in (long.accuracy, long.val_accuracy)
    )
    draw(right, *errors, stopping)
    right.set_ylabel("wrong answers [%]")
    right.set_title("error")
    right.legend(fontsize=8)
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
