"""Choosing a backend: an argument, a surrounding `use_device`, ONEPASS_DEVICE, or the best."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .base import Backend
from .devices import (
    ENVIRONMENT_VARIABLE,
    DeviceStatus,
    best_gpu,
    parse_device,
    probe_cuda,
    require,
)
from .numpy_backend import CPU

_current: ContextVar[Backend | None] = ContextVar("onepass_device", default=None)


def get_backend(device: str | Backend = "auto") -> Backend:
    """The backend for a device string.

    Args:
        device: "cpu", "cuda" (the first usable GPU), "cuda:N", or "auto". "auto" takes, in this
            order, the device of the surrounding `use_device`, the environment variable
            ONEPASS_DEVICE, the first usable GPU, the CPU. A backend is returned as it is.

    Raises:
        ValueError: the string is none of these, or ONEPASS_DEVICE is none of these.
        TypeError: `device` is neither a string nor a backend.
        DeviceUnavailableError: a GPU was named, here or in ONEPASS_DEVICE, and can't be used;
            `describe_devices()` says the same for every device.

    Example:
        >>> get_backend("cpu").xp.__name__
        'numpy'
    """
    if isinstance(device, Backend):
        return device
    source = "device"
    kind, index = parse_device(device, source)
    if kind == "auto":
        if (current := _current.get()) is not None:
            return current
        source = f"environment variable {ENVIRONMENT_VARIABLE}"
        kind, index = parse_device(chosen_device(), source)
    if kind == "auto":
        gpu = best_gpu()
        return _cuda(gpu, source) if gpu.available else CPU
    if kind == "cpu":
        return CPU
    return _cuda(best_gpu() if index is None else probe_cuda(index), source)


@contextmanager
def use_device(device: str | Backend) -> Iterator[Backend]:
    """Within the `with` block, "auto" means this device; each thread and async task has its own.

    Example:
        >>> with use_device("cpu") as backend:
        ...     get_backend() is backend
        True
    """
    backend = get_backend(device)
    token = _current.set(backend)
    try:
        yield backend
    finally:
        _current.reset(token)


def chosen_device() -> str:
    """What "auto" is told to take here, by `use_device` or ONEPASS_DEVICE; "auto" by neither."""
    if (current := _current.get()) is not None:
        return current.device
    return os.environ.get(ENVIRONMENT_VARIABLE, "").strip() or "auto"


def why_device(backend: Backend) -> str:
    """One sentence for people: why "auto" gives `backend` at this moment."""
    if _current.get() is not None:
        return f"{backend.device} was chosen by use_device"
    if (wished := os.environ.get(ENVIRONMENT_VARIABLE, "").strip()) not in ("", "auto"):
        return f"{backend.device} was chosen by {ENVIRONMENT_VARIABLE}={wished}"
    gpu = best_gpu()
    if gpu.available:
        return f"{backend.device} is the first usable GPU ({gpu.name})"
    return f"{backend.device} because no GPU is usable: {gpu.reason}. To change that: {gpu.remedy}"


def _cuda(gpu: DeviceStatus, source: str) -> Backend:
    require(gpu, source)
    from .cupy_backend import CupyBackend

    return CupyBackend(parse_device(gpu.device)[1] or 0)
