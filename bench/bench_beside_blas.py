"""pytest-benchmark: a step alone and right after a matrix product.

pytest bench/bench_beside_blas.py
"""

from __future__ import annotations

from typing import Any

import pytest

from onepass.bench.one_path import cases, time_path
from onepass.bench.workload import Workload


@pytest.mark.parametrize(("workload", "path"), cases("beside-blas"))
def bench_beside_blas(
    benchmark: Any, pytestconfig: pytest.Config, workload: Workload, path: str
) -> None:
    time_path(benchmark, pytestconfig, workload, path)
