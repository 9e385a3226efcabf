"""What initialization does to activations: their distribution at each of five layers.

    python examples/activation_histograms.py [--device auto] [--out activation_histograms.png]

1,000 rows of normal numbers go through five layers of 100 units, before any training. Weights of
deviation 1 drive sigmoid and tanh to their ends, where gradients are nearly 0, and ReLU out of
range; of 0.01, all units of a layer say the same. Xavier's (for tanh) and He's (for ReLU) keep the
distribution wide and the same from layer to layer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from onepass.nets import Dense, Layer, ReLU, Sequential, Sigmoid, Tanh

LAYERS, WIDTH, ROWS = 5, 100, 1000
STARTS = {"deviation 1": "normal", "deviation 0.01": "normal", "Xavier": "xavier", "He": "he"}
FUNCTIONS: dict[str, type[Layer]] = {"sigmoid": Sigmoid, "tanh": Tanh, "ReLU": ReLU}


def activations(start: str, function: type[Layer], device: str) -> list[np.ndarray]:
    """The activations of each layer, (ROWS, WIDTH)."""
    layers: list[Layer] = []
    for _ in range(LAYERS):
        layers += [Dense(WIDTH, WIDTH, init=STARTS[start]), function()]
    net = Sequential(*layers, seed=0, device=device)
    if start == "deviation 1":
        net.parameters().flat[...] *= 100  # "normal" draws with 0.01
    x = net.backend.asarray(
        np.random.default_rng(1).standard_normal((ROWS, WIDTH)), dtype=net.dtype
    )
    net.forward(x[:1])  # hands every layer its arrays
    found = []
    for layer in net.layers:
        x = layer.forward(x)
        if isinstance(layer, function):
            found.append(net.backend.to_numpy(x))
    return found


def limits(function: str, values: list[np.ndarray]) -> tuple[float, float]:
    """What the vertical axis shows: the function's range, or for ReLU nearly all values."""
    if function == "ReLU":
        return 0.0, max(3.0, float(np.quantile(np.concatenate(values), 0.99)))
    return (0.0, 1.0) if function == "sigmoid" else (-1.0, 1.0)


def draw(axes: plt.Axes, function: str, values: list[np.ndarray]) -> None:
    """Each layer's histogram on its side, all equally wide; ReLU's without the zeros."""
    low, high = limits(function, values)
    for k, layer in enumerate(values):
        shown = layer[layer > 0] if function == "ReLU" else layer
        share, edges = np.histogram(shown, bins=40, range=(low, high))
        axes.stairs(
            k + 1 + 0.8 * share / share.max(), edges, baseline=k + 1, orientation="horizontal",
            fill=True, facecolor="0.7", edgecolor="0.0", linewidth=0.6,
        )  # fmt: skip
    axes.set_xlim(0.9, LAYERS + 1)
    axes.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    axes.set_xticks(range(1, LAYERS + 1))
    axes.grid(axis="x", alpha=0.3)


def say(function: str, start: str, values: list[np.ndarray]) -> str:
    """What became of the last layer's activations, in numbers."""
    first, last = values[0], values[-1]
    text = f"deviation {first.std():.1e} at layer 1, {last.std():.1e} at layer {LAYERS}"
    if function == "ReLU":
        return text
    ends = (0.0, 1.0) if function == "sigmoid" else (-1.0, 1.0)
    saturated = np.mean((last < ends[0] + 0.02) | (last > ends[1] - 0.02))
    return f"{text}, {saturated:.0%} at an end"


def main() -> None:
    parser = argparse.ArgumentParser(description="Activations by layer, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument(
        "--out", type=Path, default=Path("activation_histograms.png"), metavar="FILE"
    )
    options = parser.parse_args()
    figure, axes = plt.subplots(
        len(STARTS), len(FUNCTIONS), figsize=(11, 10), sharex=True, layout="constrained"
    )
    for row, start in zip(axes, STARTS, strict=True):
        for place, (name, function) in zip(row, FUNCTIONS.items(), strict=True):
            values = activations(start, function, options.device)
            print(f"{name}, {start}: {say(name, start, values)}")
            draw(place, name, values)
            note = " (the half that is > 0)" if name == "ReLU" else ""
            place.set_title(f"{name}, {start}{note}", fontsize=10)
        row[0].set_ylabel("activation")
    for place in axes[-1]:
        place.set_xlabel("layer, to its right its histogram")
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
