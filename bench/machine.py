"""`onepass info`: what this machine has, and why not the rest."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

from ..backend import describe_devices, get_backend, usable_cores, why_device
from ..backend.devices import processor
from ..backend.version import __version__
from ..kernels import engines, get_num_threads
from ..kernels.crew.threads import current_threads

_PACKAGES = (
    "numpy",
    "numba",
    "cupy-cuda13x",
    "cupy-cuda12x",
    "numba-cuda",
    "scikit-learn",
    "torch",
    "deepspeed",
    "jax",
)


def versions() -> dict[str, str]:
    """Versions of Python, this library and the packages that matter to it, where installed."""
    found = {"python": platform.python_version(), "onepass": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> list[str]:
    """What figures depend on: processor, cores, memory, devices; threads, if other than cores."""
    import psutil

    cores, threads = usable_cores(), get_num_threads()
    beside = "" if threads == cores else f" ({threads} threads)"
    gigabytes = psutil.virtual_memory().total / 2**30
    return [
        f"{processor()}, {cores} cores{beside}, {gigabytes:.0f} GiB, {platform.system()}",
        *map(str, describe_devices()),
    ]


def print_info(console: Console | None = None) -> None:
    """Print versions, threads, devices and engines; for what is missing its reason and remedy."""
    console = console or Console(markup=False)
    console.print(", ".join(f"{name} {number}" for name, number in versions().items()))
    backend = get_backend()
    console.print(f'"auto" takes {why_device(backend)}.', highlight=False)
    threads = current_threads()
    console.print(f"threads: {threads.number} ({threads.reason})\n", highlight=False)

    devices = Table(title="devices", title_justify="left")
    for column in ("device", "usable", "what, or why not", "remedy"):
        devices.add_column(column, overflow="fold")
    for device in describe_devices():
        devices.add_row(
            device.device, _yes(device.available), device.name or device.reason, device.remedy
        )
    console.print(devices)

    table = Table(title="engines", title_justify="left")
    for column in ("engine", "usable", "runs on", "dtypes", "why not"):
        table.add_column(column, overflow="fold")
    for engine in engines().values():
        table.add_row(
            engine.name,
            _yes(engine.available),
            ", ".join(engine.devices),
            ", ".join(engine.dtypes),
            engine.reason,
        )
    console.print(table)


def _yes(available: bool) -> str:
    return "yes" if available else "no"
