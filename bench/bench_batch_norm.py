"""pytest-benchmark: batch normalization, both directions and inference, by every path.

pytest bench/bench_batch_norm.py -k "56 and relu"
"""

from __future__ import annotations

from typing import Any

import pytest

from onepass.bench.one_path import cases, time_path
from onepass.bench.workload import Workload


@pytest.mark.parametrize(("workload", "path"), cases("batch-norm"))
def bench_batch_norm(
    benchmark: Any, pytestconfig: pytest.Config, workload: Workload, path: str
) -> None:
    time_path(benchmark, pytestconfig, workload, path)
