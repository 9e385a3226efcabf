"""Vanishing and exploding gradients: 50 layers, and how far numbers get in them.

    python examples/vanishing_gradients.py [--device auto] [--out vanishing_gradients.png]

Of y = W_50 ... W_2 W_1 x with every W = 1.5 I, nothing is left but 1.5^50 = 6e8, and of 0.5 I,
0.5^50 = 9e-16: forward with the activations, backward with the gradients. Networks with random
weights do the same, unless the weights' variance keeps the norm from layer to layer (He's for
ReLU, Xavier's for tanh), or batch normalization sets it anew at every layer, whatever the weights;
its gradients then grow by a fifth a layer. The norms are of one batch, before any training.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from onepass.kernels import global_norm
from onepass.nets import BatchNorm, Dense, Layer, ReLU, Sequential, Tanh

DEPTH, WIDTH, BATCH = 50, 100, 128


@dataclass(frozen=True)
class Kind:
    """A network of DEPTH equal blocks, and how its curve looks."""

    name: str
    style: str
    color: str
    init: str = "he"
    activation: type[Layer] | None = None
    times: float = 1.0
    """Factor on the initial weights; without an activation, of the unit matrix instead."""
    batch_norm: bool = False

    def net(self, device: str) -> Sequential:
        layers: list[Layer] = []
        for _ in range(DEPTH):
            layers.append(Dense(WIDTH, WIDTH, bias=False, init=self.init))
            layers += [BatchNorm(WIDTH)] if self.batch_norm else []
            layers += [self.activation()] if self.activation else []
        net = Sequential(*layers, device=device)
        for weight in net.parameters().values():
            if weight.ndim == 2 and self.activation is None:
                weight[...] = net.backend.asarray(self.times * np.eye(WIDTH))
            elif weight.ndim == 2:
                weight *= self.times
        return net


MATRICES = (
    Kind("W = 1.5 I", "-", "0.0", times=1.5),
    Kind("W = 0.5 I", "--", "0.0", times=0.5),
)
RANDOM = (
    Kind("ReLU, twice He", "-", "0.55", activation=ReLU, times=2.0),
    Kind("ReLU, half of He", "--", "0.55", activation=ReLU, times=0.5),
    Kind("ReLU, He", "-o", "0.0", activation=ReLU),
    Kind("tanh, Xavier", "-s", "0.0", init="xavier", activation=Tanh),
    Kind(
        "ReLU, half of He, batch norm", "-^", "0.0", activation=ReLU, times=0.5, batch_norm=True
    ),
)  # fmt: skip


def norms(net: Sequential) -> tuple[np.ndarray, np.ndarray]:
    """|a| / |x| and |dJ/da| / |dJ/dy| after each block, from the input x to the output y.

    J is a random linear function of y.
    """
    draw = np.random.default_rng(0)
    x, dy = map(net.backend.asarray, draw.standard_normal((2, BATCH, WIDTH), dtype="float32"))
    activations, gradients = [global_norm([x])], [global_norm([dy])]
    size = len(net.layers) // DEPTH
    net.forward(x)  # hands every layer its arrays
    for k, layer in enumerate(net.layers, start=1):
        x = layer.forward(x, True)
        if k % size == 0:
            activations.append(global_norm([x]))
    for k, layer in enumerate(reversed(net.layers), start=1):
        dy = layer.backward(dy)
        if k % size == 0:
            gradients.append(global_norm([dy]))
    forward, backward = np.array(activations), np.array(gradients)
    return forward / forward[0], backward[::-1] / backward[0]


def draw(axes: np.ndarray, kinds: tuple[Kind, ...], device: str) -> None:
    for kind in kinds:
        activations, gradients = norms(kind.net(device))
        print(
            f"{kind.name}: activations {activations[-1]:.1e} at layer {DEPTH}, "
            f"gradient {gradients[0]:.1e} at the input"
        )
        for place, values in zip(axes, (activations, gradients), strict=True):
            place.semilogy(
                range(DEPTH + 1), values, kind.style, color=kind.color, label=kind.name,
                markevery=5, markersize=5, markerfacecolor="white",
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Norms over 50 layers, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("vanishing_gradients.png"), metavar="FILE")
    options = parser.parse_args()
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), sharex=True, layout="constrained")
    draw(axes[0], MATRICES, options.device)
    draw(axes[1], RANDOM, options.device)
    for row, title in zip(axes, ("one matrix at every layer", "random weights"), strict=True):
        for place, word in zip(row, ("activations", "gradients"), strict=True):
            place.set_title(f"{title}: {word}")
            place.grid(alpha=0.3)
            place.legend(fontsize=8)
        row[0].set_ylabel("norm / norm of the input")
        row[1].set_ylabel("norm / norm at the output")
    for place in axes[1]:
        place.set_xlabel("layer (0: the input)")
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
