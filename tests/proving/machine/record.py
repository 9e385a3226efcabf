"""A pytest plugin that notes every test as it ends, so that a run that is cut short tells too.

    PYTHONPATH=tests pytest -p proving.machine.record

ONEPASS_RECORD names the file, a JSON object a line, which several processes may share.
ONEPASS_SHARD=2/4 runs the second of four parts of the tests. Under xdist each worker keeps to two
cores, so that its threads don't spin on those of the others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from proving import account as proof

RECORD, SHARD = "ONEPASS_RECORD", "ONEPASS_SHARD"
CORES = 2  # of an xdist worker


def pytest_addoption(parser: pytest.Parser) -> None:
    if find_spec("pytest_timeout") is None:  # or the project's setting of it would be unknown
        parser.addini("timeout", "seconds for a test, by pytest-timeout, which is not installed")


def pytest_configure(config: pytest.Config) -> None:
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        number = int(worker.removeprefix("gw"))
        os.sched_setaffinity(0, {cores[(number + k) % len(cores)] for k in range(CORES)})
    elif not worker and RECORD in os.environ:
        config.pluginmanager.register(Record(Path(os.environ[RECORD])))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if SHARD not in os.environ:
        return
    number, count = map(int, os.environ[SHARD].split("/"))
    mine = shards((item.nodeid for item in items), count)[number - 1]
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in mine])
    items[:] = [item for item in items if item.nodeid in mine]


def shards(names: Iterable[str], count: int) -> list[set[str]]:
    """Tests in parts of about one size; those of one function stay together, in one process."""
    functions: dict[str, list[str]] = {}
    for name in names:
        functions.setdefault(name.partition("[")[0], []).append(name)
    parts: list[set[str]] = [set() for _ in range(count)]
    for tests in sorted(functions.values(), key=len, reverse=True):
        min(parts, key=len).update(tests)
    return parts


class Record:
    """Writes a line for each test, and one for kernels whenever more were launched on a GPU."""

    def __init__(self, path: Path) -> None:
        self.path, self.shipped = path, list(proof.shipped())
        self.missing = self.shipped
        self._note({"shipped": self.shipped})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            line = {"test": report.nodeid, "when": report.when, "outcome": report.outcome}
            self._note(line | {"seconds": report.duration, "why": _why(report)})
        if report.when == "teardown" and proof.missing(proof.GPU) != self.missing:
            self.missing = proof.missing(proof.GPU)
            self._note({"launched": [each for each in self.shipped if each not in self.missing]})

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome == "failed":
            self._note({"test": report.nodeid, "outcome": "failed", "why": str(report.longrepr)})

    def _note(self, line: dict[str, Any]) -> None:
        with self.path.open("ab", buffering=0) as file:  # one write: lines of others stay whole
            file.write(f"{json.dumps(line)}\n".encode())


def _why(report: pytest.TestReport) -> str:
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return "" if report.outcome == "passed" else report.longreprtext[-2000:]


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a record; none where there is no file, and not a last one that was cut."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)
