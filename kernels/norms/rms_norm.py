"""Root mean square layer normalization and its gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...backend import Array
from ...backend.foreign import taken_in
from ..array_arguments import asks_for_cpu, check_input
from ..rows.contract import BESIDE
from .arguments import check_last_axes, check_like, check_vector, shape_of_rows
from .calls import backward, forward, quick_backward, quick_forward, quick_rows
from .norm import RMS_NORM, Saved

_EPS = {char: float(np.finfo(char).eps) for char in "efd"} | {"E": 2.0**-7}


def rms_norm_forward(
    x: Array,
    gamma: Array | None = None,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    eps: float | None = None,
    residual: Array | None = None,
    activation: str | None = None,
    out: Array | None = None,
    engine: str = "auto",
) -> tuple[Array, Saved]:
    """Divide each row of `x` by the root of its mean square, in one pass; x may be replaced.

    With h = x + residual, over the n values of each row of h,

        xhat = h / sqrt(mean(h^2) + eps)
        z = gamma xhat        y = f(z)

    with f as in `layer_norm_forward`.

    Args:
        x: input, float16/32/64 or bfloat16, of one axis or more; left untouched unless it is `out`.
        gamma: scale, of the shape that is normalized, in x's dtype, or float32 beside float16
            and bfloat16; None: 1. Left untouched.
        normalized_shape: the lengths of x's last axes, which make a row together; None: the last
            one alone. As PyTorch's.
        eps: added to the mean square, > 0; None: the eps of x's dtype, numpy.finfo(x.dtype).eps, of
            bfloat16 2^-7.
        residual: None, or what is added to x before, of x's shape and dtype; left untouched unless
            it is `out`. h is written once, rounded to x's dtype: it is `saved.x`.
        activation: None, "relu", "silu" or "gelu", in the same pass.
        out: where y goes, of x's shape and dtype; may be x or residual; x itself without a residual
            only if no backward follows.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Returns:
        y, and what `rms_norm_backward` needs, which holds x itself, not a copy, or h.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: eps stands inside the root, as in PyTorch. The rest as in `layer_norm_forward`.
    Source: Zhang and Sennrich (2019), Root Mean Square Layer Normalization, eq. 4.
    """
    if normalized_shape is None and out is None and asks_for_cpu(engine):
        rows = quick_rows(x, gamma, None)
        if rows is not None:
            small = _EPS.get(x.dtype.char) if eps is None else eps
            given = (x, rows, gamma, None, small, residual, activation)
            if done := quick_forward(RMS_NORM, *given):
                return done
    names = "x", "gamma", "residual", "out"
    x, gamma, residual, out = taken_in(names, (x, gamma, residual, out))
    check_input("x", x, BESIDE)
    row = check_last_axes(x, normalized_shape)
    if gamma is not None:
        check_vector("gamma", gamma, row, x)
    if residual is not None:
        check_like("residual", residual, x)
    small = _EPS[x.dtype.char] if eps is None else eps
    shape = shape_of_rows(x.shape, len(row))
    return forward(RMS_NORM, x, shape, gamma, None, small, residual, activation, out, engine)


def rms_norm_backward(
    dy: Array, saved: Saved, *, out: Array | None = None, engine: str = "auto"
) -> tuple[Array, Array | None]:
    """Gradients of a loss J with respect to x and gamma of `rms_norm_forward`.

    With the forward's xhat, z and f, over the n values of each row,

        dz = dy f'(z)        g = gamma dz
        dx = (g - xhat mean(g xhat)) / sqrt(mean(h^2) + eps)

    and over all rows dgamma = sum(dz xhat). A residual's gradient is dx itself, since x and the
    residual were added.

    Args:
        dy: dJ/dy, of x's shape and dtype; left untouched unless it is `out`.
        saved: what `rms_norm_forward` returned; its x and gamma must still hold what they held
            then.
        out: where dx goes, of x's shape and dtype; may be dy, or saved.x, which uses `saved` up.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Returns:
        dx and dgamma, the latter of the shape and dtype of gamma; None where that is.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: as in `layer_norm_backward`.
    Source: Zhang and Sennrich (2019), Root Mean Square Layer Normalization, eq. 7 to 9.
    """
    if out is None and asks_for_cpu(engine) and (done := quick_backward(RMS_NORM, dy, saved)):
        return done[:2]
    dy, out = taken_in(("dy", "out"), (dy, out))
    return backward(RMS_NORM, dy, saved, out, engine)[:2]
