"""Activations on Numba's CUDA simulator, as a script: the simulator must be on before Numba starts.

It runs the engine "numba-cuda" itself, launches included, with NumPy arrays in the place of CuPy's,
and prints one JSON object: each case, what was wrong with it, and the kernels that ran.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

from proving.simulator.tools import Outcome

THREADS, BLOCKS = 8, 3  # so few that each thread takes several elements, one of them one more
SHAPE = (5, 11)
STREAM = 7  # CuPy's current stream: an address
KINDS = ("linear", "relu", "leaky_relu", "sigmoid", "tanh")
CASES = [f"{kind} {dtype}" for kind in KINDS for dtype in ("float16", "float32", "float64")]
CONTROL = "control"


def names() -> list[str]:
    return [*CASES, CONTROL]


class Simulated:
    """What conftest.Engine offers, as far as checks of activations use it."""

    name, factor = "numba-cuda", 1.0

    def __init__(self) -> None:
        self.launched: set[tuple[str, str]] = set()

    def asarray(self, array: Any) -> Any:
        from proving.host.elementwise import on_host

        return on_host(array)

    def to_numpy(self, array: Any) -> Any:
        return array

    def kernel(self, name: str) -> Callable[..., Any]:
        """The public function `name`, run on the simulator."""
        from numba import cuda
        from onepass import kernels
        from onepass.kernels.activation import gpu_sums as gpu
        from onepass.kernels.activation import numba_cuda
        from onepass.kernels.rule_engines import numba_cuda as launches

        make = numba_cuda.kernel.__wrapped__

        def kernel(name: str, dtype: str, biased: bool = False) -> Any:
            self.launched.add((f"activation_{name}", dtype))
            return make(name, dtype, biased)

        def add_rows(dz: Any, bias_grad: Any) -> None:
            """As CuPy, which adds float16 up in float32."""
            dtype = "float64" if dz.dtype == "float64" else "float32"
            bias_grad[...] = dz.reshape(-1, bias_grad.size).sum(axis=0, dtype=dtype)

        def run(*args: Any, **options: Any) -> Any:
            stream = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=STREAM))
            found = SimpleNamespace(name="numba-cuda")
            with (
                mock.patch.dict(sys.modules, {"cupy": SimpleNamespace(cuda=stream)}),
                mock.patch.object(cuda, "external_stream", {STREAM: 0}.__getitem__, create=True),
                mock.patch.multiple(launches, THREADS=THREADS, MAX_BLOCKS=BLOCKS),
                mock.patch.object(numba_cuda, "kernel", kernel),
                mock.patch.object(gpu, "add_rows", add_rows),
                mock.patch("onepass.kernels.operation.find_engine", return_value=found),
            ):
                return getattr(kernels, name)(*args, engine="numba-cuda", **options)

        return run


def check(name: str) -> Outcome:
    """What is wrong with y, dz and bias_grad, from the public function down to the threads."""
    from cases import activation as activation_cases
    from onepass.kernels.activation import formula

    kind, dtype = name.split() if name in CASES else ("relu", "float32")
    wrong = {"relu_gradient": formula.leaky_relu_gradient} if name == CONTROL else {}
    device = Simulated()
    with mock.patch.dict(formula.FORMULAS, wrong):
        try:
            for biased in (True, False):
                for out in (False, True):
                    case = activation_cases.make(SHAPE, kind, dtype, biased=biased)
                    activation_cases.check(device, case, out)
        except Exception as error:  # whatever it is, it is the case's result
            return Outcome(f"{type(error).__name__}: {error}", [])
    return Outcome("", sorted(device.launched))


def main() -> None:
    warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's on inf and NaN, in every thread
    print(json.dumps({name: check(name) for name in names()}))


if __name__ == "__main__":
    main()
