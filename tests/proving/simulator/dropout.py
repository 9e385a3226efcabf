"""Dropout on Numba's CUDA simulator, as a script: the simulator must be on before Numba starts.

It runs the engine "numba-cuda" itself, launch included, with NumPy arrays in the place of CuPy's,
and prints one JSON object: each case, what was wrong with it, and the kernels that ran.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from proving.simulator.tools import Outcome

THREADS, BLOCKS = 8, 3  # so few that each thread takes four elements several times
STREAM = 7  # CuPy's current stream: an address
SIZES = (1, 4, 7, 4 * THREADS * BLOCKS, 250)
CASES = [f"{dtype} {size}" for dtype in ("float16", "float32", "float64") for size in SIZES]
IN_PLACE, STRIDED, SPECIAL, CONTROL = "in place", "strided", "inf and nan", "control"


def names() -> list[str]:
    return [*CASES, IN_PLACE, STRIDED, SPECIAL, CONTROL]


@contextmanager
def engine_on_host(**changed: Any) -> Iterator[None]:
    """The public function runs `NumbaCudaDropout` on NumPy arrays."""
    from numba import cuda
    from onepass.kernels.inverted_dropout import numba_cuda
    from onepass.kernels.rule_engines import numba_cuda as launches

    stream = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=STREAM))
    found = SimpleNamespace(name="numba-cuda")
    with (
        mock.patch.dict(sys.modules, {"cupy": SimpleNamespace(cuda=stream)}),
        mock.patch.object(cuda, "external_stream", {STREAM: 0}.__getitem__, create=True),
        mock.patch.multiple(launches, THREADS=THREADS, MAX_BLOCKS=BLOCKS),
        mock.patch.multiple(numba_cuda, **changed),
        mock.patch("onepass.kernels.operation.find_engine", return_value=found),
    ):
        yield


def check(name: str) -> Outcome:
    """What is wrong with y, from the public function down to the simulated threads."""
    from cases.dropout import BIG, assert_right, example
    from onepass import kernels
    from onepass.kernels.inverted_dropout import numba_cuda, numba_cuda_kernels
    from onepass.kernels.inverted_dropout import philox as formula

    from proving.host.elementwise import on_host

    dtype, size = name.split() if name in CASES else ("float32", "41")
    x, launched = example(int(size), dtype), set()
    make, rounds = numba_cuda.kernel.__wrapped__, 9 if name == CONTROL else formula.ROUNDS

    def kernel(name: str, dtype: str) -> Any:
        launched.add((name, dtype))
        with mock.patch.object(numba_cuda_kernels, "ROUNDS", rounds):
            return make(name, dtype)

    with engine_on_host(kernel=kernel):
        try:
            if name == SPECIAL:
                x[:30] = np.repeat([np.nan, np.inf, -np.inf], 10)
                y = kernels.dropout(on_host(x), 0.5, **BIG)
                np.testing.assert_array_equal(y, _reference(x, 0.5, BIG))
                return Outcome("", sorted(launched))
            given, out = on_host(x), on_host(np.full_like(x, np.nan))
            if name == IN_PLACE:
                out = given
            if name == STRIDED:
                given, out = (on_host(np.repeat(array, 2))[::2] for array in (given, out))
            y = kernels.dropout(given, 0.7, **BIG, out=out)
            assert y is out
            assert name == IN_PLACE or np.array_equal(given, x), "x was written"
            assert_right(np.asarray(y), x, 0.7, **BIG)
            assert np.array_equal(y, _reference(x, 0.7, BIG)), "not the array engine's, to the bit"
        except Exception as error:  # whatever it is, it is the case's result
            return Outcome(f"{type(error).__name__}: {error}", [])
    return Outcome("", sorted(launched))


def _reference(x: Any, keep_prob: float, mask: dict[str, int]) -> Any:
    from onepass.kernels.inverted_dropout.arguments import mask_of
    from onepass.kernels.inverted_dropout.array import ArrayDropout

    y = np.empty_like(x)
    ArrayDropout().run(x, y, mask_of(keep_prob, **mask))
    return y


def main() -> None:
    warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's on inf and NaN, in every thread
    print(json.dumps({name: check(name) for name in names()}))


if __name__ == "__main__":
    main()
