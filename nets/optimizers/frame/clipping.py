"""Clipping gradients by their global norm."""

from __future__ import annotations

from math import isfinite
from typing import Any


class NormError(FloatingPointError):
    """The norm of gradients is not finite.

    Attributes:
        norm: what it is.
    """

    def __init__(self, norm: float, message: str) -> None:
        super().__init__(message)
        self.norm = norm

    def __reduce__(self) -> Any:
        return type(self), (self.norm, str(self))


def clipped_scale(
    norm: float, grad_scale: float, clip_norm: float, what: str = "the gradients"
) -> float:
    """The factor on `what`, whose norm is `norm`, that also brings it down to `clip_norm`.

        norm = sqrt(sum of g^2 over all gradients)
        grad_scale * min(1, clip_norm / (|grad_scale| norm))

    Kernels take it as `grad_scale`, so clipping reads the gradients once more and writes nothing.

    Raises:
        FloatingPointError: the scaled norm is nan or infinite.

    Source: Pascanu, Mikolov and Bengio 2013, algorithm 1.
    """
    norm *= abs(grad_scale)
    if not isfinite(norm):
        raise NormError(
            norm,
            f"the norm of {what} is {norm}; expected a finite one. Nothing was updated: "
            "lower lr, or leave this step out",
        )
    return grad_scale * clip_norm / norm if norm > clip_norm else grad_scale
