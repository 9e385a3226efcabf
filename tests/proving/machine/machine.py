"""What the machine has: packages, CUDA's tools, a GPU; and how a checkout is run uninstalled."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
TESTS = ROOT / "tests"
_FOR_TESTS = ("pytest", "pytest-timeout", "hypothesis")
_PLACES = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/cuda/bin")
_PATIENCE = 90  # seconds for a driver to answer

_PROBE = """
import json
from onepass.backend.devices import best_gpu
from onepass.bench.machine import versions
from onepass.bench.command import hardware
from onepass.kernels import engines

gpu = best_gpu()
found = {"available": gpu.available, "reason": gpu.reason, "remedy": gpu.remedy}
if gpu.available:
    import cupy

    runtime = cupy.cuda.runtime
    device = runtime.getDeviceProperties(int(gpu.device.partition(":")[2]))
    found |= {
        "name": gpu.name,
        "device": gpu.device,
        "compute capability": f"{device['major']}.{device['minor']}",
        "memory, GiB": round(device["totalGlobalMem"] / 2**30, 1),
        "multiprocessors": device["multiProcessorCount"],
        "L2, MiB": round(device["l2CacheSize"] / 2**20, 1),
        "CUDA of the driver": runtime.driverGetVersion(),
        "CUDA runtime": runtime.runtimeGetVersion(),
        "NVRTC": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
    }
reasons = {e.name: e.reason for e in engines().values() if "cuda" in e.devices and e.reason}
print(json.dumps({"gpu": found, "engines": reasons, "versions": versions(), "cpu": hardware()[0]}))
"""


@dataclass(frozen=True)
class Machine:
    """What was found.

    Attributes:
        gpu: its facts by name, or why there is none.
        engines: why one for GPUs can't be used, by its name.
        versions: of Python and packages.
        cpu: processor, cores, memory.
    """

    gpu: dict[str, Any]
    engines: dict[str, str]
    versions: dict[str, str]
    cpu: str

    @property
    def why_no_gpu(self) -> str:
        return "" if self.gpu["available"] else f"no GPU: {self.gpu['reason']}"


def missing_packages() -> list[str]:
    """What can't be done without and is not there: the library's own, CuPy, and the tests'."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [re.split(r"[<>=!~\[ ;]", line)[0] for line in project["dependencies"]]
    needed = {name: name.replace("-", "_") for name in (*own, *_FOR_TESTS)}
    return [name for name, module in needed.items() if find_spec(module) is None]


def how_to_bring(packages: list[str]) -> str:
    """The way to a machine without a network."""
    names = " ".join(packages)
    return (
        f"missing for {sys.executable}: {names}. Where there is a network: "
        f"python3 -m pip download --no-deps --dest wheels {names}. Here: python3 -m pip install "
        "--no-index --no-deps --target site wheels/*.whl && PYTHONPATH=$PWD/site make gpu"
    )


@contextmanager
def uninstalled() -> Iterator[dict[str, str]]:
    """The environment in which this checkout is the package `onepass`, installed or not.

    The repository root is the package, so a link of that name in a folder of its own does it.
    """
    with TemporaryDirectory(prefix="onepass-gpu-") as folder:
        (Path(folder) / "onepass").symlink_to(ROOT, target_is_directory=True)
        kept = os.environ.get("PYTHONPATH")
        places = [folder, str(TESTS), *([kept] if kept else [])]
        yield {"PYTHONPATH": os.pathsep.join(places), "PYTHONUNBUFFERED": "1"}


def tool(name: str) -> str | None:
    """Where one of CUDA's tools is: on the PATH, or where CUDA is installed."""
    homes = [os.environ[home] for home in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(home)]
    places = [f"{home}/{part}" for home in homes for part in ("bin", "compute-sanitizer")]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join([*places, *_PLACES]))


def look(environment: dict[str, str]) -> Machine:
    """Ask in a process of its own, so that a driver that hangs or crashes stops nothing here."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()
        reason = f"asking for it failed ({said[-1] if said else type(error).__name__})"
        return Machine({"available": False, "reason": reason, "remedy": ""}, {}, {}, "")
    if found["gpu"]["available"]:
        found["gpu"]["driver"] = _driver()
    return Machine(**found)


def _driver() -> str:
    """The driver's version as nvidia-smi tells it; "" where it doesn't."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip().splitlines()[0] if told.returncode == 0 and told.stdout else ""


def commit() -> str:
    """Of this checkout, with a word if files differ from it; "" where git can't tell."""
    try:
        told = [
            subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
            for arguments in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
        ]
    except OSError:
        return ""
    if told[0].returncode:
        return ""
    return told[0].stdout.strip() + (" with changes" if told[1].stdout.strip() else "")
