"""Settings that are known to work: what `onepass train` runs."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.dataset import Dataset
from ..losses.loss import Loss
from ..losses.softmax_cross_entropy import SoftmaxCrossEntropy
from ..network.multilayer import multilayer
from ..network.sequential import Sequential
from ..optimizers.adam import Adam
from ..optimizers.frame.optimizer import Optimizer
from ..optimizers.schedules.decays import ExponentialDecay
from ..optimizers.schedules.schedule import Schedule
from ..parallel.communicator import Comm
from ..training.fit import fit
from ..training.history import History
from ..types import Device

LR = 2e-3
KEEP_PROB = 0.8


@dataclass(frozen=True)
class Recipe:
    """A network, and everything that training it takes but the data."""

    net: Sequential
    optimizer: Optimizer
    schedule: Schedule | None
    loss: Loss
    epochs: int
    batch_size: int
    seed: int

    def train(self, data: Dataset, progress: bool = True, comm: Comm = None) -> History:
        """Train the network on the training part; the test part is measured after each epoch.

        comm: as `fit` takes it.
        """
        return fit(
            self.net,
            (data.x_train, data.y_train),
            loss=self.loss,
            optimizer=self.optimizer,
            schedule=self.schedule,
            epochs=self.epochs,
            batch_size=self.batch_size,
            validation=(data.x_test, data.y_test),
            seed=self.seed,
            progress=progress,
            comm=comm,
        )


def digits_recipe(seed: int = 0, device: Device = "auto", batch_norm: bool = True) -> Recipe:
    """For `load_digits`: 64-256-128-10, 98 % of the held-out digits and more in about a second.

    Batch normalization, ReLU and dropout (keep_prob 0.8) after each hidden layer; Adam whose lr
    starts at 2e-3 and falls by 7 % an epoch; 40 epochs of batches of 32.

    batch_norm: False leaves the normalization out.
    """
    return _recipe(64, 0.93, 40, 32, seed, device, batch_norm)


def mnist_recipe(seed: int = 0, device: Device = "auto", batch_norm: bool = True) -> Recipe:
    """For `load_mnist`: 784-256-128-10, over 98.2 % of the test digits.

    As `digits_recipe`, but lr falls by 20 % an epoch; 15 epochs of batches of 128.
    """
    return _recipe(784, 0.8, 15, 128, seed, device, batch_norm)


def _recipe(
    n_in: int,
    base: float,
    epochs: int,
    batch_size: int,
    seed: int,
    device: Device,
    batch_norm: bool,
) -> Recipe:
    net = multilayer(
        n_in, (256, 128), 10, batch_norm=batch_norm, keep_prob=KEEP_PROB, seed=seed, device=device
    )
    return Recipe(
        net,
        Adam(net.parameters(), lr=LR),
        ExponentialDecay(LR, base),
        SoftmaxCrossEntropy(),
        epochs,
        batch_size,
        seed,
    )
