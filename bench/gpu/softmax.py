"""Softmax cross-entropy with its gradient: one public call, and what others write for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ... import kernels
from ...backend import Array, Backend, get_backend
from ..limits.steps import copy_limit
from ..measuring.candidate import Candidate
from ..measuring.results import assert_close, in_numpy
from ..measuring.synchronized import waited
from ..peers.torch_steps import tensor_of
from ..workloads.kernels.elementwise import Elementwise

SOFTMAX_SHAPES = ((128, 10), (8192, 1000), (4096, 50_000))
"""Rows and classes: a small network's, an image network's, a language model's."""

_RTOL = 1e-5


class Softmax(Elementwise):
    """The mean loss of rows of logits, and its gradient into new memory."""

    operation = "softmax"

    @property
    def bytes(self) -> int:
        """Read the logits, write their gradient."""
        return 2 * np.dtype(self.dtype).itemsize * self.size

    @property
    def paths(self) -> tuple[str, ...]:
        return "array", *self.fused, "limit", "torch"

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        backend, draw = get_backend(self.device), np.random.default_rng(0)
        logits = draw.standard_normal(self.shape, dtype="float32")
        labels = draw.integers(0, self.shape[1], self.shape[0])
        few = slice(0, 64)
        _, wanted = kernels.softmax_cross_entropy(logits[few], labels[few], engine="array")
        z, y = map(backend.asarray, (logits, labels))
        made = {}
        for path in paths:
            if path != "limit":
                found = self._call(path, z[few], y[few], backend)()
                assert_close([in_numpy(found, backend)], [wanted], _RTOL, f"{self.id} by {path}")
            call = self._call(path, z, y, backend)
            made[path] = Candidate(call if path == "limit" else waited(call, backend))
        return made

    def _call(self, path: str, z: Array, y: Array, backend: Backend) -> Callable[[], Any]:
        """What returns the gradient."""
        if path == "limit":
            return copy_limit(self.bytes, backend)
        if path == "torch":
            return torch_softmax(z, y)
        return lambda: kernels.softmax_cross_entropy(z, y, engine=path)[1]


def torch_softmax(z: Array, y: Array) -> Callable[[], Any]:
    """PyTorch's cross_entropy and its gradient on the same memory; ImportError without PyTorch."""
    import torch
    from torch.nn.functional import cross_entropy

    logits, labels = tensor_of(z).detach().requires_grad_(), tensor_of(y)

    def both() -> Any:
        return torch.autograd.grad(cross_entropy(logits, labels), logits)[0]

    return both
