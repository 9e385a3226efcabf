"""Section "batch-norm": training's two directions and inference, with and without the ReLU, and
with a residual before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ....backend import Array, Backend, get_backend
from ....kernels.batch_norm.contract import Saved
from ...cases.batch_norm import VALUES, WITH_RESIDUAL, NormCase
from ...expressions.numpy_batch_norm import Idiomatic, Tuned, numpy_norm
from ...limits.numba_batch_norm import mover
from ...limits.steps import copy_limit
from ...measuring.candidate import Candidate
from ...measuring.counted_passes import count_passes
from ...measuring.results import assert_close, in_numpy
from ...measuring.synchronized import waited
from ...measuring.workload import Workload
from ...peers.torch_batch_norm import torch_norm

OPERATIONS = tuple(VALUES)
APART = "apart"
"""The path of ours whose residual and ReLU are calls of their own."""
DIRECTIONS = ("forward", "backward")
_RTOL = {"float32": 1e-5, "float64": 1e-11}


class Norm(Workload):
    """One public call, as a user writes it: new arrays for y and dx each time."""

    section = "batch-norm"

    def __init__(
        self,
        case: NormCase,
        what: str,
        dtype: str = "float32",
        device: str = "cpu",
        activation: str | None = None,
    ) -> None:
        self.case, self.what, self.activation = case, what, activation
        self.operation = " ".join(
            [what, *(["residual"] if case.residual else []), *([activation] if activation else [])]
        )
        self.label, self.dtype, self.device = case.name, dtype, device

    @property
    def size(self) -> int:
        return self.case.size

    @property
    def bytes(self) -> int:
        moved = WITH_RESIDUAL if self.case.residual else VALUES
        return moved[self.what] * np.dtype(self.dtype).itemsize * self.size

    @property
    def paths(self) -> tuple[str, ...]:
        limit = ("limit",) if self.device != "cpu" or self.dtype == "float32" else ()
        apart = (APART,) if self.case.residual and self.activation else ()
        return "array", "tuned", *self.fused, *apart, *limit, "torch"

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        wanted, backend = tuple(paths), get_backend(self.device)
        self._assert_same(wanted)
        arrays = self.case.arrays(self.dtype, backend)
        made = {}
        for path in wanted:
            call = self._call(path, arrays, backend)
            call()
            made[path] = self._candidate(path, call, backend)
        return made

    def _call(self, path: str, arrays: dict[str, Array], backend: Backend) -> Callable[[], Any]:
        if path == "limit" and self.device == "cpu":
            return mover(self.what, arrays["x"], arrays["dy"], arrays.get("residual"))
        if path == "limit":
            return copy_limit(self.bytes, backend)
        if path == "torch":
            return torch_norm(arrays, self.case.axis, self.activation)[self.what]
        if path == APART:
            return self.case.apart(arrays, self.fused[0])[self.what]
        if path in self.fused:
            return self.case.calls(arrays, path, self.activation)[self.what]
        kind = Idiomatic if path == "array" else Tuned
        own = {**arrays, "running_mean": arrays["running_mean"].copy()}
        own["running_var"] = arrays["running_var"].copy()
        made = kind(own, self.case.axis, self.activation is not None, backend.xp)
        return numpy_norm(made, self.what)

    def _candidate(self, path: str, call: Callable[[], Any], backend: Backend) -> Candidate:
        """With what the path costs besides time."""
        launches = moved = None
        if path in ("array", "tuned"):
            case = self._rows(4)
            names = tuple(case.arrays(self.dtype, get_backend("cpu")).items())

            def run(values: tuple[np.ndarray, ...]) -> None:
                small = dict(zip((name for name, _ in names), values, strict=True))
                kind = Idiomatic if path == "array" else Tuned
                made = kind(small, case.axis, self.activation is not None, np)
                for part in self.what.split("+"):
                    getattr(made, part)()

            if self.what != "backward":  # which needs a forward, and that is counted too
                passes = count_passes(run, tuple(array for _, array in names))
                launches, moved = passes.launches, passes.moved * self.size // case.size
        memory = self.memory(path, call)
        if path != "limit":  # which waits by itself
            call = waited(call, backend)
        return Candidate(call, launches=launches, moved=moved, memory=memory)

    def _rows(self, count: int) -> NormCase:
        """The case with so many rows."""
        return replace(self.case, shape=(count, *self.case.shape[1:]))

    def _assert_same(self, paths: Iterable[str]) -> None:
        """Every path gives what the careful array engine gives, on a few of the rows."""
        case = self._rows(min(4, self.case.shape[0]))
        small, backend = (
            Norm(case, self.what, self.dtype, self.device, self.activation),
            get_backend(self.device),
        )
        arrays = case.arrays(self.dtype, backend)
        wanted = _results(case.calls(arrays, "array", self.activation)[self.what](), backend)
        for path in paths:
            if path == "limit":
                continue
            found = _results(
                small._call(path, case.arrays(self.dtype, backend), backend)(), backend
            )
            if path == "torch" and self.case.axis == -1:
                found = [np.moveaxis(a, 1, -1) if a.ndim == 4 else a for a in found]
            rtol = _RTOL[self.dtype] * (10 if path != "numba" else 1)
            assert_close(found, wanted, rtol, f"{self.id} by {path}")


def _results(found: Any, backend: Backend) -> list[np.ndarray]:
    """The arrays that a call returned, without what a backward needs."""
    if isinstance(found, tuple) and isinstance(found[-1], Saved):
        found = found[0]
    arrays = found if isinstance(found, tuple) else (found,)
    return [in_numpy(array, backend).astype("float64", copy=False) for array in arrays]
