"""Stages "tests on the GPU", in a few processes, and "all other tests"."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from proving.machine.children import Ended
from proving.machine.machine import Machine
from proving.machine.record import RECORD, SHARD, read
from proving.machine.stage import FAILED, NOT_RUN, OUT_OF_TIME, PASSED, Place, Stage

ON_A_GPU, WITHOUT = "tests on the GPU", "all other tests"
MOST_SHARDS = 6  # processes that share the GPU
_REHEARSED = "tests/kernels/test_gradient_norm.py"
MOST_AGAIN = 30  # failed tests that are run again by themselves
LEAST_AGAIN = 20.0  # seconds that must be left for it

Lines = list[dict[str, Any]]


_PYTEST = ("-m", "pytest", "-q", "-p", "proving.machine.record", "-p", "no:cacheprovider")
_NO_HYPOTHESIS = "hypothesis is not installed, and the tests can't be collected without it"


def run_gpu_tests(machine: Machine, place: Place, seconds: float) -> list[Stage]:
    """Those marked `gpu`, shared out to processes that note into one file."""
    if reason := machine.why_no_gpu or _why_no_tests():
        return [Stage(ON_A_GPU, NOT_RUN, reason)]
    shards = max(1, min(MOST_SHARDS, place.cores // 2))
    record = place.stream("tests.jsonl")
    record.unlink(missing_ok=True)  # of another run
    where = ("--made-up-gpu", _REHEARSED) if place.rehearsal else ()
    programs = [
        place.python(
            f"gpu {k}/{shards}", *_PYTEST, "-m", "gpu", *where,
            **{RECORD: str(record), SHARD: f"{k}/{shards}"},
        )
        for k in range(1, shards + 1)
    ]  # fmt: skip
    ended = [*place.run(programs, seconds).values()]
    lines = list(read(record))
    if place.rehearsal:  # a few of them, which launch nothing on a GPU
        return [judge(ON_A_GPU, ended, lines)]
    return [judge_gpu(ended, lines, machine)]


def run_other_tests(machine: Machine, place: Place, seconds: float) -> list[Stage]:
    """Those that need no GPU, by pytest-xdist where it is there."""
    if reason := _why_no_tests():
        return [Stage(WITHOUT, NOT_RUN, reason)]
    deadline, record = time.monotonic() + seconds, place.folder / "others.jsonl"
    beside = ("-n", place.cores, "--dist", "worksteal") if find_spec("xdist") else ()
    environment = {RECORD: str(record), "PYTHONHASHSEED": "0"}
    others = place.python(WITHOUT, *_PYTEST, "-m", "not gpu", *beside, **environment)
    ended = place.run([others], seconds)
    rest = list(read(record))
    again = [line["test"] for line in rest if line.get("outcome") == "failed" and "when" in line]
    left = deadline - time.monotonic()
    alone: Lines = []
    if beside and 0 < len(again) <= MOST_AGAIN and left > LEAST_AGAIN:
        file = place.folder / "again.jsonl"
        once = place.python("again", *_PYTEST, *again, **{RECORD: str(file)})
        if place.run([once], left)["again"].status is not None:
            alone = list(read(file))
    return [judge(WITHOUT, [ended[WITHOUT]], rest, alone)]


def _why_no_tests() -> str:
    return "" if find_spec("hypothesis") else _NO_HYPOTHESIS


def judge_gpu(ended: list[Ended], lines: Lines, machine: Machine) -> Stage:
    """As `judge`; and every kernel that ships must have been launched."""
    stage = judge(ON_A_GPU, ended, lines)
    launched = {tuple(kernel) for line in lines for kernel in line.get("launched", ())}
    shipped = list(dict.fromkeys(tuple(k) for line in lines for k in line.get("shipped", ())))
    absent = [kernel for kernel in shipped if kernel not in launched]
    stage.details["kernels launched"] = len(shipped) - len(absent)
    stage.details["kernels not launched"] = [" ".join(kernel) for kernel in absent]
    if absent and stage.outcome == PASSED:
        why = "; ".join(f"{name}: {reason}" for name, reason in machine.engines.items())
        stage.outcome = NOT_RUN
        stage.reason = f"{len(absent)} of {len(shipped)} kernels were not launched" + (
            f" ({why})" if why else ""
        )
    return stage


def judge(name: str, ended: list[Ended], lines: Lines, alone: Iterable[Any] = ()) -> Stage:
    """The outcome of some pytest processes.

    Args:
        lines: of their records.
        alone: those of failed tests that were run again by themselves. Tests beside each other take
            each other's cores, and a few look at time: what passes alone is told, and no failure.
    """
    tests = [line for line in lines if "test" in line]
    passing = {line["test"] for line in alone if line.get("outcome") == "passed"}
    passing -= {line["test"] for line in alone if line.get("outcome") == "failed"}
    failed = [line for line in tests if line["outcome"] == "failed"]
    lost = [line for line in failed if line["test"] not in passing]
    slowest = sorted(tests, key=lambda line: -line.get("seconds", 0.0))[:5]
    details = {
        **Counter(line["outcome"] for line in tests),
        "failures": {line["test"]: line["why"] for line in lost},
        "passed alone only": sorted({line["test"] for line in failed} & passing),
        "skipped because": dict(
            Counter(line["why"] for line in tests if line["outcome"] == "skipped").most_common()
        ),
        "slowest": {line["test"]: round(line.get("seconds", 0.0), 2) for line in slowest},
    }
    stage = Stage(name, PASSED, seconds=max(one.seconds for one in ended), details=details)
    broken = [one for one in ended if one.status not in (None, 0, 1)]
    if lost:
        stage.outcome = FAILED
        stage.reason = f"{len(lost)} failed, first {lost[0]['test']}"
        if any(one.status is None for one in ended):
            stage.reason += f"; and time ran out after {len(tests)} tests"
    elif broken:
        stage.outcome = FAILED
        stage.reason = f"pytest ended with status {broken[0].status}: {broken[0].tail(3)}"
    elif any(one.status is None for one in ended):
        stage.outcome, stage.reason = OUT_OF_TIME, f"{len(tests)} tests had ended"
    elif any(one.status == 1 for one in ended) and not failed:
        stage.outcome, stage.reason = FAILED, f"pytest ended with status 1: {ended[0].tail(3)}"
    elif not tests:
        stage.outcome, stage.reason = FAILED, "no test was run"
    return stage
