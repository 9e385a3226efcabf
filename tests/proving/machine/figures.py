"""Stages "figures" and "benchmark": parts of `onepass bench` on the GPU, alone there.

The first has the sections that tell the GPU's own time and the host's apart, a training step, and
many small tensors. The second has the rest: whole calls that are waited for, in every section.
"""

from __future__ import annotations

import json
from typing import Any

from proving.machine.children import Ended
from proving.machine.machine import Machine
from proving.machine.stage import (
    FAILED,
    NOT_RUN,
    OUT_OF_TIME,
    PASSED,
    WORTHLESS,
    Place,
    Stage,
)

FIGURES, BENCHMARK = "figures", "benchmark"
SECTIONS = ("calls", "kernels", "training-steps", "tensors")
_PROGRAM = """
import json, sys
from onepass.bench import command

report, failures, seconds, mode, only, mark = sys.argv[1:]
wrong = []
only = json.loads(only)
if mark:  # whose figures are nobody's
    from onepass.bench.gpu import cupy_clocks
    command.hardware = lambda: [mark]
    cupy_clocks._HOST, cupy_clocks._MOST, cupy_clocks._LONGEST = 3, 3, 1e-4
command.bench(mode, "cuda", json=report, seconds=float(seconds), failures=wrong, only=only)
with open(failures, "w", encoding="utf-8") as file:
    json.dump(wrong, file)
"""
_LAST = 20.0  # seconds for the workload that is under way when no further one is begun
_NOT_BEGUN = "not begun"
Report = dict[str, Any]


def run_figures(
    machine: Machine, place: Place, seconds: float
) -> tuple[list[Stage], Report | None]:
    """The stage, and the report that `onepass bench` wrote, after each of its workloads anew."""
    return _run(FIGURES, SECTIONS, machine, place, seconds)


def run_benchmark(
    machine: Machine, place: Place, seconds: float
) -> tuple[list[Stage], Report | None]:
    """The same of whole calls."""
    return _run(BENCHMARK, ("steps", "batch-norm", "elementwise"), machine, place, seconds)


def _run(
    name: str, sections: tuple[str, ...], machine: Machine, place: Place, seconds: float
) -> tuple[list[Stage], Report | None]:
    if machine.why_no_gpu:
        return [Stage(name, NOT_RUN, machine.why_no_gpu)], None
    files = place.stream(f"{name}.json"), place.folder / f"{name}-failures.json"
    files[0].unlink(missing_ok=True)  # of another run
    mode = "small" if place.rehearsal else "default"
    limit = max(seconds - _LAST, 1.0)
    what = json.dumps(sections), WORTHLESS if place.rehearsal else ""
    program = place.python(name, "-c", _PROGRAM, *files, limit, mode, *what)
    ended = place.run([program], seconds)[name]
    report, failures = (
        json.loads(file.read_text(encoding="utf-8")) if file.exists() else None for file in files
    )
    return [judge(name, ended, report, failures or [])], report


def joined(first: Report | None, second: Report | None) -> Report | None:
    """Two reports of one machine as one."""
    if first is None or second is None:
        return first or second
    lists = ("measurements", "curves", "skipped", "figures")
    return {**first, **{name: [*first[name], *second[name]] for name in lists}}


def judge(name: str, ended: Ended, report: Report | None, failures: list[str]) -> Stage:
    """Passed if everything was measured. A figure that is missed is told, and fails nothing."""
    stage = Stage(name, PASSED, seconds=ended.seconds)
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
        "left out": {
            f"{one['section']} {one['path']}": one["reason"]
            for one in report["skipped"]
            if one not in late
        },
    }
    ours = [one for one in report["measurements"] if one["path"] == "cupy"]
    if failures:
        stage.outcome, stage.reason = FAILED, f"{len(failures)} went wrong, first {failures[0]}"
    elif ended.status:
        stage.outcome, stage.reason = FAILED, f"it ended with status {ended.status}"
    elif late or ended.status is None:
        stage.outcome = OUT_OF_TIME
        stage.reason = f"{len(late)} workloads were not begun"
        if ended.status is None:
            stage.reason = f"it was ended after {len(report['measurements'])} measurements"
    elif not ours:
        stage.outcome, stage.reason = NOT_RUN, "no kernel of the library was measured"
    return stage
