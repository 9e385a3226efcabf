"""The engine "cupy" on chunks of many arrays, on the host: steps and sums of squares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from cases import lists
from onepass.kernels.compiling.gpu import cuda_chunks, cuda_squares
from onepass.kernels.compiling.gpu.cuda_chunks import Chunks, chunks_of
from onepass.kernels.compiling.gpu.cuda_packs import launch_chunks
from onepass.kernels.rule_engines import cupy_gpu
from oracles.rules import RULES as ORACLES

from proving.host import device as host_device
from proving.host.walk import at_sixteen_bytes, options_of

SIZES = (1, 0, 63, 64, 65, 7, 200)  # of which some fill chunks of 64, and some end in one
AT = (0, 1, 0, 0, 1, 0, 0)  # elements behind a place where a pack may begin
GRADS_AT = (0, 1, 0, 1, 1, 0, 0)  # of gradients


@dataclass(frozen=True)
class Device(host_device.Device):
    """How kernels are built and run in the place of a GPU.

    Attributes:
        chunk: elements of a chunk.
        warps: threads of a block that sums up.
    """

    chunk: int = 64
    warps: int = 64

    def _patches(self) -> Iterable[Any]:
        yield from super()._patches()
        yield mock.patch.object(cuda_chunks, "CHUNK", self.chunk)
        yield mock.patch.multiple(cuda_squares, THREADS=self.warps, MOST=3)

    def placed(self, arrays: Sequence[Any], at: Sequence[int] = AT) -> list[Any]:
        """Copies, some aligned to a pack and some not, which tables may hold the addresses of."""
        found = [at_sixteen_bytes(a, off) for a, off in zip(arrays, at, strict=True)]
        self.reached[:] = [*self.reached, *(array for array in found if array.size)]
        return found

    def table(self, *columns: Sequence[Any], groups: Any = None) -> Chunks:
        """The chunks of arrays, for each argument."""
        sizes = np.array([array.size for array in columns[0]])
        addresses = [np.array([array.ctypes.data for array in column]) for column in columns]
        return chunks_of(columns[0][0], sizes, addresses, groups)

    def step(self, prepared: Any, columns: tuple[tuple[Any, ...], ...]) -> None:
        """The one launch of a rule."""
        rule, coefficients = prepared
        with self.running():
            kernel = cupy_gpu.chunks_kernel(rule, columns[0][0].dtype.name)
            launch_chunks(kernel, self.table(*columns), coefficients)

    def prove_steps(self, name: str, dtype: str, extra: str = "all", way: str = "chunks") -> None:
        """Hold a rule on many arrays to the oracle, which proves the text that ships."""
        function, options = options_of(name, extra)
        rule = ORACLES[function]
        drawn, names = lists.draw(rule, dtype, SIZES, options), rule.arrays_with(options)
        columns = [
            self.placed([call[each] for call in drawn], GRADS_AT if each == "grad" else AT)
            for each in names
        ]
        calls = [dict(zip(names, each, strict=True)) for each in zip(*columns, strict=True)]
        self.prove(lambda _: lists.check(self.step, function, rule, options, calls, self.factor))
        assert self.launched[-1] == (f"{name}_{way}", dtype)

    def prove_sums(self, arrays: Sequence[Any]) -> None:
        """Hold the sum of squares of arrays of one dtype to that in order of size, and exact."""
        placed = self.placed(arrays)
        exact = math.fsum(float(x) ** 2 for array in placed for x in np.asarray(array, "float64"))

        def check(_: Any) -> None:
            with self.running():
                found = cuda_squares.sum_of_chunks([(self.table(placed), 0)])
                alone = sum(
                    float(cuda_squares.sum_of_squares([each])) for each in placed if each.size
                )
            for each in (found, alone):
                np.testing.assert_allclose(float(each), exact, rtol=64 * np.finfo(float).eps)

        self.prove(check)
