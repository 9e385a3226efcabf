"""Stage "kernels": every kernel of the library once or a few times, held to the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proving.machine.children import Ended
from proving.machine.machine import Machine
from proving.machine.stage import FAILED, NOT_RUN, OUT_OF_TIME, PASSED, Place, Stage

NAME = "kernels"
ENGINES = ("cupy", "numba-cuda")
DTYPES = ("float32", "float16", "float64")


def engines_of(machine: Machine) -> list[str]:
    """The engines for GPUs that can be used."""
    return [engine for engine in ENGINES if engine not in machine.engines]


def run_each_kernel(machine: Machine, place: Place, seconds: float) -> list[Stage]:
    """A process an engine and dtype, all at once."""
    if machine.why_no_gpu:
        return [Stage(NAME, NOT_RUN, machine.why_no_gpu)]
    dtypes = DTYPES[:1] if place.rehearsal else DTYPES
    runs = [f"{engine} {dtype}" for engine in engines_of(machine) for dtype in dtypes]
    files = {name: place.folder / f"kernels-{name.replace(' ', '-')}.json" for name in runs}
    programs = [
        place.python(
            name, "-m", "proving.machine.kernels_once",
            *("--engine", name.split()[0], "--dtype", name.split()[1], "--json", files[name]),
        )
        for name in runs
    ]  # fmt: skip
    ended = place.run(programs, seconds)
    return [judge(ended, {name: launched(file) for name, file in files.items()}, machine.engines)]


def launched(file: Path) -> dict[str, Any]:
    """What a program told so far: "runs" held to the oracle, kernels "launched" and "missing"."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"runs": 0, "launched": [], "missing": []}
    return found


def judge(
    ended: dict[str, Ended], told: dict[str, dict[str, Any]], absent: dict[str, str]
) -> Stage:
    """Passed if every program launched all of its kernels, and an engine is missing nowhere."""
    details: dict[str, Any] = {
        "kernels launched": sum(len(one["launched"]) for one in told.values()),
        "runs held to the oracle": sum(one["runs"] for one in told.values()),
    }
    if absent:
        details["left out"] = absent
    seconds = max((one.seconds for one in ended.values()), default=0.0)
    stage = Stage(NAME, PASSED, seconds=seconds, details=details)
    wrong = [name for name, one in ended.items() if one.status]
    late = [name for name, one in ended.items() if one.status is None]
    if wrong:
        stage.outcome = FAILED
        stage.reason = f"{wrong[0]} ended with status {ended[wrong[0]].status}"
        stage.reason += f": {ended[wrong[0]].tail(3)}"
        details["output"] = {name: ended[name].tail(60) for name in wrong}
    elif late:
        stage.outcome, stage.reason = OUT_OF_TIME, f"{', '.join(late)} had not ended"
    elif absent or not ended:
        stage.outcome = NOT_RUN
        stage.reason = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
    return stage
