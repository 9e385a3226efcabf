"""Dropout, for the section "elementwise": one public call, and what others write for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any

import numpy as np

from .... import kernels
from ....backend import Array, Backend, get_backend
from ...limits.steps import copy_limit
from ...measuring.candidate import Candidate
from ...measuring.results import in_numpy
from ...measuring.synchronized import waited
from ...measuring.workload import Workload
from ...peers.torch_steps import tensor_of
from .elementwise import Elementwise

KEEP_PROB = 0.8
SHAPES = ((128, 256), (4096, 1024))
"""A layer of a small network, and an array beyond a core's caches."""

_SIGMAS = 5.0
_RTOL = 1e-6


class Dropout(Elementwise):
    """Training's forward pass; backward is the same call. A new array for y each time."""

    operation = "dropout"

    @property
    def bytes(self) -> int:
        """Read x, write y: the mask is told from numbers."""
        return 2 * np.dtype(self.dtype).itemsize * self.size

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        backend = get_backend(self.device)
        draw = np.random.default_rng(0)
        x = backend.asarray(draw.standard_normal(self.shape, dtype="float32"))
        made = {}
        for path in paths:
            call = self._call(path, x, backend)
            self._assert_dropout(path, call(), x, backend)
            memory = self.memory(path, call)
            if path != "limit":  # which waits by itself
                call = waited(call, backend)
            made[path] = Candidate(call, memory=memory)
        return made

    def _call(self, path: str, x: Array, backend: Backend) -> Callable[[], Any]:
        if path == "limit":
            return copy_limit(self.bytes, backend)
        if path == "torch":
            return torch_dropout(x)
        if path in ("array", "tuned"):
            make = expressions if path == "array" else Tuned
            with backend.scope():
                return make(x, backend)
        return lambda: kernels.dropout(x, KEEP_PROB, seed=1, draw=2, engine=path)

    def _assert_dropout(self, path: str, y: Any, x: Array, backend: Backend) -> None:
        """Each element is 0 or x / keep_prob, and as many are kept as were asked for.

        Each path draws numbers of its own; ours draws the same on all engines.
        """
        if path == "limit":
            return
        given = backend.to_numpy(x)
        found = in_numpy(y, backend)
        kept = found != 0
        wanted = np.where(kept, given / np.float32(KEEP_PROB), 0)
        np.testing.assert_allclose(found, wanted, _RTOL, err_msg=f"{self.id} by {path}")
        sigma = sqrt(KEEP_PROB * (1 - KEEP_PROB) / self.size)
        assert abs(kept.mean() - KEEP_PROB) < _SIGMAS * sigma, f"{self.id} by {path}: share kept"
        if path in kernels.engines() and path != "array":
            ours = kernels.dropout(given, KEEP_PROB, seed=1, draw=2, engine="array")
            assert np.array_equal(found, ours), f"{self.id} by {path}: another mask"


def expressions(x: Array, backend: Backend) -> Callable[[], Array]:
    """As it is written in array expressions."""
    random = backend.random(0)
    return lambda: x * (random.random(x.shape) < KEEP_PROB) / KEEP_PROB


class Tuned:
    """As a careful user writes it: random numbers of x's dtype, and no temporary array twice."""

    def __init__(self, x: Array, backend: Backend) -> None:
        self.x, self.xp, self.random = x, backend.xp, backend.random(0)
        self.uniform = self.xp.empty(x.shape, x.dtype)
        self.kept = self.xp.empty(x.shape, bool)

    def __call__(self) -> Array:
        self.random.random(dtype=self.x.dtype, out=self.uniform)
        self.xp.less(self.uniform, KEEP_PROB, out=self.kept)
        y = self.xp.multiply(self.x, self.kept)
        y *= 1 / KEEP_PROB
        return y


def torch_dropout(x: Array) -> Callable[[], Any]:
    """PyTorch's F.dropout on the same memory; ImportError where PyTorch is missing."""
    import torch
    from torch.nn.functional import dropout

    tensor = tensor_of(x)

    def forward() -> Any:
        with torch.no_grad():
            return dropout(tensor, 1 - KEEP_PROB, training=True)

    return forward


def dropouts(shapes: Iterable[tuple[int, ...]], device: str) -> list[Workload]:
    """A workload a shape."""
    return [Dropout(shape, device) for shape in shapes]
