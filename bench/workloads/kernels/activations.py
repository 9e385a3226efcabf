"""Activations with a bias, for the section "elementwise": forward, and backward with its sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from .... import kernels
from ....backend import Array, Backend, get_backend
from ...expressions.numpy_activation import Arrays, Idiomatic, Tuned
from ...limits.numba_activation import mover
from ...limits.steps import copy_limit
from ...measuring.candidate import Candidate
from ...measuring.counted_passes import count_passes
from ...measuring.results import assert_close, in_numpy
from ...measuring.synchronized import waited
from ...measuring.workload import Workload
from ...peers.torch_steps import tensor_of
from .elementwise import Elementwise

KINDS = ("relu", "sigmoid", "tanh", "silu", "gelu_tanh")
FROM_X = ("silu", "gelu_tanh")
"""Whose backward reads x and the bias in the place of y."""
ARRAYS = {"forward": 2, "backward": 3}
"""Read x and write y; read dy and y, or x, and write dz."""

ACTIVATION_SHAPES = ((128, 256), (128, 1024), (4096, 1024))
"""Layers of small networks, and arrays beyond a core's caches."""

_RTOL = 1e-5
_COUNTED = 4  # rows on which passes are counted


class Activation(Elementwise):
    """One public call, as a user writes it: a new array for y, or dz, each time."""

    def __init__(self, shape: tuple[int, int], kind: str, what: str, device: str = "cpu") -> None:
        super().__init__(shape, device)
        self.kind, self.what, self.operation = kind, what, f"bias and {kind}, {what}"

    @property
    def bytes(self) -> int:
        return ARRAYS[self.what] * np.dtype(self.dtype).itemsize * self.size

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        backend = get_backend(self.device)
        draw = np.random.default_rng(0)
        x, dy = (draw.standard_normal(self.shape, dtype="float32") for _ in range(2))
        bias = draw.standard_normal(self.shape[1], dtype="float32")
        y = kernels.activation_forward(x, self.kind, bias=bias, engine="array")
        host = Arrays(x, bias, dy, y)
        arrays = Arrays(*map(backend.asarray, host))
        made = {}
        for path in paths:
            call = self._call(path, arrays, backend)
            found = call()
            if path != "limit":
                self._assert_same(path, found, host, backend)
                call = waited(call, backend)
            made[path] = self._candidate(path, call)
        return made

    def _call(self, path: str, arrays: Arrays, backend: Backend) -> Callable[[], Any]:
        x, bias, dy, y = arrays
        if path == "limit":
            on_cpu = self.device == "cpu"
            first, second = (x, x) if self.what == "forward" else (dy, y)
            return mover(self.what, first, second) if on_cpu else copy_limit(self.bytes, backend)
        if path == "torch":
            return torch_activation(self.kind, self.what, x, bias, dy)
        if path in ("array", "tuned"):
            kind = Idiomatic if path == "array" else Tuned
            with backend.scope():
                made = kind(arrays, self.kind, backend.xp)
            call: Callable[[], Any] = getattr(made, self.what)
            return call
        if self.what == "forward":
            return lambda: kernels.activation_forward(x, self.kind, bias=bias, engine=path)
        sums = backend.xp.empty_like(bias)
        return lambda: (self._backward(arrays, sums, path), sums)

    def _backward(self, arrays: Arrays, sums: Array, engine: str) -> Array:
        x, bias, dy, y = arrays
        told, added = (x, bias) if self.kind in FROM_X else (y, None)
        return kernels.activation_backward(
            dy, told, self.kind, bias=added, bias_grad=sums, engine=engine
        )

    def _candidate(self, path: str, call: Callable[[], Any]) -> Candidate:
        """With what the path costs besides time."""
        launches = moved = None
        if path in ("array", "tuned"):
            kind = Idiomatic if path == "array" else Tuned
            rows = np.ones((_COUNTED, self.shape[1]), self.dtype)

            def run(arrays: tuple[np.ndarray, ...]) -> None:
                getattr(kind(Arrays(*arrays), self.kind, np), self.what)()

            passes = count_passes(run, (rows, rows[0], rows, rows))
            launches, moved = passes.launches, passes.moved * self.shape[0] // _COUNTED
        return Candidate(call, launches=launches, moved=moved, memory=self.memory(path, call))

    def _assert_same(self, path: str, found: Any, arrays: Arrays, backend: Backend) -> None:
        """The path gives what the array engine gives."""
        if self.what == "forward":
            found, wanted = (found,), [arrays.y]
        else:
            sums = np.empty_like(arrays.bias)
            wanted = [self._backward(arrays, sums, "array"), sums]
        mine = (in_numpy(array, backend) for array in found)
        assert_close(mine, wanted, _RTOL, f"{self.id} by {path}")


def torch_activation(kind: str, what: str, x: Array, bias: Array, dy: Array) -> Callable[[], Any]:
    """PyTorch's addition and function, and their gradients, on the same memory.

    ImportError where PyTorch is missing.
    """
    import torch

    functions = {
        "silu": torch.nn.functional.silu,
        "gelu_tanh": partial(torch.nn.functional.gelu, approximate="tanh"),
    }
    function = functions.get(kind) or getattr(torch, kind)
    given, added, gradient = map(tensor_of, (x, bias, dy))

    def forward() -> Any:
        with torch.no_grad():
            return function(given + added)

    if what == "forward":
        return forward
    leaves = [tensor.detach().requires_grad_() for tensor in (given, added)]
    y = function(leaves[0] + leaves[1])
    return lambda: torch.autograd.grad(y, leaves, gradient, retain_graph=True)


def activations(shapes: Iterable[tuple[int, int]], device: str) -> list[Workload]:
    """A workload for each shape, kind and direction."""
    shapes = tuple(shapes)
    return [
        Activation(shape, kind, what, device)
        for what in ARRAYS
        for kind in KINDS
        for shape in shapes
    ]
