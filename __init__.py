"""onepass: fused optimizer steps and batch norm on plain NumPy and CuPy arrays.

One device string picks NumPy on the CPU or CuPy on an NVIDIA GPU; every update touches memory once.

    from onepass import get_backend, kernels, nets
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .backend import (
    Backend,
    DeviceMemoryError,
    DeviceStatus,
    DeviceUnavailableError,
    EngineUnavailableError,
    KernelError,
    MixedBackendsError,
    as_array,
    backend_of,
    describe_devices,
    get_backend,
    use_device,
)
from .backend.version import __version__ as __version__

if TYPE_CHECKING:
    from . import kernels, nets

__all__ = [
    "Backend",
    "DeviceMemoryError",
    "DeviceStatus",
    "DeviceUnavailableError",
    "EngineUnavailableError",
    "KernelError",
    "MixedBackendsError",
    "as_array",
    "backend_of",
    "describe_devices",
    "get_backend",
    "kernels",
    "nets",
    "use_device",
]


def __getattr__(name: str) -> Any:
    if name in ("kernels", "nets"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'onepass' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "kernels", "nets"])
