"""Group normalization and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array
from ...backend.foreign import taken_in
from ..array_arguments import asks_for_cpu, check_input
from ..rows.contract import BESIDE
from .arguments import check_groups, check_like, check_vector, shape_of_groups
from .calls import backward, forward, quick_backward, quick_forward
from .norm import GROUP_NORM, Saved


def group_norm_forward(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    groups: int,
    eps: float = 1e-5,
    residual: Array | None = None,
    activation: str | None = None,
    out: Array | None = None,
    engine: str = "auto",
) -> tuple[Array, Saved]:
    """Normalize each group of channels of each sample of `x`, in one pass; x may be replaced.

    With h = x + residual, over the C / groups channels of a group and all places within them,

        mu = mean(h)        sigma^2 = mean((h - mu)^2)
        xhat = (h - mu) / sqrt(sigma^2 + eps)
        z = gamma xhat + beta        y = f(z)

    with gamma and beta of each channel, and f as in `layer_norm_forward`. groups=C: instance norm.

    Args:
        x: input, float16/32/64 or bfloat16, (N, C, ...); left untouched unless it is `out`.
        gamma, beta: scale and shift, (C,), in x's dtype, or float32 beside float16 and bfloat16;
            None: 1 and 0. Left untouched.
        groups: how many there are, of channels that follow one another; divides C.
        eps: added to the variance, > 0.
        residual: None, or what is added to x before, of x's shape and dtype; left untouched unless
            it is `out`. h is written once, rounded to x's dtype: it is `saved.x`.
        activation: None, "relu", "silu" or "gelu", in the same pass.
        out: where y goes, of x's shape and dtype; may be x or residual; x itself without a residual
            only if no backward follows.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Returns:
        y, and what `group_norm_backward` needs, which holds x itself, not a copy, or h.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions, or a group has one value; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: as in `layer_norm_forward`; PyTorch's num_groups is groups.
    Source: Wu and He (2018), Group Normalization, section 3.1; Ulyanov, Vedaldi and Lempitsky
        (2016), Instance Normalization.
    """
    if out is None and asks_for_cpu(engine) and _plain(x, groups, gamma, beta):
        shape = shape_of_groups(x.shape, groups)
        given = (x, shape, gamma, beta, eps, residual, activation)
        if shape.width > 1 and (done := quick_forward(GROUP_NORM, *given)):
            return done
    names = "x", "gamma", "beta", "residual", "out"
    x, gamma, beta, residual, out = taken_in(names, (x, gamma, beta, residual, out))
    check_input("x", x, BESIDE)
    shape = check_groups(x, groups)
    for name, vector in (("gamma", gamma), ("beta", beta)):
        if vector is not None:
            check_vector(name, vector, x.shape[1:2], x)
    if residual is not None:
        check_like("residual", residual, x)
    return forward(GROUP_NORM, x, shape, gamma, beta, eps, residual, activation, out, engine)


def _plain(x: Any, groups: Any, *vectors: Any) -> bool:
    """Whether x has so many groups, and vectors may belong to it."""
    if type(x) is not np.ndarray or type(groups) is not int or x.ndim < 2:
        return False
    if groups < 1 or x.shape[1] % groups:
        return False
    return all(v is None or (type(v) is np.ndarray and v.ndim == 1) for v in vectors)


def group_norm_backward(
    dy: Array, saved: Saved, *, out: Array | None = None, engine: str = "auto"
) -> tuple[Array, Array | None, Array | None]:
    """Gradients of a loss J with respect to x, gamma and beta of `group_norm_forward`.

    With the forward's xhat, z and f, over the values of each group of a sample,

        dz = dy f'(z)        g = gamma dz
        dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(sigma^2 + eps)

    and over all samples and places of a channel dgamma = sum(dz xhat), dbeta = sum(dz). A
    residual's gradient is dx itself, since x and the residual were added.

    Args:
        dy: dJ/dy, of x's shape and dtype; left untouched unless it is `out`.
        saved: what `group_norm_forward` returned; its x, gamma and beta must still hold what they
            held then.
        out: where dx goes, of x's shape and dtype; may be dy, or saved.x, which uses `saved` up.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Returns:
        dx, dgamma and dbeta, the latter (C,), of the dtype of gamma and beta; None where those are.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: as in `layer_norm_backward`.
    Source: Wu and He (2018), Group Normalization, section 3.1.
    """
    if out is None and asks_for_cpu(engine) and (done := quick_backward(GROUP_NORM, dy, saved)):
        return done
    dy, out = taken_in(("dy", "out"), (dy, out))
    return backward(GROUP_NORM, dy, saved, out, engine)
