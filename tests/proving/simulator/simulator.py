"""The engine "numba-cuda" on Numba's CUDA simulator: what the scripts beside this one share.

The simulator must be on before Numba starts, so each is a process of its own (tools.py).
It runs the engine itself, launches included, with NumPy arrays in the place of CuPy's, and prints
one JSON object: each case, what was wrong with it, and the kernels that ran.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

from onepass.kernels.compiling.gpu import cuda_launch

from proving.host.device import STREAM, OnHost, poisoned
from proving.simulator.tools import Outcome

CONTROL = "control"  # a formula that isn't what it is compared with


def shared_array(self: Any, shape: Any, dtype: Any, alignment: Any = None) -> Any:
    """`cuda.shared.array`; the simulator's own gives two threads that ask at once an array each."""
    frame = sys._getframe(1)
    place = frame.f_code.co_filename, frame.f_lineno
    return self._allocations.setdefault(place, poisoned(shape, str(dtype)))


@dataclass(frozen=True)
class Simulated(OnHost):
    """How kernels of the engine "numba-cuda" run; here those of the rules."""

    threads: int = 8
    blocks: int = 3  # so few that each thread takes several elements

    name: ClassVar[str] = "numba-cuda"

    def _patches(self) -> Iterable[Any]:
        from numba import cuda
        from numba.cuda.simulator.kernelapi import FakeCUDAShared

        yield mock.patch.object(FakeCUDAShared, "array", shared_array)
        yield mock.patch.multiple(cuda_launch, THREADS=self.threads, MAX_BLOCKS=self.blocks)
        yield mock.patch.object(cuda, "external_stream", {STREAM: 0}.__getitem__, create=True)


def outcome(device: Simulated, check: Callable[[Simulated], None]) -> Outcome:
    """What is wrong, from the public function down to the simulated threads."""
    try:
        check(device)
    except Exception as error:  # whatever it is, it is the case's result
        return Outcome(f"{type(error).__name__}: {error}", [])
    return Outcome("", sorted(set(device.launched)))


def tell(names: Iterable[str], check: Callable[[str], Outcome]) -> None:
    """Print what each case came to."""
    import numba.cuda  # noqa: F401  # before another CuPy is in the real one's place

    sys.setswitchinterval(1e-4)  # threads that wait for each other give way sooner
    warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's on inf and NaN, in every thread
    print(json.dumps({name: check(name) for name in names}))
