"""Settings that are known to work: what `onepass train` runs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from .activations import ReLU
from .batch_norm import BatchNorm
from .data import Dataset
from .dense import Dense
from .history import History
from .layer import Layer
from .losses import Loss, SoftmaxCrossEntropy
from .optimizer import Optimizer
from .optimizers import Adam
from .sequential import Sequential
from .training import fit
from .types import Device


@dataclass(frozen=True)
class Recipe:
    """A network, and everything that training it takes but the data."""

    net: Sequential
    optimizer: Optimizer
    loss: Loss
    epochs: int
    batch_size: int
    seed: int

    def train(self, data: Dataset, progress: bool = True) -> History:
        """Train the network on the training part; the test part is measured after each epoch."""
        return fit(
            self.net,
            (data.x_train, data.y_train),
            loss=self.loss,
            optimizer=self.optimizer,
            epochs=self.epochs,
            batch_size=self.batch_size,
            validation=(data.x_test, data.y_test),
            seed=self.seed,
            progress=progress,
        )


def digits_recipe(seed: int = 0, device: Device = "auto", batch_norm: bool = False) -> Recipe:
    """For `load_digits`: 64-256-128-10, about 98 % of the held-out digits in a second or two.

    batch_norm: normalize before each ReLU, in layers without biases.
    """
    net = _network(64, 256, 128, 10, seed=seed, device=device, batch_norm=batch_norm)
    optimizer = Adam(net.parameters())
    return Recipe(net, optimizer, SoftmaxCrossEntropy(), epochs=40, batch_size=16, seed=seed)


def mnist_recipe(seed: int = 0, device: Device = "auto", batch_norm: bool = False) -> Recipe:
    """For `load_mnist`: 784-256-128-10, about 98 % of the test digits.

    batch_norm: normalize before each ReLU, in layers without biases.
    """
    net = _network(784, 256, 128, 10, seed=seed, device=device, batch_norm=batch_norm)
    optimizer = Adam(net.parameters())
    return Recipe(net, optimizer, SoftmaxCrossEntropy(), epochs=10, batch_size=128, seed=seed)


def _network(*widths: int, seed: int, device: Device, batch_norm: bool) -> Sequential:
    """Dense layers of these widths, with ReLU between them, normalized or not."""
    *hidden, last = pairwise(widths)
    layers: list[Layer] = []
    for n_in, n_out in hidden:
        if batch_norm:
            layers += [Dense(n_in, n_out, bias=False), BatchNorm(n_out, activation="relu")]
        else:
            layers += [Dense(n_in, n_out), ReLU()]
    return Sequential(*layers, Dense(*last), seed=seed, device=device)
