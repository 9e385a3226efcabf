"""What a file of a network held."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..network.sequential import Sequential
from ..optimizers.frame.optimizer import Optimizer
from ..optimizers.schedules.schedule import Schedule
from ..training.history import History


@dataclass(frozen=True)
class Saved:
    """What a file held.

    Attributes:
        net: the network.
        optimizer: of `net.parameters()`; None where none was saved.
        metadata: what else was saved with it, by name.
        epoch, step: how many of a run were finished; 0 where no run was saved.
        history: what was recorded of the run; empty where none was saved.
        loss_scale: the state of the run's `LossScaler`; None where it had none.
        schedule, rng_state: see there.

    `fit(saved.net, ..., optimizer=saved.optimizer, resume=saved)` goes on with the run.
    """

    net: Sequential
    optimizer: Optimizer | None
    metadata: dict[str, Any]
    epoch: int = 0
    step: int = 0
    history: History = field(default_factory=History)
    loss_scale: dict[str, Any] | None = None
    _rng_state: dict[str, Any] | None = None
    _schedule: Schedule | str | None = None

    @property
    def schedule(self) -> Schedule | None:
        """Of the learning rate; None where there was none.

        AttributeError where it was a function, which no file holds: hand it to fit again.
        """
        if isinstance(self._schedule, str):
            raise AttributeError(
                f"the schedule was {self._schedule}, which no file holds; make it again"
            )
        return self._schedule

    @property
    def rng_state(self) -> dict[str, Any]:
        """The state of the random numbers of a run; AttributeError where no run was saved."""
        if self._rng_state is None:
            raise AttributeError("the file holds no run; save it with run=, or by a Checkpoint")
        return self._rng_state
