"""What is known of earlier runs, a checksum for each file of tests: runs.json of what proves
kernels without a driver, made_up_gpu.json of the tests of the GPU on the made-up driver.

A file of tests was run alone, in a process of its own, and passed whole: nothing failed, and
nothing was skipped but, on the made-up driver, what CuPy hasn't. Its checksum is of all that
decides what comes out: every source of this checkout which that process has read (the tests,
oracles, cases, and of the library whatever makes kernels, their texts and launches; C++ beside the
tests), the versions of compiler and packages, and the warnings that are errors. Python counts as a
syntax tree: comments may change. What starts Python itself is not kept unless that is seen, too
(seen.py).
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

UPDATE = "PYTHONPATH=tests python -m proving.kept_runs.update"
_PACKAGES = ("numpy", "numba", "cupy-cuda13x")
_COMPILERS = ("numba-cuda", "nvidia-cuda-nvrtc", "nvidia-nvvm", "nvidia-cuda-nvcc")
_COMPILERS += ("nvidia-cuda-nvdisasm", "nvidia-cuda-crt", "nvidia-cuda-runtime")
_BESIDE = ("torch", "jax", "scikit-learn", "scipy", "pandas", "mpi4py")  # tests are skipped without


class Kind(NamedTuple):
    """How files of tests are run.

    Attributes:
        file: where their runs are kept.
        tests: patterns of their names, from the checkout's folder on.
        options: of pytest's.
        packages: whose versions count.
        skips: whether some of a file may be skipped.
    """

    file: Path
    tests: tuple[str, ...]
    options: tuple[str, ...]
    packages: tuple[str, ...]
    skips: bool


PROOFS = Kind(
    Path("tests/proving/kept_runs/runs.json"),
    (
        "tests/proving/host/test_*.py",
        "tests/proving/absence/test_failures.py",
        "tests/proving/compiled/test_bfloat16.py",
        "tests/proving/compiled/test_gate.py",
        "tests/proving/simulator/test_*.py",
    ),
    (),
    _PACKAGES + _COMPILERS,
    False,
)
MADE_UP = Kind(
    Path("tests/proving/kept_runs/made_up_gpu.json"),
    (
        "tests/kernels/**/test_*.py",
        "tests/nets/**/test_*.py",
        "tests/proving/made_up_driver/test_*.py",
    ),
    ("--made-up-gpu", "-m", "gpu"),
    (*_PACKAGES, "nvidia-cuda-runtime", *_BESIDE),
    True,
)
KINDS = (PROOFS, MADE_UP)


class Run(NamedTuple):
    """Of one file of tests.

    Attributes:
        key: the checksum of all that decided what came out.
        tests: how many there were.
        read: the sources, from the checkout's folder on.
        proven: as account.told has it.
    """

    key: str
    tests: int
    read: frozenset[str]
    proven: dict[str, list[list[str]]]


def versions(kind: Kind = PROOFS) -> dict[str, str]:
    """Of what compiles and computes here, without what changes from patch to patch."""
    found = {"g++": _compiler().split(".")[0], "machine": platform.machine()}
    found |= {"libc": " ".join(platform.libc_ver()), "python": "{}.{}".format(*sys.version_info)}
    return found | {package: _to_the_minor(package) for package in kind.packages}


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


def key_of(root: Path, test: str, read: frozenset[str], kind: Kind = PROOFS) -> str:
    """The checksum of a file of tests as it and its sources are now."""
    return _key(root, test, read, kind, {})


def _key(root: Path, test: str, read: frozenset[str], kind: Kind, known: dict[str, str]) -> str:
    """`known` has the checksums of sources that were looked at already."""
    for each in read - known.keys():
        known[each] = _source(root / each)
    parts = [f"{name} {version}" for name, version in versions(kind).items()]
    parts += [_options(root), " ".join(kind.options), test]
    parts += [f"{each} {known[each]}" for each in sorted(read)]
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


def valid(root: Path, kind: Kind = PROOFS) -> dict[str, Run]:
    """The runs that would come out as they did; none where g++ is missing."""
    if _compiler() == "missing":
        return {}
    known: dict[str, str] = {}
    return {
        test: run
        for test, run in load(root, kind).items()
        if run.key == _key(root, test, run.read, kind, known)
    }


def remarks(root: Path, kind: Kind = PROOFS) -> Iterator[str]:
    """A line of what is not known as it is now, and one for each that is known and is no more."""
    known, here = load(root, kind), valid(root, kind)
    expected = known if kind is MADE_UP else tests_of(root, kind)  # most have no test of the GPU
    if unknown := [test for test in expected if test not in here]:
        yield f"not kept as now, with these versions: {', '.join(unknown)}; to keep them: {UPDATE}"
    ships = set(account.shipped())
    for test, run in known.items():
        if not (root / test).is_file():
            yield f"kept, but no more there: {test}; to drop it: {UPDATE}"
        if kind is MADE_UP:  # launches tests of their own, too
            continue
        gone = {Kernel(*each) for kernels in run.proven.values() for each in kernels} - ships
        for kernel in sorted(gone):
            yield f"kept, but shipped no more: {' '.join(kernel)} of {test}; to drop it: {UPDATE}"


def tests_of(root: Path, kind: Kind) -> list[str]:
    """The files of tests whose runs are kept."""
    found = {file for pattern in kind.tests for file in root.glob(pattern)}
    return sorted(file.relative_to(root).as_posix() for file in found)


# --- as JSON --------------------------------------------------------------------------------------
def load(root: Path, kind: Kind = PROOFS) -> dict[str, Run]:
    """All that is known, of whatever it was."""
    file = root / kind.file
    if not file.is_file():
        return {}
    told = json.loads(file.read_text("utf-8"))
    every = frozenset(told["read by all"])
    return {
        test: Run(each["key"], each["tests"], every | {*each["read"]}, _proven(each["proven"]))
        for test, each in told["runs"].items()
    }


def write(root: Path, runs: Mapping[str, Run], kind: Kind = PROOFS) -> None:
    """All of it, a line for each file of tests and each source."""
    every = frozenset.intersection(*(run.read for run in runs.values())) if runs else frozenset()
    told = {
        "written with": versions(kind),
        "read by all": sorted(every),
        "runs": {
            test: {
                "key": run.key,
                "tests": run.tests,
                "read": sorted(run.read - every),
                "proven": _told(run.proven),
            }
            for test, run in sorted(runs.items())
        },
    }
    (root / kind.file).parent.mkdir(parents=True, exist_ok=True)
    (root / kind.file).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


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
