"""Stage "benchmark": the suite on the GPU, alone there, beside CuPy, PyTorch and a copy."""

from __future__ import annotations

import json
from typing import Any

from proving.machine.children import Ended
from proving.machine.machine import Machine
from proving.machine.stage import FAILED, NOT_RUN, OUT_OF_TIME, PASSED, Place, Stage

NAME = "benchmark"
_PROGRAM = """
import json, sys
from onepass.bench.command import bench

report, failures, seconds, mode = sys.argv[1:]
wrong = []
bench(mode, "cuda", json=report, seconds=float(seconds), failures=wrong)
with open(failures, "w", encoding="utf-8") as file:
    json.dump(wrong, file)
"""
_LAST = 20.0  # seconds for the workload that is under way when no further one is begun
_NOT_BEGUN = "not begun"


def run_benchmark(
    machine: Machine, place: Place, seconds: float, mode: str = "default"
) -> tuple[list[Stage], dict[str, Any] | None]:
    """The stage, and the report that `onepass bench` wrote."""
    if machine.why_no_gpu:
        return [Stage(NAME, NOT_RUN, machine.why_no_gpu)], None
    files = place.folder / "bench.json", place.folder / "bench-failures.json"
    program = place.python(NAME, "-c", _PROGRAM, *files, max(seconds - _LAST, 1.0), mode)
    ended = place.run([program], seconds)[NAME]
    report, failures = (
        json.loads(file.read_text(encoding="utf-8")) if file.exists() else None for file in files
    )
    return [judge(ended, report, failures or [])], report


def judge(ended: Ended, report: dict[str, Any] | None, failures: list[str]) -> Stage:
    """Passed if everything was measured. A figure that is missed is told, and fails nothing."""
    stage = Stage(NAME, PASSED, seconds=ended.seconds)
    if report is None:
        stage.outcome, stage.reason = OUT_OF_TIME, "nothing was written"
        if ended.status is not None:
            stage.outcome = FAILED
            stage.reason = f"it ended with status {ended.status}: {ended.tail(3)}"
        return stage
    late = [one for one in report["skipped"] if one["reason"].startswith(_NOT_BEGUN)]
    figures = [one for one in report["figures"] if one.get("at_least") is not None]
    stage.details = {
        "measurements": len(report["measurements"]),
        "figures judged": len(figures),
        "figures missed": [one["figure"] for one in figures if not one["reached"]],
        "failures": failures,
        "not begun": [f"{one['section']} {one['path']}" for one in late],
    }
    ours = [one for one in report["measurements"] if one["path"] == "cupy"]
    if failures:
        stage.outcome, stage.reason = FAILED, f"{len(failures)} went wrong, first {failures[0]}"
    elif ended.status:
        stage.outcome, stage.reason = FAILED, f"it ended with status {ended.status}"
    elif late or ended.status is None:
        stage.outcome, stage.reason = OUT_OF_TIME, f"{len(late)} workloads were not begun"
    elif not ours:
        stage.outcome, stage.reason = NOT_RUN, "no kernel of the library was measured"
    return stage
