"""A plugin for one run of pytest: which sources of the checkout the process reads, and how it ends.

update.py starts it as the first one, before anything of the checkout is imported.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

WHERE = "ONEPASS_RECORDING"  # the file that is written
_SUFFIXES = (".py", ".json", ".h", ".cpp", ".c")
_READ_MORE = ("python", "mpiexec", "sh", "bash", "env", "make", "taskset", "timeout")
_OURS = "tests/proving/kept_runs/"

_opened: set[str] = set()
_passed: set[str] = set()
_skipped: set[str] = set()
_others: set[str] = set()
_started: set[str] = set()


def _see(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(args[0], str):
        _opened.add(args[0])
    elif event == "subprocess.Popen":
        words = args[1] if isinstance(args[1], str) else [*args[1], ""][0]
        names = {os.fsdecode(each).rpartition("/")[2] for each in (args[0], words) if each}
        _started.update(name for name in names if name.startswith(_READ_MORE))
    elif event == "os.fork":
        _started.add("a fork of itself")


sys.addaudithook(_see)


def _source(name: str) -> Path:
    """The file itself, or the one that its bytecode was made of."""
    file = Path(name).resolve()
    if file.suffix == ".pyc" and file.parent.name == "__pycache__":
        return file.parent.parent / f"{file.name.partition('.')[0]}.py"
    return file


def _sources(root: Path) -> list[str]:
    root = root.resolve()
    loaded = [getattr(module, "__file__", None) for module in [*sys.modules.values()]]
    files = {_source(name) for name in {*_opened, *filter(None, loaded)}}
    found = {
        file.relative_to(root)
        for file in files
        if file.is_relative_to(root) and file.suffix in _SUFFIXES and file.is_file()
    }
    hidden = {each for each in found if any(part.startswith(".") for part in each.parts)}
    names = {each.as_posix() for each in found - hidden if each.parts[0] != "build"}
    return sorted(name for name in names if not name.startswith(_OURS))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        _passed.add(report.nodeid)
    elif report.skipped:
        _skipped.add(f"{report.nodeid} {report.outcome}")
    elif not report.passed:
        _others.add(f"{report.nodeid} {report.outcome}")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    if _started:
        item.session.shouldstop = "a process of its own reads what is not seen here"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    from proving import account

    told = {
        "read": _sources(session.config.rootpath),
        "passed": len(_passed),
        "skipped": sorted(_skipped),
        "others": sorted(_others),
        "started": sorted(_started),
        "proven": {rung: kernels for rung, kernels in account.told().items() if kernels},
    }
    Path(os.environ[WHERE]).write_text(json.dumps(told), encoding="utf-8")
