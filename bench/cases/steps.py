"""What is measured: every optimizer rule, its arrays, its call, and the bytes that it must move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import kernels
from ...backend import Array, Backend
from .sizes import DRAWN

_STEP = 10


@dataclass(frozen=True)
class Case:
    """One public step function with one choice of its options."""

    name: str
    step: Callable[..., None]
    states: int
    options: dict[str, Any] = field(default_factory=dict)

    def arrays(self, size: int, dtype: str, backend: Backend, seed: int = 0) -> tuple[Array, ...]:
        """param, grad and the states as after some steps: no zeros, no denormal numbers."""
        draw, drawn = np.random.default_rng(seed), min(size, DRAWN)
        made = [draw.standard_normal(drawn, dtype="float32") for _ in range(2 + self.states)]
        for state in made[2:]:
            np.abs(state, out=state)
            state += 1
        arrays = (backend.asarray(array.astype(dtype)) for array in made)
        return tuple(_repeated(array, size, backend) for array in arrays)

    def call(self, arrays: tuple[Array, ...], engine: str) -> Callable[[], None]:
        """The whole public call on `arrays`, as a user writes it."""
        step, options = self.step, {**self.options, "lr": 1e-4, "engine": engine}
        return lambda: step(*arrays, **options)

    def bytes_per_element(self, itemsize: int = 4) -> int:
        """Read param, grad, states; write param, states."""
        return itemsize * (2 + self.states + 1 + self.states)


CASES = {
    case.name: case
    for case in (
        Case("sgd", kernels.sgd_step, 0),
        Case("momentum", kernels.momentum_step, 1),
        Case("nesterov", kernels.momentum_step, 1, {"nesterov": True}),
        Case("adagrad", kernels.adagrad_step, 1),
        Case("rmsprop", kernels.rmsprop_step, 1),
        Case("adam", kernels.adam_step, 2, {"step": _STEP}),
        Case(
            "adamw", kernels.adam_step, 2, {"step": _STEP, "decoupled": True, "weight_decay": 1e-2}
        ),
        Case("amsgrad", kernels.amsgrad_step, 3, {"step": _STEP}),
        Case("nadam", kernels.nadam_step, 2, {"step": _STEP}),
        Case("radam", kernels.radam_step, 2, {"step": _STEP}),
        Case("adamax", kernels.adamax_step, 2, {"step": _STEP}),
        Case("adadelta", kernels.adadelta_step, 2),
        Case("lion", kernels.lion_step, 1),
    )
}


def _repeated(values: Array, size: int, backend: Backend) -> Array:
    """`values` again and again, up to `size` of them."""
    if size == values.size:
        return values
    with backend.scope():
        return backend.xp.tile(values, -(-size // values.size))[:size].copy()


def assert_same(case: Case, size: int, dtype: str, backend: Backend, engine: str) -> None:
    """Raise unless `engine` gives what the array path gives; run before anything is timed."""
    results = []
    for name in (engine, "array"):
        arrays = case.arrays(size, dtype, backend)
        case.call(arrays, name)()
        results.append([backend.to_numpy(array) for array in arrays])
    rtol = {"float64": 1e-13, "float32": 1e-5}.get(dtype, 1e-2)
    for fused, plain in zip(*results, strict=True):
        np.testing.assert_allclose(fused, plain, rtol=rtol, atol=rtol)
