"""Engine "cupy" of operations over rows on the CPU, as it ships and with few threads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar
from unittest import mock

from cases import norms as norm_cases
from cases.norms import Case
from onepass.kernels.rows.gpu import cupy_gpu
from onepass.kernels.rows.gpu import plan as gpu_plan
from onepass.kernels.rows.gpu.plan import Room

from proving.host import device as host_device

# Of gpu_plan: blocks of few threads that keep little, so that small arrays take several blocks,
# several parts a block, and items that are read again.
SMALL = {
    "THREADS": 64, "MORE": 64, "FEW": 16, "MAX_BLOCKS": 3, "JOINED": 8, "CUDA_C": Room(32, 4, 16),
}  # fmt: skip
AS_SHIPPED = {name: getattr(gpu_plan, name) for name in SMALL}


@dataclass(frozen=True)
class Device(host_device.Device):
    """How kernels are built and run in the place of a GPU.

    Attributes:
        plan: constants of gpu_plan.
        wide: the number of elements from which that of one takes 64 bits.
    """

    plan: dict[str, Any] = field(default_factory=lambda: SMALL)
    wide: int = gpu_plan.WIDE

    where: ClassVar[str] = "operation"
    device: ClassVar[str] = "cpu"

    def prove_case(self, case: Case) -> None:
        """Hold a pass each way to the oracle, which proves the kernels it launches."""
        self.prove(norm_cases.check, case)

    def results(self, case: Case) -> list[bytes]:
        """The bytes of what a pass each way returns."""
        found = norm_cases.run(self, case)
        return [b"" if each is None else each.tobytes() for each in found]

    def _patches(self) -> Iterable[Any]:
        yield mock.patch.multiple(gpu_plan, **self.plan, WIDE=self.wide)
        yield mock.patch.object(cupy_gpu, "_plan", cupy_gpu._plan.__wrapped__)
        yield mock.patch.object(cupy_gpu, "processors", return_value=1)
