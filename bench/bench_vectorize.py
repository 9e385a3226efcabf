"""pytest-benchmark: logistic regression by Python loops, by NumPy, fused.

pytest bench/bench_vectorize.py
"""

from __future__ import annotations

from typing import Any

import pytest

from onepass.bench.one_path import cases, time_path
from onepass.bench.workload import Workload


@pytest.mark.parametrize(("workload", "path"), cases("vectorize"))
def bench_vectorize(
    benchmark: Any, pytestconfig: pytest.Config, workload: Workload, path: str
) -> None:
    time_path(benchmark, pytestconfig, workload, path)
