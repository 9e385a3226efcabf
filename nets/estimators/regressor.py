"""A network that predicts numbers, as an estimator of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from ...backend.foreign import taken_in
from ..losses.squared_error import MeanSquaredError
from ..types import HostArray
from .estimator import FLOATS, NetEstimator


class NetRegressor(RegressorMixin, NetEstimator):  # type: ignore[misc]
    """A network of dense layers that predicts one number a sample, or several.

    Trained on the mean squared error. The arguments are those of NetClassifier without
    `class_weight`. `normalize` scales the targets too: the network learns (y - mean) / deviation,
    each with the mean and deviation of what is trained on, so that targets of any size are learnt
    at the same rate; `history_` is in these units, `predict` in those of y, and in float64,
    whatever the network computes in: y of 1.7e9 +- 20 needs its digits.

    Attributes:
        net_: the Sequential, which takes normalized samples and gives normalized targets.
        normalizer_, target_normalizer_: the Normalizers of samples and targets, or None.
        history_: loss, mae, ... of each epoch; n_iter_: how many there were.
        n_features_in_, feature_names_in_: of what it was trained on.

    Sample weights, sparse samples and partial_fit are not offered, as NetClassifier tells.

    Raises:
        ImportError: (on import) scikit-learn is not installed.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> from onepass.nets import NetRegressor
        >>> x, y = load_diabetes(return_X_y=True)
        >>> NetRegressor(random_state=0).fit(x, y).score(x, y) > 0.5
        True
    """

    classifies = False
    _one_number: bool

    def fit(self, X: Any, y: Any) -> Self:
        """Train a new network on samples `X`, (n, features), and `y`, (n,) or (n, k); self.

        Raises:
            TypeError, ValueError: X or y is nothing to train on (sparse, masked, not finite, ...),
                or an argument of the estimator is out of its range.
            FloatingPointError: training diverged; the message says what to do.
            KeyboardInterrupt: after Ctrl-C; what was learnt so far is kept.
        """
        X, y = taken_in(("X", "y"), (X, y))
        X, y = validate_data(self, X, y, dtype=FLOATS, multi_output=True, y_numeric=True)
        wide = y.reshape(len(y), -1).astype(np.float64, copy=False)
        data = X, wide
        return self._train(data, MeanSquaredError(), wide.shape[1], _one_number=y.ndim == 1)

    def predict(self, X: Any) -> HostArray:
        """The prediction for each row of `X`, in the shape of `y`.

        In float64, or in the dtype of the network where `normalize` is False.
        """
        found = self._outputs(X)
        if self.target_normalizer_ is not None:
            found = self.target_normalizer_.inverse(found)
        return found.ravel() if self._one_number else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
