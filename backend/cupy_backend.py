"""CuPy on one NVIDIA GPU. CuPy is imported when the first such backend is made."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .base import Backend, Memory
from .devices import probe_cuda, require
from .foreign import check_real, taken_in
from .machine.memory_limit import bytes_of
from .types import Array


class CupyBackend(Backend):
    """Arrays are `cupy.ndarray` on GPU `index`; launches are asynchronous."""

    def __init__(self, index: int) -> None:
        import cupy

        self.xp = cupy
        self.index = index
        self.device = f"cuda:{index}"

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        (values,) = taken_in(["values"], [values])
        check_real(values, dtype)
        with self.scope():
            array = self.xp.asarray(values, dtype=dtype)
            return array if array.device.id == self.index else array.copy()

    def to_numpy(self, array: Array) -> np.ndarray:
        return array.get() if hasattr(array, "get") else np.asarray(array)

    def synchronize(self) -> None:
        with self.scope():
            self.xp.cuda.runtime.deviceSynchronize()

    def random(self, seed: int | None = None) -> Any:
        with self.scope():
            return self.xp.random.default_rng(seed)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self.scope():
            return self.xp.empty(shape, dtype)

    def empty_like(self, array: Array) -> Array:
        with self.scope():
            return self.xp.empty_like(array)

    def memory(self) -> Memory:
        with self.scope():
            free, total = self.xp.cuda.runtime.memGetInfo()
            pool = self.xp.get_default_memory_pool()
            return Memory(free, total, pool.used_bytes(), pool.free_bytes(), pool.get_limit())

    def release_memory(self) -> None:
        with self.scope():
            self.xp.get_default_memory_pool().free_all_blocks()

    def set_memory_limit(self, limit: int | str | None) -> None:
        size = 0 if limit is None else bytes_of("limit", limit)
        with self.scope():
            self.xp.get_default_memory_pool().set_limit(size=size)

    def scope(self) -> AbstractContextManager[Any]:
        return self.xp.cuda.Device(self.index)

    def __reduce__(self) -> tuple[Any, ...]:
        return on_gpu, (self.index,)


def on_gpu(index: int, source: str = "a backend that was pickled") -> CupyBackend:
    """The backend of GPU `index`; DeviceUnavailableError names `source` where it can't be used."""
    require(probe_cuda(index), source)
    return CupyBackend(index)
