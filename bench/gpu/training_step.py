"""Section "training-steps": a step of the network of section "training" on a GPU.

Forward, loss, backward, update and the choice of the batch's rows, as users have them: host and GPU
together. The two begin with the same weights and must learn the same first.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from ..cases.data_sets import made_up
from ..cases.trainer import Pair, Trainer
from ..measuring.candidate import Candidate
from ..measuring.timing import Effort
from ..measuring.workload import Workload
from ..peers.torch_trainer import Torch
from ..workloads.training.onepass_trainer import Onepass
from ..workloads.training.same_network import assert_alike

_PATHS = ("onepass", "torch fused")


class TrainingStep(Workload):
    """784-256-128-10 with batch norm and Adam, in float32."""

    section, operation, dtype, bytes = "training-steps", "step", "float32", 0

    def __init__(self, samples: int, batch: int = 128, device: str = "cuda") -> None:
        self.data, self.batch, self.device = made_up(samples), batch, device
        self.label = f"784-256-128-10, batch {batch}"

    @property
    def size(self) -> int:
        """Samples of a step."""
        return self.batch

    @property
    def paths(self) -> tuple[str, ...]:
        return _PATHS

    def effort(self, given: Effort) -> Effort:
        return Effort(given.rounds, block=0.0, least=1)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        trainers = {path: self._trainer(path) for path in paths}
        assert_alike(self.data, self.batch, trainers, partial(self._onepass, "array"))
        pair = self.data.x_train, self.data.y_train
        steps = -(-len(pair[0]) // self.batch)
        return {
            path: Candidate(partial(_seconds, made, pair, steps), made.reset, told=True)
            for path, made in trainers.items()
        }

    def _trainer(self, path: str) -> Trainer:
        if path == "onepass":
            return self._onepass("auto")
        width, classes = self.data.x_train.shape[1], self.data.classes
        start = self._onepass("auto").weights()
        return Torch(start, width, classes, self.batch, device=self.device)

    def _onepass(self, engine: str) -> Trainer:
        width, classes = self.data.x_train.shape[1], self.data.classes
        return Onepass(width, classes, self.batch, engine=engine, device=self.device)


def _seconds(trainer: Trainer, pair: Pair, steps: int) -> float:
    """Of one step of an epoch, which ends with a wait for its loss."""
    return trainer.train(pair).seconds[-1] / steps
