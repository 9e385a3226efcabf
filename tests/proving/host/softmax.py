"""Engine "cupy" of softmax cross-entropy on the CPU, as it ships and with few threads."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import numpy as np
from cases import softmax as softmax_cases
from cases.softmax import Case
from onepass.kernels.softmax.gpu import launches as gpu_launches
from onepass.kernels.softmax.gpu import numba_cuda
from onepass.kernels.softmax.gpu import plan as gpu_plan
from onepass.kernels.softmax.gpu.cupy_gpu import CupySoftmax
from onepass.kernels.softmax.gpu.plan import CUDA_C, Room

from proving.host import device as host_device
from proving.host.elementwise import on_host

# Of gpu_plan: blocks of few threads that keep little, so that small arrays take several blocks,
# several rows a block, and columns that are read again.
SMALL = {"THREADS": 64, "MORE": 128, "LARGE": 300, "BLOCKS": 3}
SMALL_ROOM = {"float32": Room(4, 2), "float64": Room(4, 2)}
AS_SHIPPED = {name: getattr(gpu_plan, name) for name in SMALL}


def memory_of_cupy() -> Any:
    """A patch: the engine takes its memory from what is in the place of CuPy."""
    backend = SimpleNamespace(xp=sys.modules["cupy"])
    patches = ExitStack()
    for module in (gpu_launches, numba_cuda):
        patches.enter_context(mock.patch.object(module, "backend_of", return_value=backend))
    return patches


@dataclass(frozen=True)
class Device(host_device.Device):
    """How kernels are built and run in the place of a GPU.

    Attributes:
        plan: constants of gpu_plan.
        room: what registers have room for.
        wide: the number of columns from which that of one takes 64 bits.
    """

    plan: dict[str, int] = field(default_factory=lambda: AS_SHIPPED)
    room: dict[str, Room] = field(default_factory=lambda: CUDA_C)
    wide: int = gpu_plan.WIDE

    where: ClassVar[str] = "operation"

    def prove_case(self, case: Case) -> None:
        """Hold the engine to the oracle, which proves the kernels it launches."""
        self.prove(softmax_cases.check, case)

    def _patches(self) -> Iterable[Any]:
        yield memory_of_cupy()
        yield mock.patch.multiple(gpu_plan, **self.plan, WIDE=self.wide)
        yield mock.patch.object(CupySoftmax, "room", self.room)

    def run(self, case: Case, replace: bool = False) -> Any:
        """(loss, gradient) without the public function, which checks labels that NumPy holds;
        `replace`: the gradient replaces the logits."""
        logits, labels, weights = (None if a is None else on_host(a) for a in case[:3])
        gradient = logits if replace else np.empty_like(logits)
        with self.running():
            correct = on_host(np.zeros((), "int64"))
            given = (logits, labels, weights, gradient, correct, case.smoothing)
            loss = CupySoftmax().run(*given)
            return loss, gradient
