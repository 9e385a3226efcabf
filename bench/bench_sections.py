"""pytest-benchmark: every path of every workload, a section after the other.

pytest bench -k "steps and adam and 1e6" --benchmark-json=adam.json
ONEPASS_MNIST=FOLDER pytest bench -k training
"""

from __future__ import annotations

from typing import Any

import pytest
from onepass.bench.measuring.workload import Workload
from onepass.bench.one_path import cases, time_path


@pytest.mark.parametrize(("workload", "path"), cases())
def bench_section(
    benchmark: Any, pytestconfig: pytest.Config, workload: Workload, path: str
) -> None:
    time_path(benchmark, pytestconfig, workload, path)
