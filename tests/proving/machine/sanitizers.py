"""Stage "sanitizers": NVIDIA's compute-sanitizer over every kernel of the library.

Each tool must also find a mistake that was planted for it: one that finds nothing may have looked
at nothing. Without a GPU, the program that runs the kernels is rehearsed on the CPU's engines.
"""

from __future__ import annotations

import re
from pathlib import Path

from proving.machine.children import Ended, Program
from proving.machine.each_kernel import engines_of, launched
from proving.machine.machine import Machine, tool
from proving.machine.stage import FAILED, NOT_RUN, OUT_OF_TIME, PASSED, Place, Stage

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
ON_THE_CPU = ("array", "numba")
NAME = "sanitizers"
_ONCE = "-m", "proving.machine.kernels_once"
_ERRORS = re.compile(r"ERROR SUMMARY: (\d+) error")
_HAZARDS = re.compile(r"RACECHECK SUMMARY: (\d+) hazard")
_NO_TOOL = "compute-sanitizer is not there: it comes with the CUDA toolkit; put it on the PATH"


def run_sanitizers(machine: Machine, place: Place, seconds: float) -> list[Stage]:
    """Every tool over every engine in float32, and over what was planted for it, all at once;
    memcheck over all dtypes, which have kernels of their own."""
    if machine.why_no_gpu:
        return [_rehearsal(machine, place, seconds)]
    checker = tool("compute-sanitizer")
    if checker is None:
        return [Stage(NAME, NOT_RUN, _NO_TOOL)]
    programs: list[Program] = []
    engines = engines_of(machine)
    for name in TOOLS:
        for engine in engines:
            what = ["--engine", engine, "--json", _file(place, name, engine)]
            if name != "memcheck" or place.rehearsal:
                what += ["--dtype", "float32"]
            programs.append(
                _checked(checker, name, place.python(f"{name} {engine}", *_ONCE, *what))
            )
        planted = place.python(f"{name} planted", *_ONCE, "--plant", name)
        programs.append(_checked(checker, name, planted))
    ended = place.run(programs, seconds)
    kernels = {
        f"{name} {engine}": len(launched(_file(place, name, engine))["launched"])
        for name in TOOLS
        for engine in engines
    }
    return [judge(ended, kernels)]


def _checked(checker: str, name: str, program: Program) -> Program:
    # Numba looks up functions that a driver may lack: each would count as an error of ours.
    quiet = ["--report-api-errors", "no"] if name == "memcheck" else []
    command = [checker, "--tool", name, "--print-limit", "5", *quiet, *program.command]
    return Program(program.name, command, program.environment)


def _file(place: Place, name: str, engine: str) -> Path:
    return place.folder / f"{name}-{engine}.json"


def errors_in(output: str) -> int | None:
    """What a tool found, errors or hazards; None where its last word is missing."""
    counts = [*_ERRORS.findall(output), *_HAZARDS.findall(output)]
    return sum(map(int, counts)) if counts else None


def judge(ended: dict[str, Ended], kernels: dict[str, int]) -> Stage:
    """Passed if every tool found its planted mistake, and nothing else in kernels that all ran."""
    runs, wrong, late, absent = {}, [], [], []
    for name, one in ended.items():
        errors, planted = errors_in(one.output), name.endswith(" planted")
        runs[name] = {"errors": errors, "status": one.status, "seconds": one.seconds}
        if not planted:
            runs[name]["kernels"] = kernels[name]
        if one.status is None:
            late.append(name)
        elif errors is None and (said := _refused(one.output)):
            absent.append(f"{name}: {said}")
        elif errors is None:
            wrong.append((name, f"{name} ended with status {one.status} and no summary"))
        elif planted and not errors:
            wrong.append((name, f"{name}: the mistake was not found"))
        elif not planted and errors:
            wrong.append((name, f"{name}: {errors} found"))
        elif not planted and one.status:
            wrong.append((name, f"{name}: the program ended with status {one.status}"))
    seconds = max((one.seconds for one in ended.values()), default=0.0)
    stage = Stage(NAME, PASSED, seconds=seconds, details={"runs": runs})
    if wrong:
        stage.outcome, stage.reason = FAILED, "; ".join(reason for _, reason in wrong)
        stage.details["output"] = {name: ended[name].tail(60) for name, _ in wrong}
    elif absent:
        stage.outcome, stage.reason = NOT_RUN, "; ".join(absent)
    elif late:
        stage.outcome, stage.reason = OUT_OF_TIME, f"{', '.join(late)} had not ended"
    return stage


def _refused(output: str) -> str:
    """The line in which the tool says that it can't check this device or program."""
    lines = (line.strip("= ") for line in output.splitlines() if line.startswith("========="))
    words = ("not supported", "unable to", "no attachable process", "failed to initialize")
    return next((line for line in lines if any(word in line.lower() for word in words)), "")


def _rehearsal(machine: Machine, place: Place, seconds: float) -> Stage:
    programs = [
        place.python(engine, _ONCE, "--engine", engine, "--device", "cpu") for engine in ON_THE_CPU
    ]
    ended = place.run(programs, seconds)
    wrong = [name for name, one in ended.items() if one.status != 0]
    details = {"rehearsal": {name: one.tail(1) for name, one in ended.items()}}
    if wrong:
        reason = f"the rehearsal on {wrong[0]} ended with status {ended[wrong[0]].status}"
        return Stage(NAME, FAILED, f"{reason}: {ended[wrong[0]].tail(3)}", details=details)
    rehearsed = f"its program was rehearsed on the CPU's {' and '.join(ON_THE_CPU)}"
    return Stage(NAME, NOT_RUN, f"{machine.why_no_gpu}; {rehearsed}", details=details)
