"""Device strings, and which devices this machine can really use.

"Importable" is not "usable": a GPU counts once the driver was found, memory was allocated, and a
kernel was compiled and run on it. What failed instead is kept, with its remedy.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from functools import cache

from .errors import DeviceUnavailableError
from .failures import NO_COMPILER, OUR_FAULT, diagnose, first_line
from .machine.cores import usable_cores

ENVIRONMENT_VARIABLE = "ONEPASS_DEVICE"
CHOICES = '"auto", "cpu", "cuda" or "cuda:N"'

_NO_CUPY = 'pip install "onepass[cuda13]" (driver 580 or newer), or "onepass[cuda12]"'
_NO_DRIVER = "install or update the NVIDIA driver; `nvidia-smi` must list the GPU"
_NO_DEVICE = "check that `nvidia-smi` lists a GPU and that CUDA_VISIBLE_DEVICES does not hide it"
_NO_MEMORY = "free GPU memory (`nvidia-smi` shows who holds it) or choose another device"
_DRIVER_STATUS = frozenset({3, 35, 36, 804})  # initialization, insufficient, stub, compat mode
_NO_DEVICE_STATUS = 100


@dataclass(frozen=True)
class DeviceStatus:
    """One device as `describe_devices` found it: usable, or why not and what to do about it."""

    device: str
    available: bool
    name: str = ""
    reason: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        if self.available:
            return f"{self.device}: {self.name}"
        return f"{self.device}: unavailable. {self.reason}. Remedy: {self.remedy}."


def parse_device(device: str, source: str = "device") -> tuple[str, int | None]:
    """Split a device string into its kind and index: "cuda:1" is ("cuda", 1), "cpu" ("cpu", None).

    `source` names what the string came from (an argument, an environment variable) in the error.
    """
    if not isinstance(device, str):
        raise TypeError(f"{source} is {type(device).__name__}; expected a string: {CHOICES}")
    text = device.strip().lower()
    if text in ("auto", "cpu", "cuda"):
        return text, None
    if match := re.fullmatch(r"cuda:(\d+)", text):
        return "cuda", int(match[1])
    raise ValueError(f"{source} is {device!r}; expected {CHOICES}")


@cache
def probe_cuda(index: int = 0) -> DeviceStatus:
    """Find out, once, whether GPU `index` can allocate memory and compile and run a kernel."""
    device = f"cuda:{index}"

    def unavailable(reason: str, remedy: str) -> DeviceStatus:
        return DeviceStatus(device, False, reason=reason, remedy=remedy)

    try:
        import cupy

        runtime = cupy.cuda.runtime
    except Exception as error:  # ImportError, or whatever a broken installation raises
        return unavailable(f"CuPy can't be imported ({first_line(error)})", _NO_CUPY)

    try:
        count = runtime.getDeviceCount()
    except RuntimeError as error:  # CUDARuntimeError
        status = getattr(error, "status", None)
        if status == _NO_DEVICE_STATUS:
            return unavailable("the NVIDIA driver reports no GPU" + _hidden_by(), _NO_DEVICE)
        if status in _DRIVER_STATUS:
            return unavailable(
                f"the NVIDIA driver is missing or too old ({first_line(error)})", _NO_DRIVER
            )
        return unavailable(f"CUDA can't be initialized ({first_line(error)})", _NO_DRIVER)
    if count == 0:
        return unavailable("the NVIDIA driver reports no GPU" + _hidden_by(), _NO_DEVICE)
    if index >= count:
        last = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0 only"
        return unavailable(f"this machine has {count} GPU(s)", f"use {last}")

    try:
        with cupy.cuda.Device(index):
            ones = cupy.ones(32, dtype=cupy.float32)
            doubled = cupy.ElementwiseKernel(
                "float32 x", "float32 y", "y = x + x", "onepass_probe"
            )(ones)
            total = float(doubled.get().sum())
        if total != 64.0:
            return unavailable(f"a trial kernel gave {total} instead of 64", _NO_DRIVER)
        properties = runtime.getDeviceProperties(index)
        return DeviceStatus(device, True, name=properties["name"].decode())
    except Exception as error:  # whatever a mismatched installation raises: the reason is kept
        failure = diagnose(error)
        if failure and failure.kind == "memory":  # none left, or none even for the context
            return unavailable(f"no GPU memory is free ({failure.line})", _NO_MEMORY)
        return unavailable(
            f"a trial kernel can't be compiled or run ({first_line(error)})",
            failure.remedy if failure and failure.remedy != OUR_FAULT else NO_COMPILER,
        )


def require(gpu: DeviceStatus, source: str) -> None:
    """Raise DeviceUnavailableError, naming `source`, which asked for it, for a GPU that is none."""
    if not gpu.available:
        raise DeviceUnavailableError(
            f"{source} asks for {gpu.device!r}, which can't be used: {gpu.reason}. {gpu.remedy}. "
            f'Expected {CHOICES}; "auto" with no {ENVIRONMENT_VARIABLE} falls back to the CPU.'
        )


def probe_gpus() -> tuple[DeviceStatus, ...]:
    """Every GPU's status; where there is none, one for "cuda:0" that says why."""
    first = probe_cuda(0)
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except Exception:  # as `first` says
        count = 0
    return (first, *(probe_cuda(index) for index in range(1, count)))


def bus_ids() -> tuple[str, ...]:
    """Where in the machine each GPU is that can be seen here; none is used for it."""
    try:
        import cupy

        runtime = cupy.cuda.runtime
        return tuple(map(runtime.deviceGetPCIBusId, range(runtime.getDeviceCount())))
    except Exception:  # as `probe_cuda(0)` says
        return ()


def best_gpu() -> DeviceStatus:
    """The first usable GPU; the first one's status, which says why not, where none is."""
    gpus = probe_gpus()
    return next((gpu for gpu in gpus if gpu.available), gpus[0])


def describe_devices() -> list[DeviceStatus]:
    """Every device of this machine, the CPU first; a missing GPU is listed with the reason.

    Returns:
        One `DeviceStatus` for the CPU and one for each GPU; where there is no GPU, one for
        "cuda:0" that says why and how to change it.
    """
    return [
        DeviceStatus("cpu", True, name=f"{processor()}, {usable_cores()} core(s)"),
        *probe_gpus(),
    ]


def processor() -> str:
    """The processor's name, as its maker calls it where that can be read."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _hidden_by() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
