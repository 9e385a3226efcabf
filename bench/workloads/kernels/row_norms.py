"""Section "norms": layer, RMS and group norm, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ....backend import Array, Backend, get_backend
from ...cases.row_norms import VALUES, RowNormCase
from ...expressions.numpy_row_norms import Idiomatic, Tuned, numpy_row_norm
from ...limits.numba_activation import mover
from ...limits.steps import copy_limit
from ...measuring.candidate import Candidate
from ...measuring.results import assert_close, in_numpy
from ...measuring.synchronized import waited
from ...measuring.why_missing import why_missing
from ...measuring.workload import Workload
from ...peers.jax_steps import why_no_jax
from ...peers.row_norms import jax_row_norm, torch_row_norm

_RTOL = 1e-4


class RowNorm(Workload):
    """One public call, as a user writes it: new arrays for y and dx each time."""

    section, dtype = "norms", "float32"

    def __init__(self, case: RowNormCase, what: str, device: str = "cpu") -> None:
        self.case, self.what, self.device = case, what, device
        self.operation = f"{case.kind.replace('_', ' ')}, {what}"
        self.label = case.name

    @property
    def size(self) -> int:
        return self.case.size

    @property
    def bytes(self) -> int:
        return VALUES[self.what] * np.dtype(self.dtype).itemsize * self.size

    @property
    def paths(self) -> tuple[str, ...]:
        return "array", "tuned", *self.fused, "limit", "torch", "jax"

    def missing(self, path: str) -> str:
        return why_no_jax(self.device) if path == "jax" else why_missing(path, self.device)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        backend = get_backend(self.device)
        arrays = self.case.arrays(self.dtype, backend)
        reference = self.case.calls(arrays, "array")[self.what]()
        wanted = [array.astype("float64", copy=False) for array in _arrays(reference, backend)]
        made = {}
        for path in paths:
            call = self._call(path, arrays, backend)
            found = call()
            if path != "limit":  # which waits by itself
                assert_close(_arrays(found, backend), wanted, _RTOL, f"{self.id} by {path}")
                call = waited(call, backend)
            made[path] = Candidate(call, memory=self.memory(path, call))
        return made

    def _call(self, path: str, arrays: dict[str, Array], backend: Backend) -> Callable[[], Any]:
        if path in self.fused:
            return self.case.calls(arrays, path)[self.what]
        if path == "torch":
            return torch_row_norm(arrays, self.case, self.what)
        if path == "jax":
            return jax_row_norm(arrays, self.case, self.what)
        if path == "limit":
            return self._limit(arrays, backend)
        with backend.scope():
            kind = Idiomatic if path == "array" else Tuned
            return numpy_row_norm(kind(arrays, self.case, backend.xp), self.what)

    def _limit(self, arrays: dict[str, Array], backend: Backend) -> Callable[[], Any]:
        if self.device != "cpu":
            return copy_limit(self.bytes, backend)
        parts = [mover(what, arrays["x"], arrays["dy"]) for what in self.what.split("+")]
        return lambda: [part() for part in parts]


def _arrays(found: Any, backend: Backend) -> list[np.ndarray]:
    given = found if isinstance(found, list | tuple) else (found,)
    return [in_numpy(array, backend) for array in given]
