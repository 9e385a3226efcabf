"""What every backend offers: where arrays live, and how they get there and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from .types import Array


class Memory(NamedTuple):
    """Bytes of the memory that a backend's arrays take from."""

    free: int
    total: int


class Backend(ABC):
    """One array library on one device. Made by `get_backend`, not directly.

    Attributes:
        xp: the array module, `numpy` or `cupy`.
        device: the device as a string, "cpu" or "cuda:N".

    Two backends are equal when their device is. A backend pickles as its device, and
    unpickling it where that device is missing raises `DeviceUnavailableError`.
    """

    xp: Any
    device: str

    @abstractmethod
    def asarray(self, values: Any, dtype: Any = None) -> Array:
        """`values` (array of any backend, list, scalar) as an array here; no copy if it is one.

        TypeError where they are complex, or times, and `dtype` is a real one.
        TypeError for a masked array, whose mask would be lost, and for a numpy.matrix.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> np.ndarray:
        """`array` as a NumPy array; waits for the device and copies only off a GPU."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until everything launched on this device has ended (nothing to do on the CPU)."""

    @abstractmethod
    def random(self, seed: int | None = None) -> Any:
        """A new random generator (`numpy.random.Generator` or CuPy's) that draws here."""

    @abstractmethod
    def memory(self) -> Memory:
        """Free and total bytes of this device's memory."""

    @abstractmethod
    def scope(self) -> AbstractContextManager[Any]:
        """A context in which `xp` allocates and launches on this device."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Backend) and self.device == other.device

    def __hash__(self) -> int:
        return hash(("onepass.Backend", self.device))

    def __repr__(self) -> str:
        return f"get_backend({self.device!r})"

    @abstractmethod
    def __reduce__(self) -> str | tuple[Any, ...]:
        """What makes this backend again in another process: its device, and no array library."""
