"""A network that tells classes apart, as an estimator of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
)

from ...backend.checks.numbers import share
from ..labels import numbered
from ..losses.binary_cross_entropy import BinaryCrossEntropy
from ..losses.loss import Loss
from ..losses.softmax_cross_entropy import SoftmaxCrossEntropy
from ..optimizers.frame.groups import Chosen, Named
from ..training.callbacks.callback import Callbacks
from ..training.run import LrSchedule
from ..types import Device, HostArray
from .estimator import NetEstimator
from .solver import descends


class NetClassifier(ClassifierMixin, NetEstimator):  # type: ignore[misc]
    """A network of dense layers that tells classes apart, as an estimator of scikit-learn.

        logits z = f(... f(x W1 + b1) ...) WL + bL
        p = softmax(z) of several classes, sigmoid(z) of two, sigmoid(z) of each of several labels

    A drop-in for scikit-learn's MLPClassifier: its arguments and attributes have its names, its
    defaults and its meaning (what differs is in nets/estimators/README.md), and it goes where
    scikit-learn's own classifiers go: into a Pipeline, cross_val_score, GridSearchCV. Beside these
    it has batch norm, dropout, more solvers, schedules, parameter groups, class weights and GPUs.

    Args:
        hidden_layer_sizes: units of each hidden layer; a number for a single one, () for none.
        activation: "relu", "leaky_relu", "logistic" (or "sigmoid"), "tanh", "elu", "gelu",
            "gelu_tanh", "silu", "softplus" or "identity" (or "linear"), of the hidden layers.
        solver: "adam"; "sgd", with momentum; "lbfgs", full batches, by SciPy; or "adagrad",
            "rmsprop", "adamw", "amsgrad", "nadam", "radam", "adamax", "adadelta" or "lion".
        alpha: of the L2 penalty alpha/(2b) sum ||W||^2, b the samples of a batch ("lbfgs": all).
        batch_size: samples an update; "auto": 200, or all where there are fewer. With batch norm,
            which needs two samples, one or more are added where the last batch would hold one.
        learning_rate: "constant"; "invscaling": learning_rate_init / (t + 1)^power_t after each
            epoch, t the samples seen; "adaptive": divided by 5 where training would end by `tol`,
            until it is 1e-6; "cosine" or "linear", over all of the training from
            learning_rate_init to 0, "one-cycle", up to it and down; or schedule(epoch, step) -> lr.
            For every solver but "lbfgs".
        learning_rate_init: the rate, of every solver but "lbfgs"; None: 0.001 of "adam" and "sgd",
            else the solver's own.
        power_t: of "invscaling".
        max_iter: epochs at most; of "lbfgs", iterations.
        shuffle: take the samples in a new order in each epoch.
        random_state: an int for the same result each time, on one device; None for another.
        tol: training ends when the loss (with early_stopping: the score) was not better than its
            best by tol in more than n_iter_no_change epochs in a row. Of "lbfgs": on the gradient.
        verbose: show a progress bar.
        warm_start: go on with the network of the last fit, with a new optimizer.
        momentum, nesterovs_momentum: of "sgd".
        early_stopping: hold samples out, the same share of every class (of several labels: any),
            watch the accuracy on them, and keep the weights of the best epoch. Not of "lbfgs".
        validation_fraction: share of the samples that is held out for it, in (0, 1).
        beta_1: weight of the past gradients, of the Adams and "lion". None: the solver's own, as of
            the next two.
        beta_2: weight of the past squared gradients: the second beta of the Adams, the alpha of
            "rmsprop", the rho of "adadelta"; of "lion", the second beta.
        epsilon: is added to the root that divides, of the Adams, "adagrad", "rmsprop", "adadelta".
        n_iter_no_change: epochs, see `tol`; numpy.inf never ends a training.
        max_fun: of "lbfgs", how often loss and gradient are computed at most.
        class_weight: None, "balanced", or {class: weight}, where those left out weigh 1; of several
            labels "balanced", or a list of such dicts. Multiplied with `sample_weight`.
        label_smoothing: s: the class gets 1 - s + s/C of a row's weight, every other s/C; of two
            classes likewise. Not of several labels.
        init: how weights start: "glorot_uniform", biases too, as scikit-learn has it; or "he",
            "xavier", "glorot", "normal", with biases of 0. See `deviation`.
        normalize: bring every feature to mean 0 and deviation 1, as learnt from what is trained on
            (by `partial_fit`: from its first rows). Sparse samples are taken as they are.
        batch_norm: normalize before each activation, in layers without biases.
        keep_prob: of the dropout after each activation, in (0, 1]; 1 for none.
        l1: of the penalty l1/b sum |W|.
        weight_decay: adds weight_decay * param to the gradient, biases included; of "adamw" and
            "lion" it is apart from the gradient, and of "adamw" 0.01 by default.
        clip_norm: the largest L2 norm of all gradients together, to which larger ones are scaled
            down; None: any.
        groups: hyperparameters of parameters by name or pattern, such as {"0.*": {"lr": 1e-4}}:
            "0.weight", "0.bias" are the first layer's, see `Optimizer`.
        no_decay: parameters that have no weight_decay: "1-D" for biases, gamma and beta, a pattern,
            or a list of patterns.
        callbacks: a `Callback`, or several, told of the training.
        device: "auto", "cpu", "cuda", "cuda:N".
        engine: who runs the optimizer's kernel: "auto", "array", "numba", "cupy", "numba-cuda".
        dtype: "float32", "float64", "float16", or None: that of X, so that samples in float32 train
            in float32, which takes half the memory, and all others in float64. What a network in
            float16 gives is returned in float32.

    Attributes:
        classes_: the classes, sorted; of several labels, their numbers. Of two classes the network
            has one output, the logit of the second, else an output for each.
        coefs_, intercepts_: weights, (n_in, n_out), and biases of each layer.
        loss_, loss_curve_, best_loss_: the training loss, penalty included: the last, that of each
            epoch, and the least (None with early_stopping).
        validation_scores_, best_validation_score_: with early_stopping, else None.
        n_iter_: epochs of the last fit; t_: samples seen in all.
        n_layers_, n_outputs_, out_activation_: layers with the input, outputs, and "softmax" or
            "logistic".
        net_: the Sequential, which takes normalized samples.
        normalizer_: the Normalizer, or None.
        history_: loss, accuracy, ... of each epoch of the last fit.
        n_features_in_, feature_names_in_: of what it was trained on.

    All arguments are checked by `fit`, which also refuses those that its solver has no use for
    (scikit-learn's that say so excepted): beta_1, beta_2, epsilon, weight_decay, and with "lbfgs"
    clip_norm, groups, no_decay, callbacks and engine.

    Raises:
        ImportError: (on import) scikit-learn is not installed.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from onepass.nets import NetClassifier
        >>> x, y = load_iris(return_X_y=True)
        >>> NetClassifier(learning_rate_init=0.01, random_state=0).fit(x, y).score(x, y) > 0.95
        True
    """

    classifies = True
    classes_: HostArray
    out_activation_: str

    class_weight: Any
    label_smoothing: float

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
        class_weight: Any = None,
        label_smoothing: float = 0.0,
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
        """Train on samples `X` and their classes `y`; self.

        Args:
            X: (n, features), dense or sparse (CSR, and what becomes CSR), whose rows are gathered a
                batch at a time.
            y: (n,), numbers, names or truth values; or (n, labels) of 0 and 1, each a label that a
                sample has or not.
            sample_weight: (n,), how often each row counts: with full batches 2 is as good as the
                row twice, `alpha` and `normalize` included.

        Raises:
            TypeError, ValueError: X or y is nothing to train on (not finite, of one class only,
                None among names, ...), or an argument of the estimator is out of its range.
            FloatingPointError: training diverged; the message says what to do.
            KeyboardInterrupt: after Ctrl-C; what was learnt so far is kept.
        """
        first = not self._goes_on(False)
        with self._intact():
            X, y = self._checked(X, _exactly(y), first, multi_output=True)
            y = self._as_targets(y)
            if y.ndim == 2:
                classes, targets = np.arange(y.shape[1]), y
            else:
                classes, targets = numbered(y)
                if len(classes) < 2:
                    raise ValueError(
                        f"y holds one class only, {classes.tolist()[0]!r}; expected at least two "
                        "classes"
                    )
            if not first and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous "
                    f"call to fit. Previously got {self.classes_}, `y` has {classes}"
                )
            return self._learn(X, y, targets, classes, sample_weight, part=False)

    @available_if(descends)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Go through some samples once, with the network of before, if there is one; self.

        So called k times with the same samples it is a `fit` with max_iter=k, where `tol` ends
        none. Rows are normalized as the first ones were.

        Args:
            X, y, sample_weight: as `fit` takes them; y may lack some of the classes.
            classes: all that there will be; at the first call, and then the same or None. Of
                several labels they may be left out.

        Raises:
            As `fit`; ValueError also where classes are missing at first, or differ later.
        """
        first = "net_" not in vars(self)
        with self._intact():
            X, y = self._checked(X, _exactly(y), first, multi_output=True)
            y = self._as_targets(y)
            if y.ndim == 2 and classes is None:
                classes = np.arange(y.shape[1])
            _check_partial_fit_first_call(self, classes)
            known = self.classes_
            if y.ndim == 2:
                if y.shape[1] != len(known):
                    raise ValueError(f"y has {y.shape[1]} labels; expected {len(known)}, as before")
                targets = y
            else:
                unseen = np.setdiff1d(y, known)
                if len(unseen):
                    raise ValueError(
                        f"`y` has classes not in `self.classes_`. `self.classes_` has {known}. "
                        f"'y' has {unseen}."
                    )
                targets = np.searchsorted(known, y)
            return self._learn(X, y, targets, known, sample_weight, part=True)

    def _learn(
        self, X: Any, y: HostArray, targets: HostArray, classes: HostArray, weight: Any, part: bool
    ) -> Self:
        labels = y.ndim == 2
        width = len(classes) if labels or len(classes) > 2 else 1
        activation = "logistic" if labels or width == 1 else "softmax"
        if self._goes_on(part) and (width, activation) != (self.n_outputs_, self.out_activation_):
            raise ValueError(
                f"y has {'several labels' if labels else 'one class a row'}; expected it to be of "
                "the kind that the estimator was fitted on"
            )
        weights = self._weights(X, weight)
        factor: HostArray | float = 1.0
        if self.class_weight is not None:
            factor = compute_sample_weight(self.class_weight, y)
        smoothing = share("label_smoothing", self.label_smoothing)
        loss: Loss
        if activation == "softmax":
            loss = _Softmax(smoothing) if part else SoftmaxCrossEntropy(smoothing)
        else:
            if smoothing and labels:
                raise ValueError(
                    f"label_smoothing is {smoothing!r} with several labels; expected 0: each is a "
                    "question of its own"
                )
            if smoothing:
                targets = targets * (1 - smoothing) + smoothing / 2
            loss = _Sigmoid() if part else BinaryCrossEntropy()
        return self._train(
            X,
            targets,
            loss,
            width,
            weights,
            factor,
            part,
            classes_=classes,
            out_activation_=activation,
        )

    def _as_targets(self, y: Any) -> HostArray:
        """y as classes, (n,), or as labels, (n, labels) of 0 and 1."""
        try:
            check_classification_targets(y)
        except TypeError:
            numbered(y)  # tells which types can't be sorted
            raise
        if y.ndim == 2 and y.shape[1] > 1:
            kind = type_of_target(y)
            if kind != "multilabel-indicator":
                raise ValueError(
                    f"y has shape {y.shape} and is {kind}; expected one class a row, or labels as "
                    "0 and 1 (multilabel-indicator)"
                )
            return np.asarray(y.toarray() if hasattr(y, "toarray") else y).astype(np.int64)
        return np.asarray(column_or_1d(y, warn=True))

    def decision_function(self, X: Any) -> HostArray:
        """The logit of each class or label, (n, classes); of two classes, of the second, (n,)."""
        logits = self._outputs(X)
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict_proba(self, X: Any) -> HostArray:
        """The probability of each class, (n, classes), in the order of `classes_`.

        Of several labels that of each, which add up to no 1.
        """
        logits = self._outputs(X)
        wide = logits.astype(np.float64)
        with np.errstate(under="ignore"):  # a probability of 0 is as good
            if self.out_activation_ == "softmax":
                p = softmax(wide, axis=1)
            else:
                p = expit(wide) if wide.shape[1] > 1 else np.hstack([expit(-wide), expit(wide)])
            return np.asarray(p.astype(logits.dtype))

    def predict_log_proba(self, X: Any) -> HostArray:
        """The logarithm of `predict_proba`, to its last digit where that is 0 or 1."""
        logits = self._outputs(X)
        wide = logits.astype(np.float64)
        if self.out_activation_ == "softmax":
            p = log_softmax(wide, axis=1)
        else:
            several = wide.shape[1] > 1
            p = log_expit(wide if several else np.hstack([-wide, wide]))
        return np.asarray(p.astype(logits.dtype))

    def predict(self, X: Any) -> HostArray:
        """The class of each row of `X`, (n,), one of `classes_`; of several labels 0 or 1 each."""
        logits = self._outputs(X)
        if self.out_activation_ == "softmax":
            found = logits.argmax(axis=1)
        elif logits.shape[1] > 1:
            return (logits > 0).astype(np.int64)
        else:
            found = logits[:, 0] > 0
        return np.asarray(self.classes_[found.astype(np.intp)])

    def _judged(self, found: HostArray, y: HostArray, weights: HostArray | None) -> float:
        if not np.isfinite(found).all():
            return float("nan")
        if y.ndim == 2:
            right = found > 0
        else:
            right = found.argmax(axis=1) if found.shape[1] > 1 else found[:, 0] > 0
            y = np.round(y)
        return float(accuracy_score(y, right.astype(np.int64), sample_weight=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class _Softmax(SoftmaxCrossEntropy):
    """Of a part of a stream, which may hold one class only."""

    def labels(self, targets: HostArray) -> HostArray | None:
        return None


class _Sigmoid(BinaryCrossEntropy):
    """Likewise."""

    def labels(self, targets: HostArray) -> HostArray | None:
        return None


def _exactly(y: Any) -> Any:
    """`y`, integers and truth values in a Series that could miss some as NumPy's.

    scikit-learn makes float64 of them, in which large ones that differ become one class.
    """
    numpys = getattr(getattr(y, "dtype", None), "numpy_dtype", None)  # only pandas' own have it
    if getattr(numpys, "kind", "") not in ("i", "u", "b") or y.isna().any():
        return y
    return y.to_numpy(dtype=numpys)
