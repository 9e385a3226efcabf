"""Numba CUDA without a GPU: a script on its simulator, and its PTX through ptxas."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def simulated(script: str) -> dict[str, str]:
    """What a cudasim script prints, from a process in which Numba's simulator is on."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed", exc_type=ImportError)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def ptxas_report(text: str, capability: tuple[int, int], folder: Path) -> Any:
    """What ptxas says of PTX text that it accepts without spills; a skip where it is too old."""
    file = folder / "kernel.ptx"
    file.write_text(text, encoding="utf-8")
    architecture = f"-arch=sm_{capability[0]}{capability[1]}"
    command = ["ptxas", "-v", architecture, "-o", str(folder / "kernel.cubin"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Unsupported .version" in done.stderr:
        pytest.skip(f"this ptxas is older than the installed NVVM: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    assert "0 bytes spill stores, 0 bytes spill loads" in done.stderr
    return done.stderr
