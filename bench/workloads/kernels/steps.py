"""Section "steps": every optimizer rule, by every path, from 100 elements to 100 million.

Arrays have one axis, but for one case of small matrices, which must take no longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from ....backend import Array, get_backend
from ....kernels.crew.crew import HELPED
from ...cases.sizes import LOOP
from ...cases.steps import Case
from ...expressions.numpy_steps import LR, tuned_step
from ...expressions.python_adam import adam_loop
from ...limits.steps import limit
from ...measuring.candidate import Call, Candidate
from ...measuring.counted_passes import count_passes
from ...measuring.synchronized import waited
from ...measuring.workload import Workload
from ...peers.steps import PEER_PATHS, peer_step, same_results
from ...peers.steps import why_missing as why_no_peer

_CHECKED = 10_007  # elements that are compared before anything is timed
_RTOL = {"float16": 1e-2, "float32": 1e-5, "float64": 1e-13}


class Step(Workload):
    """One call of a public step function, as a user writes it."""

    section = "steps"

    def __init__(
        self,
        case: Case,
        label: str,
        size: int,
        dtype: str,
        device: str = "cpu",
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self.case, self.label, self.shape = case, label, shape or (size,)
        self.operation = case.name if shape is None else f"{case.name} {len(shape)}-D"
        self.dtype, self.device, self._size = dtype, device, size

    @property
    def size(self) -> int:
        return self._size

    @property
    def bytes(self) -> int:
        return self.case.bytes_per_element(np.dtype(self.dtype).itemsize) * self.size

    @property
    def paths(self) -> tuple[str, ...]:
        if self.device != "cpu":
            return "array", "tuned", *self.fused, "limit", *PEER_PATHS
        loop = ("loop",) if self.operation == "adam" and self.size <= LOOP else ()
        return *loop, "array", "tuned", "serial", "numba", "limit", *PEER_PATHS

    def missing(self, path: str) -> str:
        if path in PEER_PATHS:
            return why_no_peer(path, self.case.name, self.device, self.dtype)
        return super().missing(path)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        """All paths work on the same arrays; each block begins with the same values."""
        wanted = tuple(paths)
        self._assert_same(wanted)
        backend = get_backend(self.device)
        arrays, start = (
            tuple(a.reshape(self.shape) for a in self.case.arrays(self.size, self.dtype, backend))
            for _ in range(2)
        )

        def reset() -> None:
            for array, values in zip(arrays, start, strict=True):
                array[...] = values

        return {
            path: self._candidate(path, call, reset, start)
            for path, call in self._calls(wanted, arrays).items()
        }

    def _calls(self, paths: Iterable[str], arrays: tuple[Array, ...]) -> dict[str, Candidate]:
        """Each path on `arrays`."""
        backend, case = get_backend(self.device), self.case
        made: dict[str, Candidate] = {}
        for path in paths:
            if path in PEER_PATHS:
                made[path] = peer_step(path, case.name, arrays)
                continue
            call: Call
            if path == "loop":
                call = partial(adam_loop, *arrays)
            elif path == "limit":
                call = limit(tuple(array.reshape(-1) for array in arrays), backend)
            elif path == "tuned":
                call = tuned_step(case.name, backend.xp, arrays)
            elif path == "serial":
                call = _serial(case, arrays)
            else:
                call = case.call(arrays, path)
            made[path] = Candidate(call if path == "limit" else waited(call, backend))
        return made

    def _candidate(
        self, path: str, made: Candidate, reset: Call, start: tuple[Array, ...]
    ) -> Candidate:
        """With what puts the data back, and what the path costs besides time."""
        before = made.reset

        def both() -> None:
            reset()
            if before is not None:
                before()

        both()
        made.call()  # compiles
        both()
        launches = moved = None
        if path in ("array", "tuned"):
            passes = count_passes(partial(self._plain, path), _samples(start))
            launches, moved = passes.launches, passes.moved * self.size // _samples(start)[0].size
        elif path in ("serial", *self.fused):
            launches, moved = 1, self.bytes
        memory = self.memory(path, made.call)
        return Candidate(made.call, both, made.before, launches, moved, memory)

    def _plain(self, path: str, arrays: tuple[Array, ...]) -> None:
        """The expressions of "array" or "tuned", without checks."""
        if path == "tuned":
            tuned_step(self.case.name, np, arrays)()
        else:
            self.case.call(arrays, "array")()

    def _assert_same(self, paths: Iterable[str]) -> None:
        """Every path gives in one step what the array path gives, from the same start.

        Parameters are made as small as the learning rate, so that an update weighs as much.
        """
        size, backend = min(self.size, _CHECKED), get_backend(self.device)

        def after(path: str) -> list[np.ndarray]:
            arrays = self.case.arrays(size, self.dtype, backend)
            start = self.case.arrays(size, self.dtype, backend)
            candidate = self._calls([path], arrays)[path]
            for array, values in zip(arrays, start, strict=True):
                array[...] = values
            arrays[0][...] *= LR
            if candidate.reset is not None:
                candidate.reset()
            candidate.call()
            return [backend.to_numpy(array) for array in arrays]

        reference, rtol = after("array"), _RTOL[self.dtype]
        for path in paths:
            if path in PEER_PATHS:
                same_results(self.case, size, self.dtype, backend, path)
            elif path not in ("array", "limit"):
                for found, wanted in zip(after(path), reference, strict=True):
                    atol = rtol * float(np.abs(wanted).mean())
                    np.testing.assert_allclose(
                        found, wanted, rtol, atol, err_msg=f"{self.id} by {path}"
                    )


def _samples(arrays: tuple[Array, ...]) -> tuple[np.ndarray, ...]:
    """A few elements of each, on the CPU."""
    return tuple(
        np.asarray(array[:64].get() if hasattr(array, "get") else array[:64]) for array in arrays
    )


def _serial(case: Case, arrays: tuple[Array, ...]) -> Call:
    """On one core whatever the size: in pieces below those that helpers take part in."""
    piece = HELPED // (arrays[0].itemsize * len(arrays)) - 1
    flat = [array.reshape(-1) for array in arrays]
    calls = [
        case.call(tuple(array[low : low + piece] for array in flat), "numba")
        for low in range(0, arrays[0].size, piece)
    ]

    def run() -> None:
        for call in calls:
            call()

    return run
