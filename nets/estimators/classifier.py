"""A network that tells classes apart, as an estimator of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from ...backend.foreign import taken_in
from ..labels import numbered
from ..losses.binary_cross_entropy import BinaryCrossEntropy
from ..losses.loss import Loss
from ..losses.softmax_cross_entropy import SoftmaxCrossEntropy
from ..optimizers.groups import Chosen, Named
from ..training.run import LrSchedule
from ..types import Device, HostArray
from .estimator import FLOATS, NetEstimator


class NetClassifier(ClassifierMixin, NetEstimator):  # type: ignore[misc]
    """A network of dense layers that tells classes apart, as an estimator of scikit-learn.

        logits z = f(... f(x W1 + b1) ...) WL + bL        p = softmax(z), or sigmoid(z) of two

    It goes where scikit-learn's own classifiers go: into a Pipeline, cross_val_score,
    GridSearchCV. Each `fit` makes and trains a new network, by `onepass.nets.fit`.

    Args:
        hidden: units of each hidden layer; a number for a single one, () for none.
        activation: "relu", "leaky_relu", "sigmoid", "tanh" or "linear".
        batch_norm: normalize before each activation, in layers without biases.
        keep_prob: of the dropout after each activation, in (0, 1]; 1 for none.
        optimizer: "sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw", "amsgrad", "nadam",
            "radam", "adamax", "adadelta" or "lion".
        lr: learning rate; None: the optimizer's own.
        momentum: b of "momentum", the first beta of the Adams and of "lion"; the others take none.
        l2, l1: lambda of lambda/(2m) sum ||W||_F^2 and of lambda/m sum |W|, m the training samples.
        epochs: passes over the samples.
        batch_size: samples an update; "auto": 8 to 32 for up to 2,000 samples, for more
            `advised_batch_size`. With batch norm, which needs two samples, one or more are added
            where the last batch would hold one.
        schedule: schedule(epoch, step) -> lr, such as ExponentialDecay(0.01); or by name, over all
            of the training: "cosine" or "linear", from lr to 0, or "one-cycle", up to lr and down.
        early_stopping: hold samples out, the same share of every class, watch the loss on them,
            with the class weights, and keep the weights of the best epoch.
        validation_fraction: share of the samples that is held out for it, in (0, 1).
        patience: epochs without a better one after which it stops.
        class_weight: None, "balanced", or {class: weight}, where those left out weigh 1.
        normalize: bring every feature to mean 0 and deviation 1, as learnt from what is trained on.
        random_state: an int for the same result each time, on one device; None for another.
        device: "auto", "cpu", "cuda", "cuda:N".
        engine: who runs the optimizer's kernel: "auto", "array", "numba", "cupy", "numba-cuda".
        dtype: "float32", "float64", "float16", or None: that of X, so that samples in float32 train
            in float32, which takes half the memory, and all others in float64. What a network in
            float16 gives is returned in float32.
        verbose: show a progress bar.
        nesterov: look ahead along the velocity, of "momentum".
        beta_2: weight of the past squared gradients: the second beta of the Adams, the alpha of
            "rmsprop", the rho of "adadelta"; of "lion", the second beta. None: the optimizer's own,
            as of the next two.
        eps: is added to the root that divides, of the Adams, "adagrad", "rmsprop" and "adadelta".
        weight_decay: adds weight_decay * param to the gradient, biases included; of "adamw" and
            "lion" it is apart from the gradient, and of "adamw" 0.01 by default.
        clip_norm: the largest L2 norm of all gradients together, to which larger ones are scaled
            down; None: any.
        groups: hyperparameters of parameters by name or pattern, such as {"0.*": {"lr": 1e-4}}:
            "0.weight", "0.bias" are the first layer's, see `Optimizer`.
        no_decay: parameters that have no weight_decay: "1-D" for biases, gamma and beta, a pattern,
            or a list of patterns.

    Attributes:
        classes_: the classes, sorted. Of two, the network has one output, the logit of the second
            (logistic regression), else an output for each (softmax).
        net_: the Sequential, which takes normalized samples.
        normalizer_: the Normalizer, or None.
        history_: loss, accuracy, ... of each epoch; n_iter_: how many there were.
        n_features_in_, feature_names_in_: of what it was trained on.

    All arguments are checked by `fit`, which also refuses those that the optimizer has no use for,
    `momentum` excepted.

    Not offered: sample weights (class weights are), sparse samples, and partial_fit, since what is
    normalized and which classes there are is learnt from all samples.

    Raises:
        ImportError: (on import) scikit-learn is not installed.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from onepass.nets import NetClassifier
        >>> x, y = load_iris(return_X_y=True)
        >>> NetClassifier(random_state=0).fit(x, y).score(x, y) > 0.95
        True
    """

    classifies = True
    classes_: HostArray

    def __init__(
        self,
        hidden: int | tuple[int, ...] = (128,),
        activation: str = "relu",
        batch_norm: bool = False,
        keep_prob: float = 1.0,
        optimizer: str = "adam",
        lr: float | None = None,
        momentum: float = 0.9,
        l2: float = 0.0,
        l1: float = 0.0,
        epochs: int = 100,
        batch_size: int | str = "auto",
        schedule: LrSchedule | str | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        class_weight: Any = None,
        normalize: bool = True,
        random_state: Any = None,
        device: Device = "auto",
        engine: str = "auto",
        dtype: npt.DTypeLike | None = None,
        verbose: bool = False,
        *,
        nesterov: bool = False,
        beta_2: float | None = None,
        eps: float | None = None,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        groups: Named | None = None,
        no_decay: Chosen | None = None,
    ) -> None:
        super().__init__(
            hidden=hidden,
            activation=activation,
            batch_norm=batch_norm,
            keep_prob=keep_prob,
            optimizer=optimizer,
            lr=lr,
            momentum=momentum,
            l2=l2,
            l1=l1,
            epochs=epochs,
            batch_size=batch_size,
            schedule=schedule,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            normalize=normalize,
            random_state=random_state,
            device=device,
            engine=engine,
            dtype=dtype,
            verbose=verbose,
            nesterov=nesterov,
            beta_2=beta_2,
            eps=eps,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            groups=groups,
            no_decay=no_decay,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any) -> Self:
        """Train a new network on samples `X`, (n, features), and classes `y`, (n,); self.

        Raises:
            TypeError, ValueError: X or y is nothing to train on (sparse, not finite, of one class
                only, None among names, ...), or an argument of the estimator is out of its range.
            FloatingPointError: training diverged; the message says what to do.
            KeyboardInterrupt: after Ctrl-C; what was learnt so far is kept.
        """
        X, y = taken_in(("X", "y"), (X, _exactly(y)))
        X, y = validate_data(self, X, y, dtype=FLOATS)
        classes, labels = numbered(y)
        check_classification_targets(y)
        if len(classes) < 2:
            raise ValueError(
                f"y holds one class only, {classes.tolist()[0]!r}; expected at least two classes"
            )
        weights = self.class_weight
        if weights is not None:
            weights = compute_class_weight(weights, classes=classes, y=y)
        loss: Loss = BinaryCrossEntropy() if len(classes) == 2 else SoftmaxCrossEntropy()
        width = 1 if len(classes) == 2 else len(classes)
        return self._train((X, labels), loss, width, weights, classes_=classes)

    def decision_function(self, X: Any) -> HostArray:
        """The logit of each class, (n, classes); of two classes, that of the second, (n,)."""
        logits = self._outputs(X)
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict_proba(self, X: Any) -> HostArray:
        """The probability of each class, (n, classes), in the order of `classes_`."""
        logits = self._outputs(X)
        wide = logits.astype(np.float64)
        with np.errstate(under="ignore"):  # a probability of 0 is as good
            several = wide.shape[1] > 1
            p = softmax(wide, axis=1) if several else np.hstack([expit(-wide), expit(wide)])
            return np.asarray(p.astype(logits.dtype))

    def predict(self, X: Any) -> HostArray:
        """The class of each row of `X`, (n,), one of `classes_`."""
        logits = self._outputs(X)
        found = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
        return np.asarray(self.classes_[found.astype(np.intp)])


def _exactly(y: Any) -> Any:
    """`y`, integers and truth values in a Series that could miss some as NumPy's.

    scikit-learn makes float64 of them, in which large ones that differ become one class.
    """
    numpys = getattr(getattr(y, "dtype", None), "numpy_dtype", None)  # only pandas' own have it
    if getattr(numpys, "kind", "") not in ("i", "u", "b") or y.isna().any():
        return y
    return y.to_numpy(dtype=numpys)
