"""Engine "cupy" of dropout on the CPU: its own launches, on NumPy arrays.

The public function runs `CupyDropout` as it is. Only CuPy's module is replaced: its RawKernel is
hostcuda_raw's, so that grids, blocks and the types of arguments are proven with the text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

from onepass import kernels
from onepass.kernels.inverted_dropout import cuda_text, cupy_gpu

from proving import account as proof
from proving.host import raw as hostcuda_raw
from proving.host.elementwise import on_host
from proving.host.raw import RUNGS, Call

THREADS, BLOCKS = 32, 3  # so few that each thread takes four elements several times


@dataclass(frozen=True)
class Device:
    """How the kernel is built and run in the place of a GPU.

    Attributes:
        build, order: as hostcuda_raw's; "" runs nothing.
        threads, blocks: of a block, and of a grid at most.
        edit: changes the kernel's text, to plant mistakes.
        calls: the launches so far.
    """

    build: str = "exact"
    order: str | int = "forward"
    threads: int = THREADS
    blocks: int = BLOCKS
    edit: Callable[[str], str] = str
    calls: list[Call] = field(default_factory=list)

    def asarray(self, array: Any) -> Any:
        return on_host(array)

    def dropout(self, x: Any, keep_prob: float, **options: Any) -> Any:
        """The public function, run here."""

        def raw(code: str, name: str) -> Any:
            kernel = _raw_kernel(self.edit(code), name)

            def launch(grid: Any, block: Any, args: Any) -> None:
                self.calls.append(Call(kernel, grid, block, args, 0, self.order))
                if self.build:
                    kernel(grid, block, args, order=self.order, build=self.build)

            return launch

        with (
            mock.patch.object(cuda_text, "THREADS", self.threads),
            mock.patch.multiple(
                cupy_gpu,
                THREADS=self.threads,
                MAX_BLOCKS=self.blocks,
                raw_kernel=cupy_gpu.raw_kernel.__wrapped__,
                _module=lambda: SimpleNamespace(RawKernel=raw),
            ),
            mock.patch(
                "onepass.kernels.operation.find_engine", return_value=SimpleNamespace(name="cupy")
            ),
        ):
            return kernels.dropout(x, keep_prob, **options)

    def note(self, x: Any) -> None:
        """The kernel for the dtype of `x` has passed, if it is the one that ships."""
        if self.edit is str:
            proof.note(RUNGS[self.build], "cupy", "dropout", x.dtype.name)


@cache
def _raw_kernel(code: str, name: str) -> hostcuda_raw.RawKernel:
    return hostcuda_raw.RawKernel(code, name)
