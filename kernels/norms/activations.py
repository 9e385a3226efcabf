"""The activations after a norm, and their gradients: those of ../activation/formula.py."""

from __future__ import annotations

from ..activation import formula as activation
from ..rows.skeleton import Function, Step
from .formula import passed, plain

CONSTANTS = {**activation.CONSTANTS, "four": 4.0}

FORWARD: dict[str | None, Function] = {
    None: plain,
    "relu": activation.relu,
    "silu": activation.silu,
    "gelu": activation.gelu,
}

BACKWARD: dict[str | None, tuple[Step, ...]] = {
    None: (Step(passed, ("dz",)),),
    "relu": (Step(activation.relu, ("y",)), Step(activation.relu_gradient, ("dz",))),
    "silu": (Step(activation.silu_gradient, ("dz",)),),
    "gelu": (Step(activation.gelu_gradient, ("dz",)),),
}
"""How dz follows from dy and z."""
