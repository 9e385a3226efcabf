"""Softmax cross-entropy on Numba's CUDA simulator, as a script."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

import numpy as np
from cases import softmax as softmax_cases
from onepass.kernels.softmax import formula
from onepass.kernels.softmax.gpu import plan as gpu_plan
from onepass.kernels.softmax.gpu.numba_cuda import NumbaCudaSoftmax
from onepass.kernels.softmax.gpu.plan import Room

from proving.host.softmax import memory_of_cupy
from proving.simulator import simulator
from proving.simulator.simulator import CONTROL, outcome, tell
from proving.simulator.tools import Outcome

# Warps of 4 threads that keep two values: blocks of 8 threads, or 16 where a row is wide.
PLAN = {"WARP": 4, "THREADS": 8, "MORE": 16, "FEW": 2, "LARGE": 30, "BLOCKS": 2}

# shape, dtype, weighted
CASES: dict[str, tuple[tuple[int, int], str, bool]] = {
    "a thread a row": ((5, 2), "float32", False),
    "some lanes": ((5, 3), "float32", True),
    "a warp": ((5, 7), "float64", False),
    "a warp, float16": ((5, 5), "float16", True),
    "a block": ((3, 13), "float32", True),
    "a block that reads again": ((3, 21), "float64", True),
    "a block, float16": ((2, 10), "float16", False),
    "a large block that reads again": ((3, 41), "float32", False),
}
NAN, RANGE = "nan", "a label out of range"


def names() -> list[str]:
    return [*CASES, NAN, RANGE, CONTROL]


_sent: dict[int, Any] = {}


def exchange(self: Any, mask: int, value: Any, by: int) -> Any:
    """`cuda.shfl_xor_sync`, which the simulator lacks: here the whole block takes part."""
    thread: Any = threading.current_thread()
    _sent[thread.threadIdx.x] = value
    thread.syncthreads()
    received = _sent[thread.threadIdx.x ^ by]
    thread.syncthreads()
    return received


@dataclass(frozen=True)
class Simulated(simulator.Simulated):
    where: ClassVar[str] = "operation"

    def _patches(self) -> Iterable[Any]:
        from numba import cuda
        from numba.cuda.simulator.kernelapi import FakeCUDAModule

        jit = cuda.jit
        yield from super()._patches()
        yield mock.patch.object(cuda, "jit", lambda f, launch_bounds=None, **how: jit(f, **how))
        yield mock.patch.object(FakeCUDAModule, "shfl_xor_sync", exchange, create=True)
        yield memory_of_cupy()
        yield mock.patch.multiple(gpu_plan, **PLAN)
        room = dict.fromkeys(("float32", "float64"), Room(2, 2))
        yield mock.patch.object(NumbaCudaSoftmax, "room", room)


def check(name: str) -> Outcome:
    """What is wrong with loss and gradient."""
    shape, dtype, weighted = CASES.get(name, CASES["a block that reads again"])

    def held(device: simulator.Simulated) -> None:
        if name == NAN:
            follow_nan(device)
        elif name == RANGE:
            refuse_labels(device)
        else:
            softmax_cases.check(device, softmax_cases.make(shape, dtype, weighted=weighted))

    # the loss and the gradient without the weights
    wrong = mock.patch.object(formula, "shares", lambda weight, total, n: (1 / n, 1 / total / n))
    with wrong if name == CONTROL else nullcontext():
        return outcome(Simulated(), held)


def follow_nan(device: simulator.Simulated) -> None:
    for width in (3, 21):
        for bad in ("nan", "inf", "all -inf"):
            softmax_cases.check_nan_and_inf_make_their_row_nan(device, bad, width, "float32")


def refuse_labels(device: simulator.Simulated) -> None:
    """Labels that NumPy holds would be refused before a launch."""
    for width in (3, 21):
        logits, labels = map(device.asarray, (np.zeros((3, width)), [0, width, -1]))
        gradient = np.empty_like(logits)
        with device.running():
            loss = NumbaCudaSoftmax().run(logits, labels, None, gradient)
        assert np.isnan(float(loss))
        assert np.isnan(gradient).all(axis=1).tolist() == [False, True, True]
        assert np.isnan(gradient).any(axis=1).tolist() == [False, True, True]


if __name__ == "__main__":
    tell(names(), check)
