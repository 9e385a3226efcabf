"""Section "optimizers": what groups, averages, clipping and scaling add to a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ....backend import get_backend
from ....nets import AdamW, LossScaler
from ....nets.network.parameters import Parameters
from ...limits.steps import limit
from ...measuring.candidate import Candidate
from ...measuring.synchronized import waited
from ...measuring.workload import Workload

LAYERS = 4
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "groups": {"no_decay": "1-D"},
    "four groups": {"no_decay": "1-D", "groups": {"0.*": {"lr": 1e-5}}},
    "average": {"use_ema": True},
    "clip value": {"clip_value": 1.0},
    "clip norm": {"clip_norm": 1e9},
    "scaler": {"scaler": True},
    "scaler, clip norm": {"scaler": True, "clip_norm": 1e9},
}
"""What the optimizer is made with, by path."""
LIMITS = {"limit": 2, "limit with an average": 3}
"""States that are read and written beside the parameters, by path."""


class OptimizerOptions(Workload):
    """AdamW's step on a network's parameters: some matrices, each with a bias; its decay is on."""

    section = "optimizers"
    operation = "adamw"
    dtype = "float32"

    def __init__(self, label: str, size: int, device: str = "cpu") -> None:
        self.label, self.device = label, device
        self.width = max(2, int((size / LAYERS) ** 0.5))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        width = self.width
        shapes = {"weight": (width, width), "bias": (width,)}
        return {f"{k}.{name}": shape for k in range(LAYERS) for name, shape in shapes.items()}

    @property
    def size(self) -> int:
        return LAYERS * self.width * (self.width + 1)

    @property
    def bytes(self) -> int:
        return 28 * self.size

    @property
    def paths(self) -> tuple[str, ...]:
        return (*OPTIONS, *LIMITS)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        made = {}
        for path in paths:
            if path in LIMITS:
                made[path] = Candidate(self._limit(LIMITS[path]))
                continue
            step, params = self._step(path, "auto")
            plainly, wanted = self._step(path, "array")
            for _ in range(3):
                step()
                plainly()
            found, want = (each.backend.to_numpy(each.flat) for each in (params, wanted))
            np.testing.assert_allclose(found, want, 1e-5, 1e-6, err_msg=f"{self.id} by {path}")
            made[path] = Candidate(step)
        return made

    def _limit(self, states: int) -> Callable[[], Any]:
        backend = get_backend(self.device)
        zeros = np.zeros(self.size, "float32")
        return limit(tuple(backend.asarray(zeros.copy()) for _ in range(2 + states)), backend)

    def _step(self, path: str, engine: str) -> tuple[Callable[[], Any], Parameters]:
        params = Parameters(self.shapes, device=self.device)
        draw = np.random.default_rng(0)
        for array in (params.flat, params.flat_grads):
            array[...] = params.backend.asarray(draw.standard_normal(self.size, dtype="float32"))
        options = dict(OPTIONS[path])
        scaled = options.pop("scaler", False)
        optimizer = AdamW(params, lr=1e-4, engine=engine, **options)
        if not scaled:
            return waited(optimizer.step, params.backend), params
        scaler = LossScaler(1.0, growth_factor=1.0)
        return waited(lambda: scaler.step(optimizer), params.backend), params
