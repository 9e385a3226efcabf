"""Engine "cupy" of batch normalization on the CPU, in blocks and parts of other sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar
from unittest import mock

from onepass.kernels.batch_norm.gpu import cupy_gpu
from onepass.kernels.batch_norm.gpu import plan as gpu_plan

from proving.host import device as host_device

SMALL = {"BLOCKS": 12, "LEAST": 1, "MOST_PARTS": 5}  # of gpu_plan: many parts of few values
AS_SHIPPED = {name: getattr(gpu_plan, name) for name in SMALL}


@dataclass(frozen=True)
class Device(host_device.Device):
    """How kernels are built and run in the place of a GPU.

    Attributes:
        plan: constants of gpu_plan in other sizes.
        wide: the number of elements from which an index takes 64 bits.
    """

    threads: int = 64  # so that few values take several threads, parts and blocks
    plan: dict[str, int] = field(default_factory=lambda: SMALL)
    wide: int = cupy_gpu.WIDE

    where: ClassVar[str] = "operation"

    def _patches(self) -> Iterable[Any]:
        yield from super()._patches()
        yield mock.patch.object(cupy_gpu, "WIDE", self.wide)
        yield mock.patch.multiple(gpu_plan, **self.plan)
