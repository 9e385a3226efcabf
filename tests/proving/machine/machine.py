"""What the machine has: packages, CUDA's tools, a GPU; and how a checkout is run uninstalled."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
TESTS = ROOT / "tests"
WHEELS = ROOT / ".whl"
_NEEDED = ("numpy", "array-api-compat", "cupy", "pytest")
_FOR_TESTS = ("pytest-timeout", "hypothesis")
_MADE_UP = "ONEPASS_MADE_UP_GPU"  # proving/made_up_driver/installing.py reads it
_SITE = TESTS / "proving" / "made_up_driver" / "site"
_PLACES = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/cuda/bin")
_PATIENCE = 60  # seconds for a driver to answer

_PROBE = """
import json
from importlib.metadata import PackageNotFoundError, version
from onepass.backend.devices import best_gpu
from onepass.bench.machine import hardware, versions
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
told = versions()
for name in ("array-api-compat", "pytest", "hypothesis", "nvidia-cuda-nvrtc", "nvidia-cublas"):
    try:
        told[name] = version(name)
    except PackageNotFoundError:
        pass
try:
    cpu = hardware()[0]
except ImportError:
    cpu = ""
reasons = {e.name: e.reason for e in engines().values() if "cuda" in e.devices and e.reason}
print(json.dumps({"gpu": found, "engines": reasons, "versions": told, "cpu": cpu}))
"""


@dataclass(frozen=True)
class Machine:
    """What was found.

    Attributes:
        gpu: its facts by name, or why there is none.
        engines: why one for GPUs can't be used, by its name.
        versions: of Python and packages.
        cpu: processor, cores, memory.
        nvidia_smi: what it printed, line by line.
        left_out: packages that are not there and can be done without, by name what for.
    """

    gpu: dict[str, Any]
    engines: dict[str, str]
    versions: dict[str, str]
    cpu: str
    nvidia_smi: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def why_no_gpu(self) -> str:
        return "" if self.gpu["available"] else f"no GPU: {self.gpu['reason']}"


def missing_packages() -> list[str]:
    """What can't be done without and is not there."""
    return _absent(_NEEDED)


def optional_packages() -> dict[str, str]:
    """What else is not there: its name, and what goes without it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [re.split(r"[<>=!~\[ ;]", line)[0] for line in project["dependencies"]]
    whatever = {**dict.fromkeys(own, "what of the library needs it"), "hypothesis": "all tests"}
    whatever |= {"pytest-timeout": "the tests' own limit of time", "torch": "PyTorch's figures"}
    whatever |= {"numba-cuda": 'the engine "numba-cuda"'}
    return {name: whatever[name] for name in _absent(whatever) if name not in _NEEDED}


def _absent(names: Iterable[str]) -> list[str]:
    modules = {name: name.replace("-", "_") for name in names}
    return [name for name, module in modules.items() if find_spec(module) is None]


def brought(wheels: Path, names: Iterable[str], site: Path) -> list[str]:
    """Unpack those packages that lie in a folder as wheels; their names. They are then found here,
    and in processes that have `site` in their PYTHONPATH."""
    found = []
    for name in names:
        files = sorted(wheels.glob(f"{name.replace('-', '_')}-*.whl"))
        if files:
            with zipfile.ZipFile(files[-1]) as wheel:
                wheel.extractall(site)
            found.append(name)
    if found and str(site) not in sys.path:
        sys.path.append(str(site))
        invalidate_caches()
    return found


def how_to_bring(packages: list[str]) -> str:
    """The way to a machine without a network."""
    names = " ".join(packages)
    return (
        f"missing for {sys.executable}: {names}. Where there is a network, in the checkout: "
        f"python3 -m pip download --no-deps --only-binary=:all: -d .whl {names}. The proof takes "
        "wheels from that folder, or from the one that --wheels names"
    )


@contextmanager
def uninstalled(made_up: bool = False) -> Iterator[dict[str, str]]:
    """The environment in which this checkout is the package `onepass`, installed or not.

    The repository root is the package, so a link of that name in a folder of its own does it. What
    wheels bring goes into "site" beside it.

    Args:
        made_up: whether CuPy finds the made-up GPU there.
    """
    with TemporaryDirectory(prefix="onepass-gpu-") as folder:
        (Path(folder) / "onepass").symlink_to(ROOT, target_is_directory=True)
        kept = os.environ.get("PYTHONPATH")
        places = [folder, str(TESTS), *([kept] if kept else []), str(Path(folder) / "site")]
        found = {"PYTHONUNBUFFERED": "1"}
        if made_up:
            places.insert(0, str(_SITE))
            found[_MADE_UP] = "1"
        yield {**found, "PYTHONPATH": os.pathsep.join(places)}


def tool(name: str) -> str | None:
    """Where one of CUDA's tools is: on the PATH, or where CUDA is installed."""
    homes = [os.environ[home] for home in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(home)]
    places = [f"{home}/{part}" for home in homes for part in ("bin", "compute-sanitizer")]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join([*places, *_PLACES]))


def look(environment: dict[str, str]) -> Machine:
    """Ask in a process of its own, so that a driver that hangs or crashes stops nothing here."""
    rest = {"nvidia_smi": _said(["nvidia-smi"]).splitlines(), "left_out": optional_packages()}
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
        return Machine({"available": False, "reason": reason, "remedy": ""}, {}, {}, "", **rest)
    if found["gpu"]["available"]:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found["gpu"]["driver"] = next(iter(_said(asked).splitlines()), "")
    return Machine(**found, **rest)


def _said(command: list[str]) -> str:
    """What a command prints; "" where it can't be run."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


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
