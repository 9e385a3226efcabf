"""NumPy on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from array_api_compat import is_cupy_array

from .base import Backend, Memory
from .foreign import check_real, taken_in
from .machine.memory_limit import bytes_of
from .memory_pool import PERHAPS, POOL, converted, empty, empty_like
from .types import Array


class NumpyBackend(Backend):
    """Arrays are `numpy.ndarray`; everything has ended when a call returns."""

    xp = np
    device = "cpu"

    def asarray(self, values: Any, dtype: Any = None) -> np.ndarray:
        if type(values) is not np.ndarray:
            (values,) = taken_in(["values"], [values])
            if is_cupy_array(values):
                values = values.get()
            check_real(values, dtype)
        elif values.dtype.kind in "cmM":
            check_real(values, dtype)
        if dtype is not None and type(values) is np.ndarray and values.nbytes >= PERHAPS:
            return converted(values, dtype)
        return np.asarray(values, dtype=dtype)

    def to_numpy(self, array: Array) -> np.ndarray:
        return self.asarray(array)

    def synchronize(self) -> None:
        return None

    def random(self, seed: int | None = None) -> np.random.Generator:
        return np.random.default_rng(seed)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return empty(shape, dtype)

    def empty_like(self, array: Array) -> np.ndarray:
        return empty_like(array)

    def memory(self) -> Memory:
        import psutil

        figures = psutil.virtual_memory()
        return Memory(figures.available, figures.total, *POOL.figures())

    def release_memory(self) -> None:
        POOL.release()

    def set_memory_limit(self, limit: int | str | None) -> None:
        POOL.set_limit(None if limit is None else bytes_of("limit", limit))

    def scope(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def __reduce__(self) -> str:
        return "CPU"


CPU = NumpyBackend()
