"""Several networks that answer together."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..types import Array, HostArray
from .prediction import class_numbers, outputs, predict_proba
from .sequential import Sequential


class Ensemble:
    """The average of what several networks say; as a rule a little better than each of them.

        classification: p = 1/k sum of p_i(x), the softmax of each        the class: argmax of p
        regression: y = 1/k sum of y_i(x)

    Args:
        nets: trained on the same task, from other seeds say, with other layers if you like, on
            any devices. They are left as they are; what one learns later shows.

    Averages are taken on the CPU in float64, and are NumPy arrays.

    Raises:
        TypeError: `nets` holds something that is no Sequential.
        ValueError: there are none, or they take or give different numbers of features.

    Source: Krogh and Vedelsby 1995, Neural network ensembles, cross validation, and active
    learning.
    """

    def __init__(self, nets: Iterable[Sequential]) -> None:
        self.nets = tuple(nets)
        if not self.nets:
            raise ValueError("nets is empty; expected at least one network")
        for k, net in enumerate(self.nets):
            if not isinstance(net, Sequential):
                raise TypeError(f"nets[{k}] is a {type(net).__name__}; expected a Sequential")
        for word, widths in (
            ("takes", [net.in_features for net in self.nets]),
            ("gives", [net.out_features for net in self.nets]),
        ):
            for k, width in enumerate(widths):
                if width != widths[0]:
                    raise ValueError(
                        f"nets[{k}] {word} {width} features, but nets[0] {widths[0]}; expected the "
                        "same number"
                    )

    def outputs(self, x: Array, batch_size: int = 1024) -> HostArray:
        """The mean of the outputs, (n, out_features) in float64: a regression's predictions.

        Args:
            x: rows, shape (n, in_features), on any device.
            batch_size: rows that go through a network at once, at least 1.

        Raises:
            ValueError: `x` has another shape, or `batch_size` is smaller than 1.
        """
        return self._mean(outputs, x, batch_size)

    def predict_proba(self, x: Array, batch_size: int = 1024) -> HostArray:
        """The mean of the probabilities of each class, (n, C) in float64; as `outputs` else.

        Of networks with one output, a logit, the columns are the classes 0 and 1.
        """
        return self._mean(predict_proba, x, batch_size)

    def predict(self, x: Array, batch_size: int = 1024) -> HostArray:
        """The most probable class of each row, int64 of shape (n,); as `outputs` else."""
        return self.predict_proba(x, batch_size).argmax(axis=1).astype(np.int64)

    def accuracy(self, x: Array, y: Array) -> float:
        """The share of rows of `x` for which `predict` gives the label in `y`, (n,) or (n, 1).

        Raises:
            ValueError: there are no rows, or as many labels as rows there are not.
            TypeError: the labels are names.
        """
        labels = class_numbers(self.nets[0], y, len(x))
        return float(np.mean(self.predict(x) == labels))

    def _mean(self, say: Callable[..., HostArray], x: Array, batch_size: int) -> HostArray:
        total = sum(say(net, x, batch_size).astype(np.float64) for net in self.nets)
        with np.errstate(under="ignore"):
            return np.asarray(total) / len(self.nets)

    def __len__(self) -> int:
        return len(self.nets)

    def __repr__(self) -> str:
        return f"Ensemble([{', '.join(map(repr, self.nets))}])"
