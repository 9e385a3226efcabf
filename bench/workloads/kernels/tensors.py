"""Section "tensors": one Adam step over many small tensors, separate and in one buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from ....backend import Array, get_backend
from ....nets import Adam
from ....nets.network.parameters import Parameters
from ...limits.steps import limit
from ...measuring.candidate import Candidate
from ...measuring.synchronized import waited
from ...measuring.workload import Workload
from ...peers.torch_steps import TORCH_PATHS, tensor_of, why_no_torch

LR = 1e-4


class Tensors(Workload):
    """The step of an optimizer object on `count` tensors of `length` elements each."""

    section = "tensors"
    operation = "adam"

    def __init__(self, count: int, length: int, device: str = "cpu") -> None:
        self.count, self.length, self.dtype, self.device = count, length, "float32", device
        self.label = f"{count} x {length}"

    @property
    def size(self) -> int:
        return self.count

    @property
    def bytes(self) -> int:
        return 28 * self.count * self.length

    @property
    def paths(self) -> tuple[str, ...]:
        return "array", "separate", "flat", "limit", *TORCH_PATHS

    def missing(self, path: str) -> str:
        if path in TORCH_PATHS:
            return why_no_torch(path, "adam", self.device)
        return super().missing(path)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        made = {path: self._made(path) for path in paths}
        reference = None
        for path, (call, values) in made.items():
            call()
            if path != "limit":
                found = values()
                reference = found if reference is None else reference
                np.testing.assert_allclose(
                    found, reference, 1e-5, 1e-6, err_msg=f"{self.id} by {path}"
                )
        return {path: Candidate(call) for path, (call, _) in made.items()}

    def _made(self, path: str) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
        """The step, and what reads the parameters."""
        backend, draw = get_backend(self.device), np.random.default_rng(0)
        shape = (self.count, self.length)
        param, grad = (
            backend.asarray(draw.standard_normal(shape, dtype="float32")) for _ in range(2)
        )

        def values() -> np.ndarray:
            return backend.to_numpy(param).reshape(-1)

        if path == "limit":
            states = (backend.xp.zeros_like(param) for _ in range(2))
            arrays = tuple(array.reshape(-1) for array in (param, grad, *states))
            return limit(arrays, backend), values
        if path in TORCH_PATHS:
            return waited(self._torch(path, param, grad), backend), values
        if path == "flat":
            parameters = Parameters(
                {f"{k}": (self.length,) for k in range(self.count)}, device=backend
            )
            parameters.flat[...], parameters.flat_grads[...] = param.reshape(-1), grad.reshape(-1)
            step: Callable[[], Any] = Adam(parameters, lr=LR).step
            return waited(step, backend), lambda: backend.to_numpy(parameters.flat)
        engine = "array" if path == "array" else "auto"
        optimizer = Adam(list(param), lr=LR, engine=engine)
        return waited(partial(optimizer.step, list(grad)), backend), values

    def _torch(self, path: str, param: Array, grad: Array) -> Callable[[], Any]:
        import torch

        tensors = [torch.nn.Parameter(tensor_of(row)) for row in param]
        for tensor, row in zip(tensors, grad, strict=True):
            tensor.grad = tensor_of(row)
        choice: dict[str, Any] = TORCH_PATHS[path]
        step: Callable[[], Any] = torch.optim.Adam(tensors, lr=LR, **choice).step
        return step


class FewTensors(Tensors):
    """What a step of an optimizer object costs, where arithmetic costs next to nothing."""

    section = "steps"
    operation = "Adam.step"

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for path in super().paths if path != "flat")
