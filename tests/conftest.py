"""Fixtures: one engine at a time on its own device. What a run is made of is in runs.py."""

from __future__ import annotations

import os
import signal

# Two BLAS threads stall each other beside any other busy process, and training crawls; PyTorch's
# OpenMP threads do, too, unless they sleep while they wait.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# What JAX computes is compared, and never timed: it compiles in half the time.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# PyTorch would compile a file for each kind of SIMD that the processor has, to see whether it can.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # what a shell starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from onepass import kernels
from runs import (  # noqa: F401
    pytest_addoption,
    pytest_collection,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_generate_tests,
    pytest_ignore_collect,
    pytest_runtest_call,
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_sessionstart,
    pytest_terminal_summary,
    pytest_testnodedown,
    pytest_xdist_make_scheduler,
    why_not,
)
from tolerances import GPU_FACTOR

# No outcome depends on the clock: a busy machine draws slowly too.
_UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("local", max_examples=20, **_UNTIMED)
settings.register_profile("ci", max_examples=20, derandomize=True, print_blob=True, **_UNTIMED)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@dataclass(frozen=True)
class Engine:
    """An engine and the device its arrays live on."""

    name: str
    device: str

    @property
    def factor(self) -> float:
        return GPU_FACTOR if self.device == "cuda" else 1.0

    @property
    def dtypes(self) -> tuple[str, ...]:
        from onepass import kernels

        return tuple(kernels.engines()[self.name].dtypes)

    def asarray(self, array: Any) -> Any:
        """The same values and dtype on this engine's device, in memory of their own."""
        import onepass

        copy = np.array(array)
        return copy if self.device == "cpu" else onepass.get_backend("cuda").asarray(copy)

    def to_numpy(self, array: Any) -> np.ndarray[Any, Any]:
        import onepass

        if isinstance(array, np.ndarray | np.generic):
            return np.asarray(array)
        return np.asarray(onepass.get_backend("cuda").to_numpy(array))

    def kernel(self, name: str) -> Any:
        """The public function `name`, asked to run on this engine."""
        from onepass import kernels

        def run(*args: Any, **options: Any) -> Any:
            return getattr(kernels, name)(*args, engine=self.name, **options)

        return run

    def arrays(
        self, rule: Any, shape: Any = 5, dtype: str = "float32", **options: Any
    ) -> dict[str, Any]:
        """Good arguments for a rule, with these options: param 1, grad 0.5, states 0.25."""
        values = {"param": 1.0, "grad": 0.5}
        return {
            name: self.asarray(np.full(shape, values.get(name, 0.25), dtype))
            for name in rule.arrays_with(options)
        }

    def options(self, rule: Any, **changed: Any) -> dict[str, Any]:
        """The options a rule can't do without, and those given."""
        needed = {"lr": 0.1, "step": 1}
        return {k: v for k, v in needed.items() if k in rule.options} | changed

    @contextmanager
    def refuses(self, error: Any, arrays: dict[str, Any], *words: str) -> Iterator[None]:
        """The block raises `error`, names every one of `words`, and writes to none of `arrays`."""
        kept = {name: self._bytes(array) for name, array in arrays.items()}
        with pytest.raises(error) as caught:
            yield
        for name, array in arrays.items():
            assert self._bytes(array) == kept[name], f"{name} was written before the error"
        for word in words:
            assert word in str(caught.value), f"{word!r} is not in: {caught.value}"

    def _bytes(self, array: Any) -> bytes:
        numeric = hasattr(array, "__array__") or hasattr(array, "__cuda_array_interface__")
        return (
            self.to_numpy(array).tobytes()
            if numeric and hasattr(array, "tobytes")
            else repr(array).encode()
        )


@pytest.fixture(scope="session")  # runs.py has its parameters
def engine(request: pytest.FixtureRequest) -> Engine:
    """Every engine in turn; skipped, with the library's own reason, where it can't run."""
    return _usable(*request.param)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """`kernels.set_num_threads`; afterwards the number is what it was."""
    before = kernels.get_num_threads()
    yield kernels.set_num_threads
    kernels.set_num_threads(before)


@pytest.fixture(scope="session")
def reference(request: pytest.FixtureRequest) -> Engine:
    """The array engine on each device, for what does not depend on the engine."""
    return _usable(*request.param)


def _usable(name: str, device: str) -> Engine:
    if reason := why_not(name, device):
        pytest.skip(reason)
    return Engine(name, device)
