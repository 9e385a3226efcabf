"""A network that predicts numbers, as an estimator of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from ..losses.huber import Huber
from ..losses.loss import Loss
from ..losses.poisson import Poisson
from ..losses.squared_error import MeanSquaredError
from ..optimizers.frame.groups import Chosen, Named
from ..training.callbacks.callback import Callbacks
from ..training.run import LrSchedule
from ..types import Device, HostArray
from .estimator import NetEstimator
from .solver import descends

LOSSES = ("squared_error", "huber", "poisson")


class NetRegressor(RegressorMixin, NetEstimator):  # type: ignore[misc]
    """A network of dense layers that predicts one number a sample, or several.

        "squared_error"  J = mean over rows of 1/2 sum over outputs of (z - y)^2
        "huber"          (z - y)^2 / 2 up to `delta` from y, straight from there on; added up alike
        "poisson"        exp(z) - y z + y log y - y, for y >= 0: predicts the rate exp(z)

    A drop-in for scikit-learn's MLPRegressor. The arguments are those of NetClassifier without
    `class_weight` and `label_smoothing`, and `loss` and `delta`. `normalize` scales the targets too
    (but those of "poisson"): the network learns (y - mean) / deviation, each with the mean and
    deviation of what is trained on, so that targets of any size are learnt at the same rate;
    `history_`, losses and `delta` are in these units, `predict` in those of y, and in float64,
    whatever the network computes in: y of 1.7e9 +- 20 needs its digits.

    Args:
        loss: one of the above.
        delta: of "huber", > 0.

    Attributes:
        coefs_, intercepts_, loss_, loss_curve_, best_loss_, n_iter_, t_, ...: as of NetClassifier;
            validation_scores_ are R^2.
        out_activation_: "identity", or "exp" of "poisson".
        net_: the Sequential, which takes normalized samples and gives normalized targets.
        normalizer_, target_normalizer_: the Normalizers of samples and targets, or None.
        history_: loss, mae, ... of each epoch of the last fit.
        n_features_in_, feature_names_in_: of what it was trained on.

    Raises:
        ImportError: (on import) scikit-learn is not installed.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> from onepass.nets import NetRegressor
        >>> x, y = load_diabetes(return_X_y=True)
        >>> NetRegressor(learning_rate_init=0.01, random_state=0).fit(x, y).score(x, y) > 0.5
        True
    """

    classifies = False
    out_activation_: str
    _one_number: bool

    loss: str
    delta: float

    def __init__(
        self,
        hidden_layer_sizes: int | tuple[int, ...] = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: LrSchedule | str = "constant",
        learning_rate_init: float | None = None,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float | None = None,
        beta_2: float | None = None,
        epsilon: float | None = None,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str = "squared_error",
        delta: float = 1.0,
        init: str = "glorot_uniform",
        normalize: bool = True,
        batch_norm: bool = False,
        keep_prob: float = 1.0,
        l1: float = 0.0,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        groups: Named | None = None,
        no_decay: Chosen | None = None,
        callbacks: Callbacks = (),
        device: Device = "auto",
        engine: str = "auto",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        self._take(locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on samples `X` and their numbers `y`; self.

        Args:
            X: (n, features), dense or sparse, as NetClassifier takes it.
            y: (n,) or (n, k).
            sample_weight: (n,), how often each row counts, as NetClassifier takes it.

        Raises:
            TypeError, ValueError: X or y is nothing to train on (masked, not finite, ...), or an
                argument of the estimator is out of its range.
            FloatingPointError: training diverged; the message says what to do.
            KeyboardInterrupt: after Ctrl-C; what was learnt so far is kept.
        """
        with self._intact():
            return self._learn(X, y, sample_weight, part=False)

    @available_if(descends)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go through some samples once, with the network of before, if there is one; self.

        So called k times with the same samples it is a `fit` with max_iter=k, where `tol` ends
        none. Rows and targets are normalized as the first ones were. Raises as `fit`.
        """
        with self._intact():
            return self._learn(X, y, sample_weight, part=True)

    def _learn(self, X: Any, y: Any, sample_weight: Any, part: bool) -> Self:
        first = not self._goes_on(part)
        X, y = self._checked(X, y, first, multi_output=True, y_numeric=True)
        wide = y.reshape(len(y), -1).astype(np.float64, copy=False)
        width = wide.shape[1]
        if not first and width != self.n_outputs_:
            raise ValueError(
                f"y has {width} outputs; expected {self.n_outputs_}, as the estimator was fitted on"
            )
        loss = self._loss()
        if self.loss == "poisson" and wide.min() < 0:
            raise ValueError(f"y holds {wide.min():g}; expected numbers >= 0 for loss='poisson'")
        weights = self._weights(X, sample_weight)
        scale = width / 2 if self.loss == "squared_error" else width  # a sum, as in the docstring
        activation = "exp" if self.loss == "poisson" else "identity"
        learnt = {"out_activation_": activation, "_one_number": y.ndim == 1}
        return self._train(X, wide, loss, width, weights, scale, part, **learnt)

    def _loss(self) -> Loss:
        if self.loss not in LOSSES:
            raise ValueError(f"loss is {self.loss!r}; expected {', '.join(map(repr, LOSSES))}")
        if self.loss == "huber":
            return Huber(self.delta)
        return Poisson() if self.loss == "poisson" else MeanSquaredError()

    def predict(self, X: Any) -> HostArray:
        """The prediction for each row of `X`, in the shape of `y`.

        In float64, or in the dtype of the network where targets are not normalized.
        """
        found = self._outputs(X)
        if self.target_normalizer_ is not None:
            found = self.target_normalizer_.inverse(found)
        if self.out_activation_ == "exp":
            with np.errstate(over="ignore", under="ignore"):
                found = np.exp(found)
        return found.ravel() if self._one_number else found

    def _scales_targets(self) -> bool:
        return self.loss != "poisson"

    def _judged(self, found: HostArray, y: HostArray, weights: HostArray | None) -> float:
        """R^2, in the units that the network learns in, which change nothing in it."""
        with np.errstate(over="ignore", under="ignore"):
            found = np.exp(found) if self.loss == "poisson" else found
        if not np.isfinite(found).all():
            return float("nan")
        return float(r2_score(y, found, sample_weight=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
