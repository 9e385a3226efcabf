"""pytest-benchmark: one Adam step over 3,000 small tensors, separate and in one buffer.

pytest bench/bench_tensors.py
"""

from __future__ import annotations

from typing import Any

import pytest

from onepass.bench.one_path import cases, time_path
from onepass.bench.workload import Workload


@pytest.mark.parametrize(("workload", "path"), cases("tensors"))
def bench_tensors(
    benchmark: Any, pytestconfig: pytest.Config, workload: Workload, path: str
) -> None:
    time_path(benchmark, pytestconfig, workload, path)
