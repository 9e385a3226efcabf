"""Layer, RMS and group norm in a program."""

from __future__ import annotations

import numpy as np

from ..norms.norm import Norm, Saved, backward_rows, forward_rows
from ..rows.contract import Arrays
from ..rows.skeleton import Shape
from .numba_rows import over_rows
from .numba_words import copy
from .program import Program

NAME = "norm"


def forward(
    program: Program, norm: Norm, x: np.ndarray, y: np.ndarray, shape: Shape,
    gamma: np.ndarray | None, beta: np.ndarray | None, eps: float, activation: str | None,
) -> Saved:  # fmt: skip
    """y of the rows of x; what `backward` takes."""
    kept, nothing = np.empty((len(norm.kept), shape.rows), x.dtype), np.empty((0, 0), x.dtype)
    arrays = Arrays((x, y), (gamma, beta)[: len(norm.vectors)], nothing, kept, nothing)
    over_rows(program, forward_rows(norm, False, activation), shape, arrays, (eps,), NAME)
    return Saved(norm, x, gamma, beta, kept, shape, x.shape, activation)


def backward(
    program: Program, saved: Saved, dy: np.ndarray, dx: np.ndarray,
    gamma_grad: np.ndarray | None, beta_grad: np.ndarray | None,
) -> None:  # fmt: skip
    """dx, which may be dy, and the gradients of those vectors that there are."""
    norm, shape, x = saved.norm, saved.shape, saved.x
    gradients = (gamma_grad, beta_grad)[: len(norm.vectors)]
    summed = any(each is not None for each in gradients)
    nothing = np.empty((0, 0), x.dtype)
    added = np.empty((len(gradients), shape.period), x.dtype) if summed else nothing
    vectors = (saved.gamma, saved.beta)[: len(norm.vectors)]
    arrays = Arrays((dy, x, dx), vectors, saved.kept, nothing, added)
    over_rows(program, backward_rows(norm, saved.activation, summed), shape, arrays, (), NAME)
    for total, gradient in zip(added, gradients, strict=False):
        if gradient is not None:
            copy(program, total, gradient, NAME)
