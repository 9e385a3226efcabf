"""Engine "cupy" of batch normalization on the CPU: its own launches, on NumPy arrays.

The public functions run `CupyBatchNorm` as it is. Only CuPy's module is replaced: RawKernels are
hostcuda_raw's and ElementwiseKernels hostcuda_elementwise's, so that grids, blocks and the types of
arguments are proven with the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from cases.batch_norm import Case
from onepass import kernels
from onepass.kernels.batch_norm import cuda_text, cupy_gpu, gpu_plan
from tolerances import DTYPES, GPU_FACTOR

from proving import account as proof
from proving.host import raw as hostcuda_raw
from proving.host.elementwise import on_host
from proving.host.raw import RUNGS, Call
from proving.host.threaded import ElementwiseKernel

THREADS = 64  # of a block, so that few values take several threads, parts and blocks
SMALL = {"BLOCKS": 12, "LEAST": 1, "MOST_PARTS": 5}  # of gpu_plan: many parts of few values
AS_SHIPPED = {name: getattr(gpu_plan, name) for name in SMALL}


def unchanged(name: str, text: str) -> str:
    return text


@dataclass(frozen=True)
class Device:
    """How kernels are built and run in the place of a GPU.

    Attributes:
        build, order: as hostcuda_raw's; "" runs nothing.
        threads: of a block.
        plan: constants of gpu_plan in other sizes.
        wide: the number of elements from which an index takes 64 bits.
        edit: changes a kernel's text, given its name, to plant mistakes.
        calls: the launches of RawKernels so far.
        threaded: those of ElementwiseKernels, where nothing ran.
        launched: the names of all.
    """

    build: str = "exact"
    order: str | int = "forward"
    threads: int = THREADS
    plan: dict[str, int] = field(default_factory=lambda: SMALL)
    wide: int = cupy_gpu.WIDE
    edit: Callable[[str, str], str] = unchanged
    calls: list[Call] = field(default_factory=list)
    threaded: list[Call] = field(default_factory=list)
    launched: list[str] = field(default_factory=list)

    def prove(self, check: Callable[[Device, Case], None], case: Case) -> None:
        """Hold the engine to the oracle by `check`, which proves the kernels it launches."""
        before = len(self.launched)
        check(self, case)
        for name in self.launched[before:] if self.edit is unchanged else ():
            proof.note(RUNGS[self.build], "cupy", name, str(case.x.dtype))

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Public functions run here."""

        def raw(code: str, name: str) -> Any:
            kernel = _raw_kernel(self.edit(name, code), name)

            def launch(grid: Any, block: Any, args: Any) -> None:
                self.calls.append(Call(kernel, grid, block, args, 0, self.order))
                self.launched.append(name)
                if self.build:
                    kernel(grid, block, args, order=self.order, build=self.build)

            return launch

        def elementwise(**parts: str) -> Any:
            name = parts["name"].split("_")[2]
            parts["operation"] = self.edit(name, parts["operation"])
            kernel = ElementwiseKernel(**parts)

            def launch(*args: Any) -> None:
                self.launched.append(name)
                if self.build:
                    kernel(*args, build=self.build, order=self.order)
                else:
                    self.threaded.append(kernel.threaded(args, self.order))

            return launch

        cupy = SimpleNamespace(
            RawKernel=raw,
            ElementwiseKernel=elementwise,
            empty=lambda shape, dtype: on_host(np.full(shape, np.nan, dtype)),
            ones=lambda shape, dtype: on_host(np.ones(shape, dtype)),
            zeros=lambda shape, dtype: on_host(np.zeros(shape, dtype)),
        )
        with (
            mock.patch.object(cuda_text, "THREADS", self.threads),
            mock.patch.multiple(
                cupy_gpu,
                THREADS=self.threads,
                WIDE=self.wide,
                raw_kernel=cupy_gpu.raw_kernel.__wrapped__,
                _kernel=cupy_gpu._kernel.__wrapped__,
                _module=lambda: cupy,
            ),
            mock.patch.multiple(gpu_plan, **self.plan),
            mock.patch(
                "onepass.kernels.operation.find_engine",
                return_value=SimpleNamespace(name="cupy"),
            ),
        ):
            yield

    # What conftest.Engine offers, as far as checks of batch normalization use it.
    name = "cupy"
    dtypes = DTYPES

    @property
    def factor(self) -> float:
        return GPU_FACTOR if self.build in ("fma", "ftz") else 1.0

    def asarray(self, array: Any) -> Any:
        return on_host(array)

    def to_numpy(self, array: Any) -> Any:
        return np.asarray(array)

    def kernel(self, name: str) -> Callable[..., Any]:
        """The public function `name`, run here."""

        def run(*args: Any, **options: Any) -> Any:
            with self._running():
                return getattr(kernels, name)(*args, **options)

        return run


@cache
def _raw_kernel(code: str, name: str) -> hostcuda_raw.RawKernel:
    return hostcuda_raw.RawKernel(code, name)
