"""Softmax cross-entropy on Numba's CUDA simulator, as a script: it must be on before Numba starts.

It runs the engine "numba-cuda" itself, launches included, with NumPy arrays in the place of CuPy's,
and prints one JSON object: each case, what was wrong with it, and the kernels that ran.
"""

from __future__ import annotations

import json
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from proving.simulator.tools import Outcome

# Warps of 4 threads that keep two values: blocks of 8 threads, or 16 where a row is wide.
PLAN = {"WARP": 4, "THREADS": 8, "MORE": 16, "FEW": 2, "LARGE": 30, "BLOCKS": 2}
STREAM = 7  # CuPy's current stream: an address

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
NAN, RANGE, CONTROL = "nan", "a label out of range", "control"


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


@contextmanager
def engine_on_host(launched: set[tuple[str, str]]) -> Iterator[None]:
    """The public function runs `NumbaCudaSoftmax` on `OnHost` arrays; notes what it launches."""
    from numba import cuda
    from numba.cuda.simulator.kernelapi import FakeCUDAModule
    from onepass.kernels.softmax import gpu_launches as gpu
    from onepass.kernels.softmax import gpu_plan, numba_cuda
    from onepass.kernels.softmax.gpu_plan import Room

    from proving.host.elementwise import on_host

    def kernel(name: str, dtype: str, *more: Any) -> Any:
        if name == "softmax_mean":
            launched.add((name, dtype))
        return cuda.jit(numba_cuda.python_kernel(name, dtype, *more))

    rows = numba_cuda.NumbaCudaSoftmax.rows

    def noted(self: Any, plan: Any, logits: Any, *more: Any) -> None:
        rows(self, plan, logits, *more)
        launched.add((plan.kernel, logits.dtype.name))

    room = dict.fromkeys(("float32", "float64"), Room(2, 2))
    cupy = SimpleNamespace(
        empty=lambda shape, dtype: on_host(np.full(shape, np.nan, dtype)),
        zeros=lambda shape, dtype: on_host(np.zeros(shape, dtype)),
        ndarray=type("ndarray", (), {}),
        cuda=SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=STREAM)),
    )
    find = "onepass.kernels.operation.find_engine"
    with ExitStack() as stack:
        for patch in (
            mock.patch.dict(sys.modules, {"cupy": cupy}),
            mock.patch.object(cuda, "external_stream", {STREAM: 0}.__getitem__, create=True),
            mock.patch.object(FakeCUDAModule, "shfl_xor_sync", exchange, create=True),
            mock.patch.multiple(gpu_plan, **PLAN),
            mock.patch.object(numba_cuda, "kernel", kernel),
            mock.patch.multiple(numba_cuda.NumbaCudaSoftmax, rows=noted, room=room),
            mock.patch.object(gpu, "_compiled", set()),
            mock.patch.object(gpu, "backend_of", return_value=SimpleNamespace(xp=cupy)),
            mock.patch(find, return_value=SimpleNamespace(name="numba-cuda")),
        ):
            stack.enter_context(patch)
        yield


class Simulated:
    """What conftest.Engine offers, as far as checks of softmax use it."""

    name, factor = "numba-cuda", 1.0

    def asarray(self, array: Any) -> Any:
        from proving.host.elementwise import on_host

        return on_host(array)

    def to_numpy(self, array: Any) -> Any:
        return np.asarray(array)

    def kernel(self, name: str) -> Callable[..., Any]:
        from onepass import kernels

        function: Callable[..., Any] = getattr(kernels, name)
        return function


def check(name: str) -> Outcome:
    """What is wrong with loss and gradient, from the public function down to the threads."""
    from cases import softmax as softmax_cases
    from onepass.kernels.softmax import formula

    launched: set[tuple[str, str]] = set()
    shape, dtype, weighted = CASES.get(name, CASES["a block that reads again"])
    case, patch = softmax_cases.make(shape, dtype, weighted=weighted), ExitStack()
    if name == CONTROL:  # the loss and the gradient without the weights
        wrong = mock.patch.object(
            formula, "shares", lambda weight, total, n: (1 / n, 1 / total / n)
        )
        patch.enter_context(wrong)
    with patch, engine_on_host(launched):
        try:
            if name == NAN:
                for width in (3, 21):
                    for bad in ("nan", "inf", "all -inf"):
                        softmax_cases.check_nan_and_inf_make_their_row_nan(
                            Simulated(), bad, width, "float32"
                        )
            elif name == RANGE:
                _out_of_range()
            else:
                softmax_cases.check(Simulated(), case)
        except Exception as error:  # whatever it is, it is the case's result
            return Outcome(f"{type(error).__name__}: {error}", [])
    return Outcome("", sorted(launched))


def _out_of_range() -> None:
    """Labels that NumPy holds would be refused before a launch."""
    from onepass.kernels.softmax.numba_cuda import NumbaCudaSoftmax

    from proving.host.elementwise import on_host

    for width in (3, 21):
        logits, labels = on_host(np.zeros((3, width))), on_host(np.array([0, width, -1]))
        gradient = np.empty_like(logits)
        loss = NumbaCudaSoftmax().run(logits, labels, None, gradient)
        assert np.isnan(float(loss))
        assert np.isnan(gradient).all(axis=1).tolist() == [False, True, True]
        assert np.isnan(gradient).any(axis=1).tolist() == [False, True, True]


def main() -> None:
    sys.setswitchinterval(1e-4)  # threads that wait for each other give way sooner
    warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's on inf and NaN, in every thread
    print(json.dumps({name: check(name) for name in names()}))


if __name__ == "__main__":
    main()
