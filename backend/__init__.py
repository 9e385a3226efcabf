"""Where arrays live: one device string picks NumPy on the CPU or CuPy on an NVIDIA GPU."""

from .base import Backend, Memory
from .detect import backend_of, device_of
from .devices import DeviceStatus, describe_devices
from .errors import (
    DeviceMemoryError,
    DeviceUnavailableError,
    EngineUnavailableError,
    KernelError,
    MixedBackendsError,
)
from .foreign import as_array
from .machine.cores import usable_cores
from .select import get_backend, use_device, why_device
from .types import Array

__all__ = [
    "Array",
    "Backend",
    "DeviceMemoryError",
    "DeviceStatus",
    "DeviceUnavailableError",
    "EngineUnavailableError",
    "KernelError",
    "Memory",
    "MixedBackendsError",
    "as_array",
    "backend_of",
    "describe_devices",
    "device_of",
    "get_backend",
    "usable_cores",
    "use_device",
    "why_device",
]
