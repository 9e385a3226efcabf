"""Engine "cupy" of batch normalization on the CPU, in blocks and parts of other sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar
from unittest import mock

from onepass.kernels.batch_norm.gpu import cupy_gpu
from onepass.kernels.batch_norm.gpu import plan as gpu_plan

from proving.host import device as host_device

# Of gpu_plan: blocks of few threads, and many parts of few values; a block keeps little.
SMALL = {"THREADS": 64, "MORE": 128, "LEAST": 1}
AS_SHIPPED = {name: getattr(gpu_plan, name) for name in SMALL}
IN_PARTS = {"KEPT": dict.fromkeys(gpu_plan.KEPT, 0)}  # nothing is kept whole


@dataclass(frozen=True)
class Device(host_device.Device):
    """How kernels are built and run in the place of a GPU.

    Attributes:
        plan: constants of gpu_plan in other sizes.
        wide: the number of elements from which an index takes 64 bits.
        processors: of the GPU.
    """

    plan: dict[str, Any] = field(default_factory=lambda: SMALL)
    wide: int = gpu_plan.WIDE
    processors: int = 3

    where: ClassVar[str] = "operation"

    def _patches(self) -> Iterable[Any]:
        yield from super()._patches()
        yield mock.patch.object(cupy_gpu, "processors", return_value=self.processors)
        yield mock.patch.object(cupy_gpu, "cut_of", cupy_gpu.cut_of.__wrapped__)
        yield mock.patch.multiple(gpu_plan, **self.plan, WIDE=self.wide)
