"""Engine "cupy" of activations on the CPU; sums over rows, which are CuPy's own, are NumPy's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

from cases.activation import computed
from onepass.kernels.activation.gpu import sums as gpu_sums

from proving.host import device as host_device


def add_rows(dz: Any, bias_grad: Any) -> None:
    """As CuPy, which adds float16 up in float32."""
    bias_grad[...] = dz.reshape(-1, bias_grad.size).sum(axis=0, dtype=computed(dz.dtype))


@dataclass(frozen=True)
class Device(host_device.Device):
    """How kernels are built and run in the place of a GPU."""

    where: ClassVar[str] = "operation"

    def _patches(self) -> Iterable[Any]:
        yield mock.patch.object(gpu_sums, "add_rows", add_rows)
