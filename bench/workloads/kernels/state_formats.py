"""Section "state-formats": steps with states in 16 and 8 bits beside those in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ....backend import Array, get_backend
from ....kernels import decode_state, encode_state
from ....kernels.rules import RULES
from ...cases.steps import Case
from ...limits.steps import limit
from ...measuring.candidate import Candidate
from ...measuring.synchronized import waited
from ...measuring.workload import Workload
from ...peers.deepspeed_steps import deepspeed_step, why_no_deepspeed
from ...peers.eight_bit_steps import PACKAGES, eight_bit_step, why_no_eight_bit
from ...peers.torch_steps import torch_step, why_no_torch

FORMATS = {"float32": 4.0, "bfloat16": 2.0, "8bit": 1 + 4 / 256}
"""Bytes of a state for each parameter."""
LIMITS = {f"limit {name}": name for name in FORMATS}
PEERS = ("torch fused", "deepspeed")
MOST = 10_000_000
"""Elements up to which other libraries' 8 bits are measured: they take seconds beyond."""
_CHECKED = 10_240


class FormatStep(Workload):
    """A step function on one array, its states in each format."""

    section = "state-formats"
    dtype = "float32"

    def __init__(self, case: Case, label: str, size: int, device: str = "cpu") -> None:
        self.case, self.operation, self.label, self.device = case, case.name, label, device
        self._size = -(-size // 256) * 256

    @property
    def size(self) -> int:
        return self._size

    @property
    def bytes(self) -> int:
        """Of the step in float32."""
        return self.case.bytes_per_element() * self.size

    @property
    def paths(self) -> tuple[str, ...]:
        eight_bit = (*PACKAGES,) if self.operation == "adam" and self.size <= MOST + 256 else ()
        return (*FORMATS, *LIMITS, *PEERS, *eight_bit)

    def missing(self, path: str) -> str:
        if path == "torch fused":
            return why_no_torch(path, self.operation, self.device)
        if path == "deepspeed":
            return why_no_deepspeed(self.operation, self.device, self.dtype)
        if path in PACKAGES:
            return why_no_eight_bit(path, self.device)
        return super().missing("limit")

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        """All paths share the parameter and the gradient; each has states of its own."""
        backend = get_backend(self.device)
        self._assert_same()
        param, grad, *states = self.case.arrays(self.size, self.dtype, backend)
        made = {}
        for path in paths:
            if path in FORMATS:
                own = [self._encoded(state, k, path) for k, state in enumerate(states)]
                made[path] = Candidate(waited(self._step((param, grad, *own)), backend))
            elif path in LIMITS:
                made[path] = Candidate(self._limit(FORMATS[LIMITS[path]]))
            elif path == "torch fused":
                arrays = (param, grad, *(state.copy() for state in states))
                made[path] = torch_step(path, self.operation, arrays, self._options)
            elif path == "deepspeed":
                arrays = (param, grad, *(state.copy() for state in states))
                made[path] = deepspeed_step(self.operation, arrays, self._options)
            else:
                made[path] = eight_bit_step(path, param, grad)
            made[path].call()  # compiles
        return made

    @property
    def _options(self) -> dict[str, Any]:
        return {**self.case.options, "lr": 1e-4}

    def _step(self, arrays: tuple[Any, ...], engine: str = "auto") -> Callable[[], None]:
        """With the noise of another step at each call, as training has it."""
        options = self._options
        seed = iter(range(1 << 62))
        encoded = {} if self.operation == "sgd" else {"seed": 0}

        def step() -> None:
            if encoded:
                options["seed"] = next(seed)
            self.case.step(*arrays, **options, engine=engine)

        return step

    def _encoded(self, state: Array, number: int, kind: str) -> Any:
        """A state's values in a format; those of `Case.arrays` are above zero."""
        if kind == "float32":
            return state.copy()
        rule = RULES[{"adamw": "adam"}.get(self.operation, self.operation)]
        signed = rule.state[number] not in rule.unsigned
        return encode_state(state, kind, signed=signed)

    def _limit(self, state_bytes: float) -> Callable[[], Any]:
        """What memory allows a step that moves as much: of fewer elements, all in float32."""
        backend, states = get_backend(self.device), self.case.states
        share = (12 + 2 * states * state_bytes) / (12 + 8 * states)
        zeros = np.zeros(int(self.size * share), "float32")
        return limit(tuple(backend.asarray(zeros.copy()) for _ in range(2 + states)), backend)

    def _assert_same(self) -> None:
        """A step in each format is what array expressions make it: the same parameters within
        float32, states within a step of the format."""
        backend = get_backend(self.device)
        for kind in FORMATS:
            found = []
            for engine in ("auto", "array"):
                param, grad, *states = self.case.arrays(_CHECKED, self.dtype, backend)
                own = [self._encoded(state, k, kind) for k, state in enumerate(states)]
                self._step((param, grad, *own), engine)()
                found.append([param, *map(decode_state, own)])
            for k, pair in enumerate(zip(*found, strict=True)):
                ours, wanted = map(backend.to_numpy, pair)
                rtol = 1e-5 if k == 0 or kind == "float32" else 0.07  # a step of the format
                message = f"{self.id}, {kind}"
                np.testing.assert_allclose(ours, wanted, rtol, 1e-6, err_msg=message)
