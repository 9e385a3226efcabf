"""pytest-benchmark: batch normalization by every engine, and the limit.

pytest bench -k "batch_norm and 56" --benchmark-json=norm.json
"""

from __future__ import annotations

from typing import Any

import pytest
from onepass import describe_devices, get_backend, kernels
from onepass.bench.info import versions
from onepass.bench.norm_cases import (
    BYTES_BACKWARD,
    BYTES_FORWARD,
    CHANNELS_LAST,
    DENSE,
    IMAGES,
    NormCase,
    assert_same_norm,
)
from onepass.bench.numba_norm_limits import movers

CASES = {case.name: case for case in (*IMAGES, *CHANNELS_LAST, *DENSE)}
ENGINES = ("array", "numba", "cupy", "numba-cuda")
BYTES = {"forward": BYTES_FORWARD, "backward": BYTES_BACKWARD, "inference": 2}


@pytest.mark.parametrize("activation", [None, "relu"], ids=["linear", "relu"])
@pytest.mark.parametrize("what", BYTES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def bench_batch_norm(
    benchmark: Any, name: str, engine: str, what: str, activation: str | None
) -> None:
    status = kernels.engines()[engine]
    if not status.available:
        pytest.skip(f"{engine}: {status.reason}")
    case = CASES[name]
    backend = get_backend("cuda" if status.devices == ("cuda",) else "cpu")
    small = NormCase((4, *case.shape[1:]), case.axis)
    assert_same_norm(small, "float32", backend, engine, activation)
    call = case.calls(case.arrays("float32", backend), engine, activation)[what]
    _describe(benchmark, case, what, engine, backend.device, activation)

    def run() -> None:
        call()
        backend.synchronize()

    run()  # compiled before anything is timed
    benchmark(run)


@pytest.mark.parametrize("what", ["forward", "backward"])
@pytest.mark.parametrize("name", CASES)
def bench_batch_norm_limit(benchmark: Any, name: str, what: str) -> None:
    case = CASES[name]
    arrays = case.arrays("float32", get_backend("cpu"))
    _describe(benchmark, case, what, "limit", "cpu", None)
    benchmark(movers(arrays["x"], arrays["dy"])[what])


def _describe(
    benchmark: Any, case: NormCase, what: str, engine: str, device: str, activation: str | None
) -> None:
    benchmark.group = f"batch norm {what} {case.name}{' relu' if activation else ''}"
    benchmark.extra_info.update(
        operation=f"batch_norm_{what}",
        shape=case.shape,
        channel_axis=case.axis,
        activation=activation,
        engine=engine,
        device=device,
        dtype="float32",
        bytes=4 * BYTES[what] * case.size,
        versions=versions(),
        hardware=[str(status) for status in describe_devices()],
    )
