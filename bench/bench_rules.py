"""pytest-benchmark: one step of every rule, by the array path, the fused path and the limit.

    pytest bench                                 # everything, with pytest-benchmark's own flags
    pytest bench -k "adam and 1e6" --benchmark-json=adam.json

Results are grouped by rule and size; `extra_info` holds what is needed to read them later.
"""

from __future__ import annotations

from typing import Any

import pytest
from onepass import describe_devices, get_backend, kernels
from onepass.bench.cases import CASES, assert_same
from onepass.bench.info import versions
from onepass.bench.limits import mover

SIZES = {"1e3": 1_000, "1e5": 100_000, "1e6": 1_000_000, "1e7": 10_000_000}
ENGINES = ("array", "numba", "cupy", "numba-cuda")


@pytest.mark.parametrize("label", SIZES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def bench_step(benchmark: Any, name: str, engine: str, label: str) -> None:
    status = kernels.engines()[engine]
    if not status.available:
        pytest.skip(f"{engine}: {status.reason}")
    case, size = CASES[name], SIZES[label]
    backend = get_backend("cuda" if status.devices == ("cuda",) else "cpu")
    assert_same(case, min(size, 100_000), "float32", backend, engine)
    call = case.call(case.arrays(size, "float32", backend), engine)
    _describe(benchmark, name, label, engine, backend.device, case.bytes_per_element() * size)

    def step() -> None:
        call()
        backend.synchronize()

    step()  # compiled before anything is timed
    benchmark(step)


@pytest.mark.parametrize("label", SIZES)
@pytest.mark.parametrize("name", CASES)
def bench_limit(benchmark: Any, name: str, label: str) -> None:
    case, size = CASES[name], SIZES[label]
    move = mover(case.arrays(size, "float32", get_backend("cpu")))
    _describe(benchmark, name, label, "limit", "cpu", case.bytes_per_element() * size)
    move()
    benchmark(move)


def _describe(benchmark: Any, name: str, label: str, engine: str, device: str, moved: int) -> None:
    benchmark.group = f"{name} {label}"
    benchmark.extra_info.update(
        rule=name,
        size=SIZES[label],
        engine=engine,
        device=device,
        dtype="float32",
        bytes=moved,
        versions=versions(),
        hardware=[str(status) for status in describe_devices()],
    )
