"""One path of one workload under pytest-benchmark: what bench_sections.py does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from time import perf_counter
from typing import Any

import pytest

from .cases.sizes import LARGE
from .machine import hardware, versions
from .measuring.candidate import Candidate
from .measuring.workload import Workload
from .suite import MODES, SECTIONS, Choice, workloads

MNIST_VARIABLE = "ONEPASS_MNIST"
"""The environment variable that names the folder of the four MNIST files."""

MODE_VARIABLE = "ONEPASS_BENCH"
"""The environment variable that shortens the suite: see `suite.MODES`; everything by default."""

_SAMPLE = 3  # calls that tell how many rounds fit
_MOST = 10_000  # rounds, unless more are asked for


def cases() -> list[Any]:
    """Every workload and path of every section, for `pytest.mark.parametrize`."""
    return list(_cases())


def _cases() -> Iterator[Any]:
    mnist = os.environ.get(MNIST_VARIABLE) or None
    mode = os.environ.get(MODE_VARIABLE) or "full"
    if mode not in MODES:
        raise ValueError(f"{MODE_VARIABLE} is {mode!r}; expected {', '.join(map(repr, MODES))}")
    for section, device in product(SECTIONS, ("cpu", "cuda")):
        for workload in workloads(section, Choice(mode, device, mnist)):
            marks = [pytest.mark.large] if workload.bytes >= 4 * LARGE else []
            for path in workload.paths:
                name = f"{workload}-{path.replace(' ', '_')}"
                yield pytest.param(workload, path, id=name, marks=marks)


def time_path(benchmark: Any, config: pytest.Config, workload: Workload, path: str) -> None:
    """Skip with the reason, or assert what the path computes, then time it.

    Every round is one call on data put back to where it began. There are as many rounds as fit into
    --benchmark-max-time, and --benchmark-min-rounds at least.
    """
    if reason := workload.missing(path):
        pytest.skip(f"{path}: {reason}")
    start = perf_counter()
    candidate = workload.prepare([path])[path]
    if candidate.told and not benchmark.disabled:
        pytest.skip(f"{path}: a call does more than what it tells the time of; see `onepass bench`")
    benchmark.group = " ".join(
        (workload.section, workload.operation, workload.label, workload.dtype)
    )
    benchmark.extra_info.update(
        **workload.facts(path, candidate),
        engine=path,
        prepare_seconds=perf_counter() - start,  # arrays, checks and, if not on disk, compiling
        versions=versions(),
        hardware=hardware(),
    )

    def setup() -> None:
        for step in (candidate.reset, candidate.before):
            if step is not None:
                step()

    warm = 1 if workload.warm and not benchmark.disabled else 0
    with workload.around():
        rounds = 1 if benchmark.disabled else _rounds(candidate, workload, config)
        benchmark.pedantic(candidate.call, setup=setup, rounds=rounds, warmup_rounds=warm)


def _rounds(candidate: Candidate, workload: Workload, config: pytest.Config) -> int:
    """How many calls fit into the time that the command line grants."""
    least = int(config.getoption("benchmark_min_rounds"))
    if not workload.warm:
        return least
    seconds = []
    for _ in range(_SAMPLE):
        begin = perf_counter()
        candidate.call()
        seconds.append(perf_counter() - begin)
    fitting = float(config.getoption("benchmark_max_time")) / max(min(seconds), 1e-6)
    return max(int(min(fitting, _MOST)), least)
