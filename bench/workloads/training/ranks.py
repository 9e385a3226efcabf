"""Section "ranks": training by several processes of this machine, and what its model stands on.

Ranks are processes that a launcher of MPI has started and that sleep while others are timed
(rank_program.py). A call of a candidate is a request to them, and tells the seconds that count.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....backend import usable_cores
from ...cases.ranks import BATCH, LABEL, PARAMETERS
from ...measuring.candidate import Candidate
from ...measuring.rank_processes import RankGroups
from ...measuring.timing import Effort
from ...measuring.workload import Workload
from ...report.record import Ranked
from ...report.scaling import APART, OVERLAPPED

SECTION = "ranks"
_COMPARED = 2  # batches after which parameters are compared


class Way(NamedTuple):
    """How the network is trained: by how many ranks, and how."""

    ranks: int
    alone: bool = False
    sharded: bool = False
    one_thread: bool = False


WAYS_TO_TRAIN = {
    "alone": Way(1, alone=True),
    "alone, one thread": Way(1, alone=True, one_thread=True),
    "1 rank": Way(1),
    "2 ranks": Way(2),
    "2 ranks, sharded": Way(2, sharded=True),
    "4 ranks": Way(4),
    "4 ranks, sharded": Way(4, sharded=True),
}
"""By path; "alone" is `fit` without ranks."""

COUNTED = ((2, False), (2, True), (4, False), (4, True))
"""Ranks, and whether states are sharded, of which bytes are counted."""


class OfRanks(Workload):
    """What processes of a launcher are asked for."""

    section = SECTION
    dtype, device = "float32", "cpu"
    warm = False  # a request begins with what is not counted

    def __init__(self, groups: RankGroups) -> None:
        self.groups = groups

    @property
    def bytes(self) -> int:
        """Nothing is said: the model tells of what is sent."""
        return 0

    def missing(self, path: str) -> str:
        return too_many(_ranks_of(path)) or self.groups.why_not(_ranks_of(path))

    def effort(self, given: Effort) -> Effort:
        """All of the rounds: a block is a single request."""
        return given

    def _asking(self, ranks: int, what: str, **request: object) -> Candidate:
        processes = self.groups.of(ranks)
        return Candidate(partial(processes.ask, what, **request), told=True)


class RankedStep(OfRanks):
    """A training step of a small network: alone, and by ranks that share each batch."""

    operation, label, size = "training step", LABEL, BATCH

    def __init__(self, groups: RankGroups, batches: int, epochs: int) -> None:
        super().__init__(groups)
        self._samples, self._epochs = batches * BATCH, epochs

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(WAYS_TO_TRAIN)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        chosen = {path: WAYS_TO_TRAIN[path] for path in paths}
        reference = self._trained(WAYS_TO_TRAIN["alone"])
        for path, way in chosen.items():
            if not way.alone:
                found, what = self._trained(way), f"{self.id} by {path}"
                np.testing.assert_allclose(found, reference, 1e-4, 1e-4, err_msg=what)
        return {
            path: self._asking(
                way.ranks,
                "step",
                alone=way.alone,
                sharded=way.sharded,
                one_thread=way.one_thread,
                samples=self._samples,
                epochs=self._epochs,
            )
            for path, way in chosen.items()
        }

    def _trained(self, way: Way) -> np.ndarray:
        """The parameters after some steps."""
        with tempfile.TemporaryDirectory(prefix="onepass-bench-") as folder:
            file = Path(folder) / "parameters.npy"
            self.groups.of(way.ranks).ask(
                "train",
                alone=way.alone,
                sharded=way.sharded,
                samples=_COMPARED * BATCH,
                file=str(file),
            )
            found: np.ndarray = np.load(file)
            return found


class OfElements(OfRanks):
    """What is done to so many parameters."""

    def __init__(self, groups: RankGroups, label: str, size: int, calls: int) -> None:
        super().__init__(groups)
        self.label, self._size, self._calls = label, size, calls

    @property
    def size(self) -> int:
        return self._size

    @property
    def given(self) -> dict[str, int]:
        """Of what is asked of ranks."""
        return {"elements": self._size, "calls": self._calls}


class Exchange(OfElements):
    """A reduce-scatter and an all-gather, as a step makes them."""

    operation = "exchange"

    @property
    def paths(self) -> tuple[str, ...]:
        return "2 ranks", "4 ranks"

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        return {path: self._asking(_ranks_of(path), "exchange", **self.given) for path in paths}


class Meeting(OfRanks):
    """A sum of seven numbers over all ranks, by which they keep in step."""

    operation, label, size = "meeting", "7 numbers", 7

    def __init__(self, groups: RankGroups, calls: int) -> None:
        super().__init__(groups)
        self._calls = calls

    @property
    def paths(self) -> tuple[str, ...]:
        return "2 ranks", "4 ranks"

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        return {path: self._asking(_ranks_of(path), "meeting", calls=self._calls) for path in paths}


class Update(OfElements):
    """Adam's step by itself, on one thread: what a rank does of a step whatever the batch."""

    operation = "update"

    @property
    def paths(self) -> tuple[str, ...]:
        return ("alone, one thread",)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        return {path: self._asking(1, "update", **self.given) for path in paths}


class Overlap(OfRanks):
    """Whether an exchange goes on by itself while its ranks compute."""

    operation = "overlap"

    def __init__(self, groups: RankGroups, label: str, size: int) -> None:
        super().__init__(groups)
        self.label, self._size = label, size

    @property
    def size(self) -> int:
        return self._size

    @property
    def paths(self) -> tuple[str, ...]:
        return (*APART, *OVERLAPPED)

    def missing(self, path: str) -> str:
        return too_many(2) or self.groups.why_not(2)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        return {path: self._asking(2, "overlap", way=path, elements=self._size) for path in paths}


def too_many(ranks: int) -> str:
    """Why so many ranks are not timed here; "" if they are."""
    cores = usable_cores()
    if ranks <= cores:
        return ""
    return f"{ranks} ranks on {cores} cores would wait for one another: counted, not timed"


def counted(groups: RankGroups, ranks: int, sharded: bool) -> Ranked | None:
    """What each rank sends in a step, and holds; None where there can't be so many."""
    if groups.why_not(ranks):
        return None
    found = groups.of(ranks).ask("count", sharded=sharded, clipped=False, batches=2)
    return Ranked(ranks, sharded, PARAMETERS, **found)


def _ranks_of(path: str) -> int:
    return WAYS_TO_TRAIN[path].ranks
