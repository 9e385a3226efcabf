"""What the two scikit-learn estimators share: plain arguments in, a trained network out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ...backend.checks.numbers import count, flag, non_negative
from ...backend.foreign import taken_in
from ...backend.version import __version__
from ..data.batches import batch_size_for
from ..data.normalizer import Normalizer
from ..layers.dense import Dense
from ..losses.loss import Loss
from ..network.multilayer import layer_sizes, multilayer
from ..network.prediction import outputs
from ..network.prediction import parts as slices
from ..network.sequential import Sequential
from ..optimizers.frame.groups import Chosen, Named
from ..optimizers.frame.optimizer import Optimizer
from ..training.callbacks.callback import Callbacks, callbacks_of
from ..training.fit import fit
from ..training.history import History
from ..training.lbfgs import fit_lbfgs
from ..training.regularizers import L1, L2, Regularizer
from ..training.run import LrSchedule
from ..types import Device, HostArray
from .convergence import Convergence
from .held_out import held_out
from .solver import ACTIVATIONS, check_solver, optimizer_of, schedule_of

FLOATS = (np.float64, np.float32)
"""Dtypes of samples that are taken as they are; others are converted to the first."""

BATCH = 200
"""Samples of a batch where `batch_size` is "auto", as scikit-learn has it."""


class NetEstimator(BaseEstimator):  # type: ignore[misc]
    """A network of dense layers behind scikit-learn's interface; see its two subclasses."""

    classifies: ClassVar[bool]

    hidden_layer_sizes: int | tuple[int, ...]
    activation: str
    solver: str
    alpha: float
    batch_size: int | str
    learning_rate: LrSchedule | str
    learning_rate_init: float | None
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float | None
    beta_2: float | None
    epsilon: float | None
    n_iter_no_change: float
    max_fun: int
    init: str
    normalize: bool
    batch_norm: bool
    keep_prob: float
    l1: float
    weight_decay: float | None
    clip_norm: float | None
    groups: Named | None
    no_decay: Chosen | None
    callbacks: Callbacks
    device: Device
    engine: str
    dtype: npt.DTypeLike | None

    net_: Sequential
    history_: History
    normalizer_: Normalizer | None
    target_normalizer_: Normalizer | None
    loss_curve_: list[float]
    _optimizer: Optimizer
    _rng: np.random.Generator

    def _take(self, given: dict[str, Any]) -> None:
        """Keep the constructor's arguments as they came; `fit` checks them."""
        for name in self._get_param_names():
            setattr(self, name, given[name])

    @property
    def coefs_(self) -> list[HostArray]:
        """The weights of each layer, (n_in, n_out); on the CPU views, which may be written."""
        return [self._array(layer, "weight") for layer in self._dense_layers()]

    @property
    def intercepts_(self) -> list[HostArray | None]:
        """The biases of each layer, (n_out,); None of one that a batch norm follows."""
        layers = self._dense_layers()
        return [self._array(layer, "bias") if layer.bias else None for layer in layers]

    def _dense_layers(self) -> list[Dense]:
        if "net_" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet")
        return [layer for layer in self.net_.layers if isinstance(layer, Dense)]

    def _array(self, layer: Dense, name: str) -> HostArray:
        array = layer.params[name]
        return array if isinstance(array, np.ndarray) else self.net_.backend.to_numpy(array)

    # Training

    @contextmanager
    def _intact(self) -> Iterator[None]:
        """The attributes are those of before again, where what is done with them fails."""
        before = dict(vars(self))
        try:
            yield
        except Exception:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _train(
        self,
        x: Any,
        y: HostArray,
        loss: Loss,
        width: int,
        sample_weight: HostArray | None,
        factor: HostArray | float = 1.0,
        part: bool = False,
        **learnt: Any,
    ) -> Self:
        """Train a network of `width` outputs on checked data: a new one, or that of before.

        What was learnt becomes attributes at the end, and `learnt` with it.

        Args:
            x: rows, or a CSR matrix.
            sample_weight: how often each row counts, or None.
            factor: on the loss of each row, or of all.
            part: `partial_fit`, which goes through the rows once.
        """
        self._check_arguments(part)
        goes_on = self._goes_on(part)
        random = check_random_state(self.random_state)
        seed = int(random.randint(np.iinfo(np.int32).max))
        rows: Any = slice(None)
        held = None
        if self.early_stopping and self.solver != "lbfgs":
            rows, held = held_out(y, self.validation_fraction, self.classifies, seed)
        sparse = hasattr(x, "tocsr")
        parts = [
            (_taken(x, each), y[each], None if sample_weight is None else sample_weight[each])
            for each in ([rows] if held is None else [rows, held])
        ]
        counts = parts[0][2]
        mean = (float(counts.mean()) or 1.0) if counts is not None else 1.0  # all 0: `fit` says so
        if goes_on:
            net, normalizer, target = self.net_, self.normalizer_, self.target_normalizer_
            if sparse and normalizer is not None:
                raise ValueError(
                    "X is sparse, but what was learnt so far takes dense samples, normalized; "
                    "expected a dense X, or normalize=False from the first fit on"
                )
        else:
            normalizer = target = None
            if self.normalize and not sparse:
                normalizer = Normalizer().fit(parts[0][0], counts)
            if self.normalize and self._scales_targets():
                target = Normalizer().fit(parts[0][1], counts)
            net = self._network(x, width, seed)
        parts = [
            (
                x if normalizer is None else normalizer.apply(x),
                y if target is None else target.apply(y),
                _weights(
                    len(y), w, mean, factor[each] if isinstance(factor, np.ndarray) else factor
                ),
            )
            for (x, y, w), each in zip(parts, (rows, held), strict=False)
        ]
        x, y, weights = parts[0]
        if self.solver == "lbfgs":
            found: dict[str, Any] = self._minimized(net, x, y, weights, loss, mean)
        else:
            found = self._descended(net, parts, loss, mean, seed, goes_on, part)
        self.net_, self.normalizer_, self.target_normalizer_ = net, normalizer, target
        self.n_layers_, self.n_outputs_ = len(self._dense_layers()) + 1, width
        self.__dict__.update(found | learnt)
        if self.history_.stopped == "interrupted":  # or a search would go on with the next fit
            raise KeyboardInterrupt
        return self

    def _goes_on(self, part: bool) -> bool:
        """Whether training goes on with the network of before."""
        return "net_" in vars(self) and (part or bool(self.warm_start))

    def _minimized(
        self,
        net: Sequential,
        x: Any,
        y: HostArray,
        weights: HostArray | None,
        loss: Loss,
        mean: float,
    ) -> dict[str, Any]:
        """Train by L-BFGS; the attributes that tell of it."""
        history = fit_lbfgs(
            net,
            (x, y),
            loss=loss,
            regularizer=self._regularizers(1 / mean),
            sample_weight=weights,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
            progress=bool(self.verbose),
        )
        if history.stopped not in ("converged", "interrupted"):
            warnings.warn(
                f"lbfgs failed to converge ({history.stopped}). Increase max_iter or max_fun, or "
                "scale the data",
                ConvergenceWarning,
                stacklevel=5,
            )
        curve = list(history.loss)  # empty where the start was good enough
        return {
            "history_": history,
            "n_iter_": history.epochs,
            "loss_": curve[-1] if curve else vars(self).get("loss_", np.nan),
            "loss_curve_": curve,
            "best_loss_": min(curve, default=vars(self).get("best_loss_")),
            "validation_scores_": None,
            "best_validation_score_": None,
            "t_": len(y) * history.epochs,
        }

    def _descended(
        self,
        net: Sequential,
        parts: list[tuple[Any, HostArray, HostArray | None]],
        loss: Loss,
        mean: float,
        seed: int,
        goes_on: bool,
        part: bool,
    ) -> dict[str, Any]:
        """Train by mini-batches; the attributes that tell of it."""
        x, y, weights = parts[0]
        samples = x.shape[0]
        held = parts[1] if len(parts) > 1 else None
        if held is not None and held[2] is not None and not held[2].any():
            held = held[0], held[1], None  # where none of them counts, all do alike
        kept = goes_on and part and "_optimizer" in vars(self)
        optimizer = self._optimizer if kept else optimizer_of(self, net)
        rng = self._rng if kept else np.random.default_rng(seed)
        size = min(BATCH, samples) if self.batch_size == "auto" else self.batch_size
        batch_size = batch_size_for(samples, size, self.batch_norm)
        schedule = schedule_of(self, optimizer, samples, batch_size, part)
        before = vars(self) if goes_on else {}
        if schedule is not None and kept:
            schedule = _from_there(schedule, before.get("_epochs", 0), optimizer.steps)
        seen = before.get("t_", 0)
        watch = Convergence(
            non_negative("tol", self.tol),
            np.inf if part else self.n_iter_no_change,
            self.learning_rate,
            optimizer.lr if not kept else before["_rate"],
            self.power_t,
            seen,
            samples,
            None if held is None else lambda net: self._judged(outputs(net, held[0]), *held[1:]),
            before.get("best_loss_" if held is None else "best_validation_score_"),
        )
        rate = watch.lr
        if seen and self.learning_rate == "invscaling":
            optimizer.lr = rate / (seen + 1) ** self.power_t
        history = fit(
            net,
            (x, y),
            loss=loss,
            optimizer=optimizer,
            epochs=1 if part else self.max_iter,
            batch_size=min(batch_size, samples),
            validation=held,
            shuffle=flag("shuffle", self.shuffle),
            seed=rng,
            progress=bool(self.verbose),
            schedule=schedule,
            regularizer=self._regularizers(samples / min(batch_size, samples) / mean),
            sample_weight=weights,
            callbacks=[watch, *callbacks_of(self.callbacks)],
        )
        whole = isinstance(self.learning_rate, str) and schedule is not None
        if not (part or history.stopped or whole):
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=5,
            )
        curve = [*before.get("loss_curve_", ()), *history.loss]
        scored = held is not None
        scores = [*(before.get("validation_scores_") or ()), *watch.scores]
        return {
            "history_": history,
            "n_iter_": history.epochs + (before.get("n_iter_", 0) if part else 0),
            "loss_": curve[-1] if curve else np.nan,
            "loss_curve_": curve,
            "best_loss_": None if scored else watch.best,
            "validation_scores_": scores if scored else None,
            "best_validation_score_": watch.best if scored else None,
            "t_": watch.seen,
            "_optimizer": optimizer,
            "_rng": rng,
            "_rate": rate,
            "_epochs": before.get("_epochs", 0) + history.epochs,
            "_no_improvement_count": watch.no_better,
        }

    def _check_arguments(self, part: bool) -> None:
        check_solver(self)
        for name in ("normalize", "early_stopping", "warm_start", "shuffle"):
            flag(name, getattr(self, name))
        count("max_iter", self.max_iter)
        non_negative("power_t", self.power_t)
        patience = self.n_iter_no_change
        if patience != np.inf:
            count("n_iter_no_change", patience)
        if part and self.early_stopping:
            raise ValueError(
                "partial_fit does not support early_stopping=True; expected False: nothing is held "
                "out of a stream"
            )

    def _network(self, x: Any, n_out: int, seed: int) -> Sequential:
        return multilayer(
            x.shape[1],
            layer_sizes(self.hidden_layer_sizes, "hidden_layer_sizes"),
            n_out,
            activation=ACTIVATIONS.get(str(self.activation), self.activation),
            batch_norm=self.batch_norm,
            keep_prob=self.keep_prob,
            init=self.init,
            seed=seed,
            dtype=x.dtype if self.dtype is None else self.dtype,
            device=self.device,
        )

    def _regularizers(self, batches: float) -> list[Regularizer]:
        """As scikit-learn has them: alpha/(2b) sum ||W||^2 and l1/b sum |W|, b samples of a batch.

        `fit` divides by all samples, of which a batch, each as often as it counts, is a
        1/`batches`.
        """
        strengths = non_negative("alpha", self.alpha), non_negative("l1", self.l1)
        pairs = zip((L2, L1), strengths, strict=True)
        return [kind(strength * batches) for kind, strength in pairs if strength]

    def _weights(self, x: Any, sample_weight: Any) -> HostArray | None:
        """How often each row counts, float64; None of None."""
        if sample_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        if not weights.any():
            raise ValueError("sample_weight is 0 for every row; expected one that counts")
        return np.asarray(weights)

    def _checked(self, X: Any, y: Any, first: bool, **checks: Any) -> Any:
        """X and y as scikit-learn checks them: X dense, or CSR, in float32 or float64."""
        X, y = taken_in(("X", "y"), (X, y))
        return validate_data(self, X, y, reset=first, dtype=FLOATS, accept_sparse="csr", **checks)

    # Prediction

    def _outputs(self, X: Any) -> HostArray:
        """What the network gives for rows that are checked first, (n, width), float32 at least.

        In float16 probabilities don't add up to 1 as scikit-learn's metrics want it.
        """
        check_is_fitted(self, "net_")
        (X,) = taken_in(["X"], [X])
        x = validate_data(self, X, reset=False, dtype=FLOATS, accept_sparse="csr")
        if self.normalizer_ is None:
            found = outputs(self.net_, x)
        else:  # sparse rows become dense some at a time
            sizes = slices(x.shape[0]) if hasattr(x, "tocsr") else [slice(None)]
            dense = (x[each].toarray() if hasattr(x, "tocsr") else x for each in sizes)
            several = [outputs(self.net_, self.normalizer_.apply(each)) for each in dense]
            found = np.concatenate(several) if len(several) > 1 else several[0]
        return found.astype(np.float32) if found.dtype == np.float16 else found

    # To be told by the two kinds

    def _scales_targets(self) -> bool:
        """Whether targets are normalized."""
        return False

    def _judged(self, found: HostArray, y: HostArray, weights: HostArray | None) -> float:
        """The score of the network's outputs for rows whose targets are `y`."""
        raise NotImplementedError

    # To and from files

    def __getstate__(self) -> Any:
        return {**super().__getstate__(), "_onepass_version": __version__}

    def __setstate__(self, state: Any) -> None:
        saved = state.pop("_onepass_version", "an older version")
        if saved.split(".")[0] != __version__.split(".")[0]:
            warnings.warn(
                f"this {type(self).__name__} was saved by onepass {saved}, and is read by "
                f"{__version__}; between versions that differ in the first number it may fail, or "
                "give other results",
                UserWarning,
                stacklevel=2,
            )
        arguments = signature(type(self)).parameters
        defaults = {name: each.default for name, each in arguments.items() if name not in state}
        super().__setstate__({**defaults, **state})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _taken(x: Any, rows: Any) -> Any:
    """Rows of an array, or of a CSR matrix; as it is, where all are."""
    return x if isinstance(rows, slice) else x[rows]


def _weights(
    n: int, counts: HostArray | None, mean: float, factor: HostArray | float
) -> HostArray | None:
    """The weights of n rows that count so often, `mean` on average; None where all are 1."""
    if counts is not None:
        return counts / mean * factor
    if isinstance(factor, np.ndarray):
        return factor
    return None if factor == 1 else np.full(n, factor)


def _from_there(schedule: LrSchedule, epochs: int, steps: int) -> LrSchedule:
    """The schedule of a run that goes on after so many epochs and steps."""
    return lambda epoch, step: schedule(epoch + epochs, step + steps)
