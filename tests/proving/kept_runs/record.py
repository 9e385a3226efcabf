"""What is known of earlier runs of the tests in host/: runs.json, a checksum for each file of them.

A file of tests was run alone, in a process of its own, and passed whole: nothing failed and nothing
was skipped. Its checksum is of all that decides what comes out: every source of this checkout which
that process has read (the tests, oracles, cases, and of the library whatever makes kernels, their
texts and launches; C++ beside the tests), the versions of compiler and packages, and the warnings
that are errors. Python counts as a syntax tree: comments may change.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from proving import account
from proving.account import Kernel

FILE = Path("tests/proving/kept_runs/runs.json")
TESTS = "tests/proving/host/test_*.py"
UPDATE = "PYTHONPATH=tests python -m proving.kept_runs.update"
_PACKAGES = ("numpy", "numba", "cupy-cuda13x")


class Run(NamedTuple):
    """Of one file of tests.

    Attributes:
        key: the checksum of all that decided what came out.
        passed: how many tests there were.
        read: the sources, from the checkout's folder on.
        proven: as account.told has it.
    """

    key: str
    passed: int
    read: frozenset[str]
    proven: dict[str, list[list[str]]]


def versions() -> dict[str, str]:
    """Of what compiles and computes here, without what changes from patch to patch."""
    found = {"g++": _compiler().split(".")[0], "machine": platform.machine()}
    found |= {"libc": " ".join(platform.libc_ver()), "python": "{}.{}".format(*sys.version_info)}
    return found | {package: _to_the_minor(package) for package in _PACKAGES}


@cache
def _compiler() -> str:
    if not shutil.which("g++"):
        return "missing"
    told = subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=True)
    return told.stdout.strip()


def _to_the_minor(package: str) -> str:
    try:
        return ".".join(metadata.version(package).split(".")[:2])
    except metadata.PackageNotFoundError:
        return "missing"


def key_of(root: Path, test: str, read: frozenset[str]) -> str:
    """The checksum of a file of tests as it and its sources are now."""
    parts = [f"{name} {version}" for name, version in versions().items()]
    parts += [_options(root), test, *(f"{each} {_source(root / each)}" for each in sorted(read))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def _source(file: Path) -> str:
    return _checksum(file.read_bytes(), file.suffix) if file.is_file() else "missing"


@cache
def _checksum(content: bytes, suffix: str) -> str:
    if suffix == ".py":
        content = ast.dump(ast.parse(content)).encode()
    return hashlib.sha256(content).hexdigest()


def _options(root: Path) -> str:
    """What decides, beside the tests, whether one passes."""
    file = root / "pyproject.toml"
    told = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    options = told.get("tool", {}).get("pytest", {}).get("ini_options", {})
    return json.dumps(options.get("filterwarnings"))


def valid(root: Path) -> dict[str, Run]:
    """The runs that would come out as they did; none where g++ is missing."""
    if _compiler() == "missing":
        return {}
    return {
        test: run for test, run in load(root).items() if run.key == key_of(root, test, run.read)
    }


def remarks(root: Path) -> Iterator[str]:
    """A line of what is not known as it is now, and one for each that is known and is no more."""
    known, here = load(root), valid(root)
    if unknown := [test for test in tests_of(root) if test not in here]:
        yield f"not kept as now, with these versions: {', '.join(unknown)}; to keep them: {UPDATE}"
    ships = set(account.shipped())
    for test, run in known.items():
        if not (root / test).is_file():
            yield f"kept, but no more there: {test}; to drop it: {UPDATE}"
        gone = {Kernel(*each) for kernels in run.proven.values() for each in kernels} - ships
        for kernel in sorted(gone):
            yield f"kept, but shipped no more: {' '.join(kernel)} of {test}; to drop it: {UPDATE}"


def tests_of(root: Path) -> list[str]:
    """The files of tests whose runs are kept."""
    return sorted(file.relative_to(root).as_posix() for file in root.glob(TESTS))


# --- as JSON --------------------------------------------------------------------------------------
def load(root: Path) -> dict[str, Run]:
    """All that is known, of whatever it was."""
    file = root / FILE
    if not file.is_file():
        return {}
    told = json.loads(file.read_text("utf-8"))
    every = frozenset(told["read by all"])
    return {
        test: Run(each["key"], each["passed"], every | {*each["read"]}, _proven(each["proven"]))
        for test, each in told["runs"].items()
    }


def write(root: Path, runs: Mapping[str, Run]) -> None:
    """All of it, a line for each file of tests and each source."""
    every = frozenset.intersection(*(run.read for run in runs.values())) if runs else frozenset()
    told = {
        "written with": versions(),
        "read by all": sorted(every),
        "runs": {
            test: {
                "key": run.key,
                "passed": run.passed,
                "read": sorted(run.read - every),
                "proven": _told(run.proven),
            }
            for test, run in sorted(runs.items())
        },
    }
    (root / FILE).parent.mkdir(parents=True, exist_ok=True)
    (root / FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _told(proven: dict[str, list[list[str]]]) -> dict[str, Any]:
    """Rung, engine and dtype -> the names of kernels, in a line."""
    found: dict[str, dict[str, list[str]]] = {}
    for rung, kernels in proven.items():
        for engine, name, dtype in sorted(kernels):
            found.setdefault(rung, {}).setdefault(f"{engine} {dtype}", []).append(name)
    return {
        rung: {of: " ".join(names) for of, names in each.items()} for rung, each in found.items()
    }


def _proven(told: dict[str, dict[str, str]]) -> dict[str, list[list[str]]]:
    return {
        rung: [
            [engine, name, dtype]
            for of, names in each.items()
            for engine, dtype in [of.split()]
            for name in names.split()
        ]
        for rung, each in told.items()
    }
