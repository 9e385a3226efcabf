"""pytest-benchmark: elementwise kernels, by every path.

pytest bench/bench_elementwise.py -k dropout
"""

from __future__ import annotations

from typing import Any

import pytest

from onepass.bench.one_path import cases, time_path
from onepass.bench.workload import Workload


@pytest.mark.parametrize(("workload", "path"), cases("elementwise"))
def bench_elementwise(
    benchmark: Any, pytestconfig: pytest.Config, workload: Workload, path: str
) -> None:
    time_path(benchmark, pytestconfig, workload, path)
