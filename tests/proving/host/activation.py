"""Engine "cupy" of activations on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar
from unittest import mock

from onepass.kernels.compiling.gpu import cuda_columns

from proving.host import device as host_device

# Of cuda_columns: blocks of few threads, so that small arrays take parts and several tiles.
SMALL = {"THREADS": 16, "LANES": 4, "LEAST": 1}


@dataclass(frozen=True)
class Device(host_device.Device):
    """How kernels are built and run in the place of a GPU.

    Attributes:
        columns: constants of cuda_columns in other sizes.
        processors: of the GPU.
    """

    columns: dict[str, Any] = field(default_factory=lambda: SMALL)
    processors: int = 3

    where: ClassVar[str] = "operation"

    def _patches(self) -> Iterable[Any]:
        yield from super()._patches()
        yield mock.patch.object(cuda_columns, "processors", return_value=self.processors)
        yield mock.patch.object(cuda_columns, "plan_of", cuda_columns.plan_of.__wrapped__)
        yield mock.patch.multiple(cuda_columns, **self.columns)
