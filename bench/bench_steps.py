"""pytest-benchmark: one step of every rule, by every path.

pytest bench/bench_steps.py -k "adam and 1e6" --benchmark-json=adam.json
"""

from __future__ import annotations

from typing import Any

import pytest

from onepass.bench.one_path import cases, time_path
from onepass.bench.workload import Workload


@pytest.mark.parametrize(("workload", "path"), cases("steps"))
def bench_steps(benchmark: Any, pytestconfig: pytest.Config, workload: Workload, path: str) -> None:
    time_path(benchmark, pytestconfig, workload, path)
