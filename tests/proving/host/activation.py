"""Engine "cupy" of activations on the CPU: its own launches, on NumPy arrays.

The public functions run `CupyActivation` as it is. Only its ElementwiseKernels are replaced, by
hostcuda_elementwise's; the sums over rows, which are CuPy's own, are NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from cases.activation import computed
from onepass import kernels
from onepass.kernels.activation import cuda_elementwise, cupy_gpu
from onepass.kernels.activation import gpu_sums as gpu
from tolerances import GPU_FACTOR

from proving import account as proof
from proving.host.elementwise import on_host
from proving.host.raw import RUNGS, Call
from proving.host.threaded import ElementwiseKernel


@dataclass(frozen=True)
class Device:
    """How kernels are built and run in the place of a GPU.

    Attributes:
        build, order: as hostcuda_raw's; "" runs nothing.
        edit: changes an operation's text, to plant mistakes.
        launched: (name, dtype, biased) of the launches so far.
        threaded: the launches where nothing ran.
    """

    build: str = "exact"
    order: str | int = "forward"
    edit: Callable[[str], str] = str
    launched: list[tuple[str, str, bool]] = field(default_factory=list)
    threaded: list[Call] = field(default_factory=list)

    def prove(self, check: Callable[..., Any], case: Any, **options: Any) -> None:
        """Hold the engine to the oracle by `check`, which proves the kernels it launches."""
        before = len(self.launched)
        check(self, case, **options)
        for name, dtype, _ in self.launched[before:] if self.edit is str else ():
            proof.note(RUNGS[self.build], "cupy", f"activation_{name}", dtype)

    # What conftest.Engine offers, as far as checks of activations use it.
    name = "cupy"

    @property
    def factor(self) -> float:
        return GPU_FACTOR if self.build in ("fma", "ftz") else 1.0

    def asarray(self, array: Any) -> Any:
        return on_host(array)

    def to_numpy(self, array: Any) -> Any:
        return np.asarray(array)

    def kernel(self, name: str) -> Callable[..., Any]:
        """The public function `name`, run here."""

        def made(name: str, dtype: str, biased: bool = False) -> Callable[..., None]:
            parts = cuda_elementwise.elementwise(name, dtype, biased)
            parts["operation"] = self.edit(parts["operation"])
            kernel = ElementwiseKernel(**parts)

            def launch(*args: Any) -> None:
                self.launched.append((name, dtype, biased))
                if self.build:
                    kernel(*args, build=self.build, order=self.order)
                else:
                    self.threaded.append(kernel.threaded(args, self.order))

            return launch

        def add_rows(dz: Any, bias_grad: Any) -> None:
            """As CuPy, which adds float16 up in float32."""
            rows = dz.reshape(-1, bias_grad.size)
            bias_grad[...] = rows.sum(axis=0, dtype=computed(dz.dtype))

        def run(*args: Any, **options: Any) -> Any:
            found = SimpleNamespace(name="cupy")
            with (
                mock.patch.object(cupy_gpu, "kernel", made),
                mock.patch.object(gpu, "add_rows", add_rows),
                mock.patch("onepass.kernels.operation.find_engine", return_value=found),
            ):
                return getattr(kernels, name)(*args, engine="cupy", **options)

        return run
