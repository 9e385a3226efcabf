"""scikit-learn's network of the same sizes, which has no batch normalization."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from ...nets import History
from ...nets.types import HostArray
from ..cases.trainer import HIDDEN, LR, Pair, Trainer


class Sklearn(Trainer):
    """MLPClassifier with the same hidden layers, batch, ReLU and Adam; no penalty on weights.

    It draws its own first weights and its own order of samples.
    """

    def __init__(self, classes: int, batch: int, seed: int = 0):
        self.classes, self.batch, self.seed = classes, batch, seed
        self.reset()

    def train(self, data: Pair, epochs: int = 1, validation: Pair | None = None) -> History:
        history, classes = History(), np.arange(self.classes)
        for _ in range(epochs):
            start = perf_counter()
            self.model.partial_fit(*data, classes=classes)
            history.seconds.append(perf_counter() - start)
            history.loss.append(float(self.model.loss_))
            if validation is not None:
                history.val_accuracy.append(float(self.model.score(*validation)))
        return history

    def weights(self) -> dict[str, HostArray]:
        """Of its three layers: nothing is normalized between them, and every one has a bias."""
        layers = zip(("0", "2", "4"), self.model.coefs_, self.model.intercepts_, strict=True)
        return {
            f"{k}.{name}": array
            for k, weight, bias in layers
            for name, array in (("weight", weight), ("bias", bias))
        }

    def reset(self) -> None:
        from sklearn.neural_network import MLPClassifier

        self.model = MLPClassifier(
            HIDDEN, alpha=0.0, batch_size=self.batch, learning_rate_init=LR, random_state=self.seed
        )
