"""Captured steps that are kept: of a run of `fit`, or of a loop of one's own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ...losses.loss import Loss
from ...network.captured_forward import KEPT, Uncapturable, check_programs
from ...network.sequential import Sequential
from ...optimizers.frame.optimizer import Optimizer
from ...types import Array
from ..regularizers import Regularizer
from ..run import Run
from .graph import CapturedGraph, check_graphs
from .program import CapturedProgram
from .step import MOST, Batch, Captured, check, check_engine

ROUND = 0.01  # seconds that a run should take: Ctrl-C waits for it


def captured_step(net: Sequential, *given: Any, **options: Any) -> Captured:
    """A step captured for the device on which the network is; `Captured` tells what is given."""
    kind = CapturedProgram if net.backend.device == "cpu" else CapturedGraph
    return kind(net, *given, **options)


def written_down(net: Sequential, loss: Loss, x: Array, y: Array, weights: Array | None) -> Batch:
    """x, y and weights as captured steps take them."""
    contiguous = net.backend.xp.ascontiguousarray
    if net.backend.device == "cpu":
        return (contiguous(x), *loss.given_to_record(y, weights, net.dtype))
    return contiguous(x), contiguous(y), None if weights is None else contiguous(weights)


class CapturedBySize:
    """Captured steps by their batches: those that no longer hold go, and the oldest.

    Attributes:
        why_not: why there are none; "" where there are.
    """

    def __init__(self, net: Sequential, loss: Loss, optimizer: Optimizer | None) -> None:
        self._made: dict[Hashable, Captured] = {}
        self.why_not = ""
        self._network = net
        # A GPU's libraries make ready at a first step what can't be made while one is captured.
        self._tried: set[Hashable] = set()
        try:
            check(net, loss, optimizer)
            if net.backend.device != "cpu":
                check_graphs(net, optimizer)
            else:
                check_programs(net)
                if optimizer is not None:
                    check_engine(optimizer, "numba")
        except Uncapturable as error:
            self.why_not = str(error)

    def _step(self, key: Hashable, make: Callable[[], Captured]) -> Captured | None:
        """The one of that key, made where it is not there; None where it can't be, or not yet."""
        made = self._made
        found = made.get(key)
        if found is not None and not found.holds():
            made.clear()
            self._tried.clear()
            found = None
        device = self._network.backend.device
        if found is None and device != "cpu" and (device, key) not in self._tried:
            self._tried.add((device, key))
            return None
        if found is None:
            try:
                found = make()
            except Uncapturable as error:
                self.why_not = str(error)
                return None
            while len(made) >= KEPT:
                made.pop(next(iter(made)))
            made[key] = found
        return found


class CapturedSteps(CapturedBySize):
    """Those of a run of `fit`, one for each size of batch; made when first needed.

    Args:
        gathered: whether batches are taken from `data` by number, or given.

    Attributes:
        data: x, y and weights as they are written down.
        why_not: why batches go through layer by layer instead; "" where they do not.
        apart: whether the optimizer's step comes after each, by itself, as clip_norm needs it where
            states are encoded.
    """

    def __init__(
        self,
        run: Run,
        data: Batch,
        regularizers: Sequence[Regularizer],
        gathered: bool,
        why_not: str = "",
    ) -> None:
        optimizer, on_cpu = run.optimizer, run.net.backend.device == "cpu"
        self.apart = bool(optimizer.formats) and on_cpu and optimizer.clip_norm is not None
        self._optimizer = None if self.apart else run.optimizer
        super().__init__(run.net, run.loss, self._optimizer)
        self.why_not = why_not or self.why_not
        self._run, self._regularizers, self._gathered = run, regularizers, gathered
        self._seconds: dict[int, float] = {}
        if not self.why_not:
            self.data = written_down(run.net, run.loss, *data)

    def of(self, batch_size: int) -> Captured | None:
        """The captured step for batches of that size, or None where there is none."""
        return None if self.why_not else self._step(batch_size, lambda: self._captured(batch_size))

    def _captured(self, batch_size: int) -> Captured:
        run = self._run
        return captured_step(
            run.net, run.loss, self._optimizer, batch_size, self.data, self._regularizers,
            len(self.data[0]), self._gathered,
        )  # fmt: skip

    def pace(self, step: Captured) -> int:
        """How many steps a run should have."""
        seconds = self._seconds.get(step.batch_size, ROUND)
        return max(1, min(MOST, int(ROUND / seconds)))

    def took(self, step: Captured, steps: int, seconds: float) -> None:
        """A run of so many steps took so long."""
        if steps:
            self._seconds[step.batch_size] = max(seconds / steps, 1e-9)
