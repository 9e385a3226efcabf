"""Batch normalization on Numba's CUDA simulator, as a script: it must be on before Numba starts.

It runs the engine "numba-cuda" itself, launches included, with NumPy arrays in the place of CuPy's,
and prints one JSON object: each case, what was wrong with it, and the kernels that ran.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from proving.simulator.tools import Outcome

# Blocks of 8 threads, or 2 of each of 4 neighbouring channels; up to 3 parts.
THREADS = 8
PLAN = {"LONG": 6, "NEIGHBOURS": 4, "BLOCKS": 5, "MOST_PARTS": 3, "LEAST": 1}
STREAM = 7  # CuPy's current stream: an address

# shape, dtype, and what `make` takes
CASES: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "planes": ((3, 2, 7), "float32", {"activation": "relu"}),
    "planes, float64": ((3, 1, 9), "float64", {}),
    "neighbours": ((5, 6, 3), "float32", {}),
    "neighbours, float16": ((7, 5), "float16", {"activation": "relu"}),
    "fewer values than threads": ((2, 3), "float32", {}),
    "channels last": ((3, 4, 5), "float64", {"activation": "relu", "channel_axis": -1}),
    "N C H W over N H W C": ((2, 3, 3, 2), "float32", {"order": (0, 2, 3, 1)}),
}
OUTLIER, NAN, BARE, CONTROL = "outlier", "nan", "without gamma and beta", "control"


class Simulated:
    """What conftest.Engine offers, as far as checks of batch normalization use it."""

    name, factor, dtypes = "numba-cuda", 1.0, ("float16", "float32", "float64")

    def asarray(self, array: Any) -> Any:
        from proving.host.elementwise import on_host

        return on_host(array)

    def to_numpy(self, array: Any) -> Any:
        return np.asarray(array)

    def kernel(self, name: str) -> Callable[..., Any]:
        from onepass import kernels

        function: Callable[..., Any] = getattr(kernels, name)
        return function


@contextmanager
def engine_on_host(**kernel: Any) -> Iterator[None]:
    """Public functions run `NumbaCudaBatchNorm` on `OnHost` arrays, with another `kernel=`."""
    from numba import cuda
    from onepass.kernels.batch_norm import gpu_plan, numba_cuda, numba_cuda_kernels

    from proving.host.elementwise import on_host

    cupy = SimpleNamespace(
        empty=lambda shape, dtype: on_host(np.full(shape, np.nan, dtype)),
        ones=lambda shape, dtype: on_host(np.ones(shape, dtype)),
        zeros=lambda shape, dtype: on_host(np.zeros(shape, dtype)),
        cuda=SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=STREAM)),
    )
    find = "onepass.kernels.operation.find_engine"
    with ExitStack() as stack:
        for patch in (
            mock.patch.dict(sys.modules, {"cupy": cupy}),
            mock.patch.object(cuda, "external_stream", {STREAM: 0}.__getitem__, create=True),
            mock.patch.multiple(numba_cuda, THREADS=THREADS, MAX_BLOCKS=3, **kernel),
            mock.patch.object(numba_cuda_kernels, "THREADS", THREADS),
            mock.patch.multiple(gpu_plan, **PLAN),
            mock.patch(find, return_value=SimpleNamespace(name="numba-cuda")),
        ):
            stack.enter_context(patch)
        yield


def names() -> list[str]:
    return [*CASES, OUTLIER, NAN, BARE, CONTROL]


@contextmanager
def noted() -> Iterator[set[tuple[str, str]]]:
    """Name and dtype of the kernels that are launched."""
    from onepass.kernels.batch_norm.numba_cuda import _Launcher

    launched, launch = set(), _Launcher.__call__

    def note(self: Any, name: str, *arguments: Any) -> None:
        launch(self, name, *arguments)
        launched.add((name, self.x.dtype.name))

    with mock.patch.object(_Launcher, "__call__", note):
        yield launched


def check(name: str) -> Outcome:
    """A step of training and inference, from the public function down."""
    from cases.batch_norm import check, infer, make, train
    from onepass.kernels.batch_norm import formula, numba_cuda

    engine, patch = Simulated(), ExitStack()
    shape, dtype, options = CASES.get(name, CASES["planes"])
    case = make(shape, dtype=dtype, **options)
    if name == OUTLIER:
        case.x[0, :, 0] = 1e6
    if name == NAN:
        case.x[1, 1, 3] = np.nan
    if name == BARE:
        case = make(shape)._replace(gamma=None, beta=None)
    if name == CONTROL:  # statistics that are not averaged but replaced
        wrong = mock.patch.object(formula, "averaged", lambda running, latest, keep, _: (latest,))
        patch.enter_context(wrong)
    numba_cuda.kernel.cache_clear()
    with patch, engine_on_host(), noted() as launched:
        try:
            if name == NAN:
                y, dx, *_ = train(engine, case.x, case.gamma, case.beta, dy=case.dy, **case.options)
                for array in (y, dx):
                    assert np.isnan(array[:, 1]).all(), "ReLU made a number of NaN"
                    assert np.isfinite(array[:, 0]).all(), "NaN went into another channel"
            else:
                check(engine, case)
                if name in CASES:
                    infer(engine, case)
        except Exception as error:  # whatever it is, it is the case's result
            return Outcome(f"{type(error).__name__}: {error}", [])
    return Outcome("", sorted(launched))


def main() -> None:
    sys.setswitchinterval(1e-4)  # threads that wait for each other give way sooner
    warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's on inf and NaN, in every thread
    print(json.dumps({name: check(name) for name in names()}))


if __name__ == "__main__":
    main()
