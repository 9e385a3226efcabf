"""Settings that are known to work: what `onepass train` runs."""

from __future__ import annotations

from dataclasses import dataclass

from .activations import ReLU
from .data import Dataset
from .dense import Dense
from .history import History
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


def digits_recipe(seed: int = 0, device: Device = "auto") -> Recipe:
    """For `load_digits`: 64-256-128-10, about 98 % of the held-out digits in a second or two."""
    return _recipe((64, 256, 128, 10), epochs=40, batch_size=32, seed=seed, device=device)


def mnist_recipe(seed: int = 0, device: Device = "auto") -> Recipe:
    """For `load_mnist`: 784-256-128-10, about 98 % of the test digits."""
    return _recipe((784, 256, 128, 10), epochs=10, batch_size=128, seed=seed, device=device)


def _recipe(
    widths: tuple[int, int, int, int], *, epochs: int, batch_size: int, seed: int, device: Device
) -> Recipe:
    n_in, first, second, classes = widths
    net = Sequential(
        Dense(n_in, first),
        ReLU(),
        Dense(first, second),
        ReLU(),
        Dense(second, classes),
        seed=seed,
        device=device,
    )
    optimizer = Adam(net.parameters(), lr=1e-3)
    return Recipe(net, optimizer, SoftmaxCrossEntropy(), epochs, batch_size, seed)
