"""What every backend offers: where arrays live, and how they get there and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from .types import Array


class Memory(NamedTuple):
    """Bytes of the memory that a backend's arrays take from, and of the pool that keeps some.

    Attributes:
        free, total: of the device.
        in_use: of the pool's blocks that hold arrays.
        kept: of those that are free, for the next arrays.
        limit: what both are at most; 0: no pool on the CPU, no limit on a GPU.
        hits, misses: how often a block was there for an array, and how often it was not; None on a
            GPU, whose pool doesn't count.
    """

    free: int
    total: int
    in_use: int = 0
    kept: int = 0
    limit: int = 0
    hits: int | None = None
    misses: int | None = None


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
    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A new array, of what the memory held before; it comes from the pool where it is large.

        On the CPU that is from a megabyte on, on a GPU always.
        """

    @abstractmethod
    def empty_like(self, array: Array) -> Array:
        """The same of the shape, dtype and order in memory of `array`."""

    @abstractmethod
    def memory(self) -> Memory:
        """Free and total bytes of this device's memory, and what its pool has of them.

        Results of the library's own come from a pool, which keeps their memory when they are gone:
        on the CPU those of a megabyte and more, on a GPU all, from CuPy's pool.

        Example:
            >>> from onepass import get_backend
            >>> memory = get_backend("cpu").memory()
            >>> memory.in_use + memory.kept <= memory.limit
            True
        """

    @abstractmethod
    def release_memory(self) -> None:
        """Give what the pool keeps back to the system; arrays that are there stay as they are."""

    @abstractmethod
    def set_memory_limit(self, limit: int | str | None) -> None:
        """Let the pool have no more than `limit`, in use and kept; it concerns the whole process.

        Args:
            limit: bytes, as a number or a text such as "512M" or "2G" (of 1024^3). None: the
                default, on the CPU what the environment variable ONEPASS_MEMORY_LIMIT says, else a
                quarter of the machine's memory, or of what a container may have; on a GPU none.
                0: no pool on the CPU, no limit on a GPU.

        Raises:
            TypeError: `limit` is no number and no text.
            ValueError: it is negative, or says no number of bytes.

        Conventions: on the CPU arrays beyond the limit are made all the same, of memory that the
            system takes back at once, and of what is kept the oldest goes first. On a GPU the
            limit is CuPy's, for all arrays of this process, and what goes beyond it is a
            cupy.cuda.memory.OutOfMemoryError.
        """

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
