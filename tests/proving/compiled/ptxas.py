"""NVIDIA's assembler: where it is, what it says of a kernel, and what is asked of one."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest


class Report(NamedTuple):
    """What a kernel takes of a GPU.

    Attributes:
        registers: of one thread.
        spilled: bytes that don't fit the registers, stored and loaded.
    """

    registers: int
    spilled: int


SIGNS = {
    "double": r"\.f64",
    "arithmetic in double": r"\b(?:mul|fma|sub|ex2)\S*\.f64",
    "float to half": r"cvt\.rn\.f16\.f32",
}
"""What is looked for in PTX."""


def shown(ptx: str) -> frozenset[str]:
    """Which of SIGNS stand in a kernel's PTX."""
    return frozenset(sign for sign, pattern in SIGNS.items() if re.search(pattern, ptx))


def read(log: str) -> dict[str, Report]:
    """The report of each kernel in what ptxas, or NVRTC's own, prints under -v."""
    _, *parts = log.split("Compiling entry function '")
    reports = {}
    for part in parts:
        registers = re.findall(r"Used (\d+) registers", part)
        spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part)
        assert len(registers) == len(spills) == 1, f"not the report of one kernel:\n{part}"
        reports[part.partition("'")[0]] = Report(int(registers[0]), sum(map(int, spills[0])))
    return reports


def assert_lean(report: Report, most: int, what: str) -> None:
    """`what` spills nothing, and a thread takes at most that many registers."""
    assert not report.spilled, f"{what}: {report.spilled} bytes are spilled"
    assert report.registers <= most, f"{what}: {report.registers} registers, {most} allowed"


def path() -> str:
    """Of the assembler; empty where there is none."""
    return tool("ptxas")


@cache
def tool(name: str) -> str:
    """The path of one of NVIDIA's tools, in their wheels or else on the PATH; empty without it."""
    try:
        wheels = find_spec("nvidia.cu13")
    except ModuleNotFoundError:  # there is no package "nvidia"
        wheels = None
    folders = wheels.submodule_search_locations if wheels else None
    found = [str(Path(folder, "bin")) for folder in folders or ()]
    return shutil.which(name, path=":".join(found)) or shutil.which(name) or ""


def version() -> str:
    done = subprocess.run([path(), "--version"], capture_output=True, text=True, check=True)
    return re.findall(r"\bV(\d+\.\d+\.\d+)", done.stdout)[0]


def assemble(ptx: str, architecture: str) -> Report:
    """What it says of a kernel's PTX, made into machine code; a skip where it is too old for it."""
    assert f".target sm_{architecture}\n" in ptx, f"not written for sm_{architecture}"
    with tempfile.TemporaryDirectory() as folder:
        text, code = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        text.write_text(ptx, encoding="utf-8")
        command = [path(), "-v", f"-arch=sm_{architecture}", "-o", str(code), str(text)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Unsupported .version" in done.stderr:
        pytest.skip(f"this ptxas is older than the compiler: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    (report,) = read(done.stderr).values()
    return report
