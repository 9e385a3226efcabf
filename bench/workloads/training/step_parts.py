"""Section "step-parts": where the time of a training step goes, captured and layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from ....nets import Dataset
from ...cases.trainer import LR
from ...measuring.candidate import Candidate
from ...measuring.workload import Workload
from .timed_steps import CapturedSteps, PlainSteps, TimedSteps

WHOLE = "whole step"
PARTS = {
    "products": ("product",),
    "batch norm": ("batch norm",),
    "activations": ("activation",),
    "loss": ("softmax",),
    "gather": ("gather",),
    "optimizer": ("adam",),
}
"""Kind of work -> the names of a program's instructions that do it."""

_STEPS = {"captured": CapturedSteps, "plain": PlainSteps}
_COUNT = 8  # steps of a call
_COMPARED = 4


class StepPart(Workload):
    """What one kind of work takes of a step, by the instructions of the captured one ("captured"),
    and by the same calls of NumPy and kernels one after another ("plain")."""

    section = "step-parts"
    dtype, device = "float32", "cpu"
    bytes = 0

    def __init__(self, data: Dataset, batch: int, part: str) -> None:
        self.data, self.batch = data, batch
        self.operation, self.label = f"step of batch {batch}", part

    @property
    def size(self) -> int:
        """Samples of a step."""
        return self.batch

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(_STEPS)

    def missing(self, path: str) -> str:
        return CapturedSteps.why_missing() if path == "captured" else ""

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        made = {path: _STEPS[path](self.data, self.batch) for path in paths}
        self._assert_same(made.values())
        return {
            path: Candidate(partial(self._taken, steps), told=True) for path, steps in made.items()
        }

    def _taken(self, steps: TimedSteps) -> float:
        """Seconds that this part took of a step: the median over some."""
        names = PARTS.get(self.label)
        taken = [
            sum(nanoseconds for name, nanoseconds in parts if names is None or name in names)
            for parts in (steps.step() for _ in range(_COUNT))
        ]
        return float(np.median(taken)) / 1e9

    def _assert_same(self, made: Iterable[TimedSteps]) -> None:
        """Raise unless a few steps give the same weights as `nets`' own steps, layer by layer."""
        wanted = PlainSteps(self.data, self.batch)
        for _ in range(_COMPARED):
            wanted.reference_step()
        for steps in made:
            for _ in range(_COMPARED):
                steps.step()
            for name, weight in wanted.weights().items():
                error = np.abs(steps.weights()[name] - weight)
                told = f"{name} of {type(steps).__name__}: off by {error.max():.3g}"
                assert error.max() <= 2.1 * LR * _COMPARED, told
                assert error.mean() <= 1e-2 * LR, told
