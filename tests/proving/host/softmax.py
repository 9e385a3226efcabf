"""Engine "cupy" of softmax cross-entropy on the CPU: its own launches, on NumPy arrays.

The public function runs `CupySoftmax` as it is. Only CuPy's module is replaced, and its RawKernels
are hostcuda_raw's, so that grids, blocks and the types of arguments are proven with the text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from cases import softmax as softmax_cases
from cases.softmax import Case
from onepass import kernels
from onepass.kernels.softmax import cupy_gpu, gpu_plan
from onepass.kernels.softmax import gpu_launches as gpu
from onepass.kernels.softmax.cupy_gpu import CupySoftmax
from onepass.kernels.softmax.gpu_plan import CUDA_C, Room
from tolerances import DTYPES, GPU_FACTOR

from proving import account as proof
from proving.host import raw as hostcuda_raw
from proving.host.elementwise import on_host
from proving.host.raw import RUNGS, Call

# Of gpu_plan: blocks of few threads that keep little, so that small arrays take several blocks,
# several rows a block, and columns that are read again.
SMALL = {"THREADS": 64, "MORE": 128, "LARGE": 300, "BLOCKS": 3}
SMALL_ROOM = {"float32": Room(4, 2), "float64": Room(4, 2)}
AS_SHIPPED = {name: getattr(gpu_plan, name) for name in SMALL}


def unchanged(name: str, text: str) -> str:
    return text


@dataclass(frozen=True)
class Device:
    """How kernels are built and run in the place of a GPU.

    Attributes:
        build, order: as hostcuda_raw's; "" runs nothing.
        plan: constants of gpu_plan.
        room: what registers have room for.
        wide: the number of columns from which that of one takes 64 bits.
        edit: changes a kernel's text, given its name, to plant mistakes.
        calls: the launches so far.
    """

    build: str = "exact"
    order: str | int = "forward"
    plan: dict[str, int] = field(default_factory=lambda: AS_SHIPPED)
    room: dict[str, Room] = field(default_factory=lambda: CUDA_C)
    wide: int = gpu_plan.WIDE
    edit: Callable[[str, str], str] = unchanged
    calls: list[Call] = field(default_factory=list)

    def prove(self, case: Case) -> None:
        """Hold the engine to the oracle, which proves the kernels it launches."""
        before = len(self.calls)
        softmax_cases.check(self, case)
        for call in self.calls[before:] if self.edit is unchanged else ():
            proof.note(RUNGS[self.build], "cupy", call.kernel.name, str(case.logits.dtype))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Public functions run here."""

        def raw(code: str, name: str) -> Any:
            kernel = _raw_kernel(self.edit(name, code), name)

            def launch(grid: Any, block: Any, args: Any) -> None:
                self.calls.append(Call(kernel, grid, block, args, 0, self.order))
                if self.build:
                    kernel(grid, block, args, order=self.order, build=self.build)

            return launch

        cupy = SimpleNamespace(
            RawKernel=raw,
            empty=lambda shape, dtype: on_host(np.full(shape, np.nan, dtype)),
            zeros=lambda shape, dtype: on_host(np.zeros(shape, dtype)),
            ndarray=type("ndarray", (), {}),  # array_api_compat asks whether an array is one
        )
        with (
            mock.patch.dict(sys.modules, {"cupy": cupy}),
            mock.patch.multiple(gpu_plan, **self.plan, WIDE=self.wide),
            mock.patch.object(CupySoftmax, "room", self.room),
            mock.patch.object(cupy_gpu, "raw_kernel", cupy_gpu.raw_kernel.__wrapped__),
            mock.patch.object(gpu, "_compiled", set()),
            mock.patch.object(gpu, "backend_of", return_value=SimpleNamespace(xp=cupy)),
            mock.patch(
                "onepass.kernels.operation.find_engine",
                return_value=SimpleNamespace(name="cupy"),
            ),
        ):
            yield

    # What conftest.Engine offers, as far as checks of softmax use it.
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
            with self.running():
                return getattr(kernels, name)(*args, **options)

        return run

    def run(self, case: Case, replace: bool = False) -> Any:
        """(loss, gradient) without the public function, which checks labels that NumPy holds;
        `replace`: the gradient replaces the logits."""
        logits, labels, weights = (None if a is None else on_host(a) for a in case)
        gradient = logits if replace else np.empty_like(logits)
        with self.running():
            return CupySoftmax().run(logits, labels, weights, gradient), gradient


@cache
def _raw_kernel(code: str, name: str) -> hostcuda_raw.RawKernel:
    return hostcuda_raw.RawKernel(code, name)
