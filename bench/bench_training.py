"""pytest-benchmark: an epoch of training on digits, and on MNIST where its folder is named.

ONEPASS_MNIST=FOLDER pytest bench/bench_training.py
"""

from __future__ import annotations

from typing import Any

import pytest

from onepass.bench.one_path import cases, time_path
from onepass.bench.workload import Workload


@pytest.mark.parametrize(("workload", "path"), cases("training"))
def bench_training(
    benchmark: Any, pytestconfig: pytest.Config, workload: Workload, path: str
) -> None:
    time_path(benchmark, pytestconfig, workload, path)
