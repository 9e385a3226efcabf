"""What the two scikit-learn estimators share: plain arguments in, a trained network out."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ...backend.checks.numbers import flag, non_negative
from ...backend.foreign import taken_in
from ..data.batches import batch_size_for
from ..data.normalizer import Normalizer
from ..data.split import split
from ..losses.loss import Loss
from ..network.multilayer import multilayer
from ..network.prediction import outputs
from ..network.sequential import Sequential
from ..optimizers.by_name import optimizer_by_name
from ..optimizers.groups import Chosen, Named
from ..optimizers.schedules.by_name import schedule_by_name
from ..training.callbacks.early_stopping import EarlyStopping
from ..training.fit import fit
from ..training.inputs import Pair
from ..training.regularizers import L1, L2, Regularizer
from ..training.run import LrSchedule
from ..types import Device, HostArray

FLOATS = (np.float64, np.float32)
"""Dtypes of samples that are taken as they are; others are converted to the first."""


class NetEstimator(BaseEstimator):  # type: ignore[misc]
    """A network of dense layers behind scikit-learn's interface; see its two subclasses."""

    classifies: ClassVar[bool]

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
        self.hidden = hidden
        self.activation = activation
        self.batch_norm = batch_norm
        self.keep_prob = keep_prob
        self.optimizer = optimizer
        self.lr = lr
        self.momentum = momentum
        self.l2 = l2
        self.l1 = l1
        self.epochs = epochs
        self.batch_size = batch_size
        self.schedule = schedule
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.normalize = normalize
        self.random_state = random_state
        self.device = device
        self.engine = engine
        self.dtype = dtype
        self.verbose = verbose
        self.nesterov = nesterov
        self.beta_2 = beta_2
        self.eps = eps
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.groups = groups
        self.no_decay = no_decay

    def _train(
        self,
        data: Pair,
        loss: Loss,
        width: int,
        class_weight: HostArray | None = None,
        **learnt: Any,
    ) -> Self:
        """Train a new network of `width` outputs on checked `data`.

        What was learnt becomes attributes at the end, and `learnt` with it: a fit that raises
        leaves those of an earlier one together.
        """
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        parts = self._held_out(*data, seed)
        normalizer = target = None
        if flag("normalize", self.normalize):
            normalizer = Normalizer().fit(parts[0][0])
            parts = [(normalizer.apply(x), y) for x, y in parts]
            if not self.classifies:
                target = Normalizer().fit(parts[0][1])
                parts = [(x, target.apply(y)) for x, y in parts]
        net = self._network(parts[0][0], width, seed)
        stopping = [EarlyStopping(patience=self.patience)] if self.early_stopping else []
        optimizer = optimizer_by_name(
            self.optimizer,
            net.parameters(),
            self.lr,
            self.momentum,
            self.engine,
            nesterov=self.nesterov,
            beta_2=self.beta_2,
            eps=self.eps,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            groups=self.groups,
            no_decay=self.no_decay,
        )
        samples = len(parts[0][0])
        batch_size = batch_size_for(samples, self.batch_size, self.batch_norm)
        schedule = self.schedule
        if isinstance(schedule, str):
            schedule = schedule_by_name(schedule, optimizer.lr, samples, batch_size, self.epochs)
        history = fit(
            net,
            parts[0],
            loss=loss,
            optimizer=optimizer,
            epochs=self.epochs,
            batch_size=batch_size,
            validation=parts[1] if self.early_stopping else None,
            seed=seed,
            progress=bool(self.verbose),
            schedule=schedule,
            regularizer=self._regularizers(),
            class_weight=class_weight,
            callbacks=stopping,
        )
        self.net_, self.history_, self.n_iter_ = net, history, history.epochs
        self.normalizer_, self.target_normalizer_ = normalizer, target
        self.__dict__.update(learnt)
        if history.stopped == "interrupted":  # or a search would go on with the next fit
            raise KeyboardInterrupt
        return self

    def _outputs(self, X: Any) -> HostArray:
        """What the network gives for rows that are checked first, (n, width), float32 at least.

        In float16 probabilities don't add up to 1 as scikit-learn's metrics want it.
        """
        check_is_fitted(self, "net_")
        (X,) = taken_in(["X"], [X])
        x = validate_data(self, X, reset=False, dtype=FLOATS)
        found = outputs(self.net_, x if self.normalizer_ is None else self.normalizer_.apply(x))
        return found.astype(np.float32) if found.dtype == np.float16 else found

    def _network(self, x: HostArray, n_out: int, seed: int) -> Sequential:
        return multilayer(
            x.shape[1],
            self.hidden,
            n_out,
            activation=self.activation,
            batch_norm=self.batch_norm,
            keep_prob=self.keep_prob,
            seed=seed,
            dtype=x.dtype if self.dtype is None else self.dtype,
            device=self.device,
        )

    def _held_out(self, x: HostArray, y: HostArray, seed: int) -> list[Pair]:
        """What is trained on, some of every class, and, with early stopping, what is watched."""
        if not flag("early_stopping", self.early_stopping):
            return [(x, y)]
        share = self.validation_fraction
        try:
            parts = split(
                np.arange(len(x)), y, (1 - share, share), stratify=self.classifies, seed=seed
            )
            rows, held = (indices for indices, _ in parts)
            if self.classifies:  # a class of one or two samples may have gone to the other side
                unseen = ~np.isin(y[held], y[rows])
                rows, held = np.append(rows, held[unseen]), held[~unseen]
            if not len(held):
                raise ValueError("every sample that would be held out is the last of its class")
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"validation_fraction is {share!r}; expected a number in (0, 1) that leaves "
                f"samples on both sides, n_samples={len(x)}"
            ) from error
        return [(x[rows], y[rows]), (x[held], y[held])]

    def _regularizers(self) -> list[Regularizer]:
        strengths = non_negative("l2", self.l2), non_negative("l1", self.l1)
        return [kind(lam) for kind, lam in zip((L2, L1), strengths, strict=True) if lam]
