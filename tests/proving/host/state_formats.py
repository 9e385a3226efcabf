"""Steps on encoded states by the engine "cupy" on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from cases.state_formats import CASES, assert_encoded_step, call_arrays
from onepass import kernels
from onepass.kernels.state_formats.layout import Layout

from proving.host import device as host_device
from proving.host.elementwise import on_host
from proving.host.walk import at_sixteen_bytes
from proving.layouts import dtype, formats

STEPS = (1, 2)


def placed(array: Any, off: int = 0) -> Any:
    """A copy of an array or a state for an engine here, so many elements behind a place where
    sixteen bytes may be read at once."""
    if isinstance(array, kernels.State8bit):
        return array.on(placed(array.codes, off), on_host(array.scales))
    return at_sixteen_bytes(np.asarray(array), off)


def arrays_of(device: Any, layout: Layout, size: int, block: int, off: int = 0) -> dict[str, Any]:
    """Good arguments of a layout's step."""
    case = CASES[layout.rule.name]
    made = call_arrays(device, case, formats(layout), size, block_size=block)
    return {name: placed(array, off) for name, array in made.items()}


def take_steps(device: Any, layout: Layout, size: int, block: int = 256, off: int = 0) -> None:
    """Steps that are held to the oracle, each from what the one before has left."""
    arrays = arrays_of(device, layout, size, block, off)
    for step in STEPS:
        assert_encoded_step(device, CASES[layout.rule.name], arrays, step, seed=7, block_size=block)


@dataclass(frozen=True)
class Device(host_device.Device):
    """How kernels are built and run in the place of a GPU: with few threads, that each take several
    times eight elements."""

    threads: int = 32
    blocks: int = 3

    where: ClassVar[str] = "state_formats.step"

    def prove_steps(self, layout: Layout, size: int, block: int = 256, off: int = 0) -> None:
        """Hold the engine to the oracle, which proves the kernel it launches."""
        self.prove(take_steps, layout, size, block, off)
        assert self.launched == [(layout.name, dtype(layout))] * len(STEPS)
