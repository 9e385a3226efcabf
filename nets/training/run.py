"""A training run: what callbacks see, and what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from ..losses.loss import Loss
from ..network.sequential import Sequential
from ..optimizers.frame.optimizer import Optimizer
from ..parallel.data_parallel import DataParallel
from ..types import Array
from .history import History
from .loss_scaler import LossScaler

LrSchedule: TypeAlias = Callable[[int, int], float]
"""schedule(epoch, step) -> lr: the epoch counts from 0, the step (the mini-batch) from 1."""


class Resumable(Protocol):
    """What a run can go on from: see the attributes of `Run`."""

    @property
    def epoch(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def history(self) -> History: ...
    @property
    def rng_state(self) -> dict[str, Any]: ...


@dataclass
class Run:
    """One call of `fit`, at this moment.

    Attributes:
        net, optimizer, loss, schedule: as given to `fit`.
        epochs: how many are planned.
        rng: shuffles the samples, and augments; every random choice of the loop comes from it.
        history: what was recorded of the finished epochs.
        loss_scaler: as given to `fit`.
        validated: whether there is validation data.
        ranks: what several ranks that train together have in common; None where this is the only
            one. Callbacks are called by all of them, and see the same figures.
        epoch: epochs finished.
        step: updates done, from the start of the first epoch. With a `loss_scaler`, to
            read it waits for a GPU.
        batch_loss: the last batch's mean loss before its update: NumPy's float64 of a captured
            step, else 0-d, on the network's device.
        stopped: why training ends before its time; "" while it goes on.

    A run can be given to `fit(..., resume=run)`, which goes on after its last finished epoch; but
    only where nothing was trained after that epoch.
    """

    net: Sequential
    optimizer: Optimizer
    loss: Loss
    epochs: int
    rng: np.random.Generator
    history: History = field(default_factory=History)
    schedule: LrSchedule | None = None
    loss_scaler: LossScaler | None = None
    validated: bool = False
    ranks: DataParallel | None = None
    epoch: int = 0
    _step: int = field(default=0, init=False, repr=False)
    _before: int | None = field(default=None, init=False, repr=False)
    batch_loss: Array = float("nan")
    stopped: str = ""

    @property
    def rank(self) -> int:
        """The number of this rank; 0 where it is the only one, and for the one that writes files
        and shows a bar."""
        return 0 if self.ranks is None else self.ranks.rank

    def by_first(self, action: Callable[[], object]) -> None:
        """Let rank 0 alone do it, and all wait; what it raises there is raised on all of them."""
        if self.ranks is None or not self.ranks.open:
            action()
            return
        with self.ranks.agreement.together("Run.by_first"):
            if self.rank == 0:
                action()

    @property
    def step(self) -> int:
        return self._step if self._before is None else self.optimizer.steps - self._before

    @step.setter
    def step(self, value: int) -> None:
        self._step = value
        if self._before is not None:
            self._before = self.optimizer.steps - value

    def count_by_optimizer(self) -> None:
        """From now on each step that the optimizer takes is an update."""
        self._before = self.optimizer.steps - self.step

    def count_no_more(self) -> None:
        """The run has ended: what the optimizer does now is none of its updates."""
        self._step, self._before = self.step, None

    @property
    def loss_scale(self) -> dict[str, Any] | None:
        """The state of `loss_scaler`; None where there is none."""
        return None if self.loss_scaler is None else self.loss_scaler.state_dict()

    @property
    def rng_state(self) -> dict[str, Any]:
        """The state of `rng`, in JSON's types: `rng.bit_generator.state`."""
        return dict(self.rng.bit_generator.state)

    def stop(self, reason: str) -> None:
        """End training after the present batch, or epoch; `history.stopped` tells the reason.

        The first reason given stays. An epoch whose batches were not all trained on is not
        recorded.
        """
        if not self.stopped:
            self.stopped = self.history.stopped = reason or "stopped"

    def resume(self, state: Resumable) -> None:
        """Take over epoch, step, history and random state of an earlier run, or raise before.

        Raises:
            TypeError, ValueError: `state` lacks one of them, they don't fit together, or the
                optimizer has not taken that many steps.
        """
        missing = [k for k in ("epoch", "step", "history", "rng_state") if not hasattr(state, k)]
        if missing:
            raise TypeError(
                f"resume is a {type(state).__name__} without {', '.join(missing)}; expected what "
                "a checkpoint of a run was loaded to"
            )
        history = state.history
        if not isinstance(history, History) or history.epochs != state.epoch:
            raise ValueError(
                f"resume has finished {state.epoch} epochs, but its history is {history!r}; "
                "expected a History with one entry for each"
            )
        if history.metric_name != self.loss.metric:
            raise ValueError(
                f"resume measured {history.metric_name!r}; expected {self.loss.metric!r}, as "
                f"{self.loss!r} does"
            )
        if history.epochs and bool(history.val_loss) != self.validated:
            has = "has" if history.val_loss else "has no"
            raise ValueError(
                f"the history of resume {has} figures of validation data; expected validation= to "
                f"be {'given' if history.val_loss else 'left out'}, as before"
            )
        if self.optimizer.steps < state.step:
            raise ValueError(
                f"resume has done {state.step} updates, but the optimizer {self.optimizer.steps}; "
                "expected one that was loaded from the same checkpoint"
            )
        rng = np.random.default_rng()
        try:
            rng.bit_generator.state = state.rng_state
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"resume.rng_state is no state of {type(rng.bit_generator).__name__}: {error}"
            ) from error
        scale = getattr(state, "loss_scale", None)
        if self.loss_scaler is not None and scale is not None:
            self.loss_scaler.load_state_dict(scale)
        self.rng, self.history = rng, deepcopy(history)
        self.epoch, self.step, self.history.stopped = state.epoch, state.step, ""
