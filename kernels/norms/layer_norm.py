"""Layer normalization and its gradients."""

from __future__ import annotations

from collections.abc import Sequence

from ...backend import Array
from ...backend.foreign import taken_in
from ..array_arguments import asks_for_cpu, check_input
from ..rows.contract import BESIDE
from .arguments import check_last_axes, check_like, check_vector, shape_of_rows
from .calls import backward, forward, quick_backward, quick_forward, quick_rows
from .norm import LAYER_NORM, Saved


def layer_norm_forward(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    eps: float = 1e-5,
    residual: Array | None = None,
    activation: str | None = None,
    out: Array | None = None,
    engine: str = "auto",
) -> tuple[Array, Saved]:
    """Normalize each row of `x` by its own mean and variance, in one pass; x may be replaced.

    With h = x + residual, over the n values of each row of h,

        mu = mean(h)        sigma^2 = mean((h - mu)^2)
        xhat = (h - mu) / sqrt(sigma^2 + eps)
        z = gamma xhat + beta        y = f(z)

    with f(z) = z; "relu": max(z, 0); "silu": z / (1 + exp(-z)); "gelu": z Phi(z), where Phi is the
    normal distribution's function.

    Args:
        x: input, float16/32/64 or bfloat16, of one axis or more; left untouched unless it is `out`.
        gamma, beta: scale and shift, of the shape that is normalized, in x's dtype, or float32
            beside float16 and bfloat16; None: 1 and 0. Left untouched.
        normalized_shape: the lengths of x's last axes, which make a row together; None: the last
            one alone. As PyTorch's.
        eps: added to the variance, > 0.
        residual: None, or what is added to x before, of x's shape and dtype; left untouched unless
            it is `out`. h is written once, rounded to x's dtype: it is `saved.x`, for what comes
            after to go on with.
        activation: None, "relu", "silu" or "gelu", in the same pass.
        out: where y goes, of x's shape and dtype; may be x or residual; x itself without a residual
            only if no backward follows.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Returns:
        y, and what `layer_norm_backward` needs, which holds x itself, not a copy, or h. Arrays of
        other libraries are taken in as `as_array` does; y is a NumPy or CuPy array all the same.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: the biased variance, as in PyTorch. A mean that is large beside the deviation costs
        no precision; a row of one value, or of equal ones, gives f(beta), and so does one whose
        squared deviations overflow, if the sum of deviations does not. A row that holds inf
        or NaN is NaN, others are not. float16 and bfloat16 compute in float32, and results are
        rounded to the nearest, halves to even; bfloat16 is ml_dtypes' dtype, of NumPy and CuPy
        arrays where that package is imported. y is C-contiguous; arrays that
        are not are copied first. "numba" takes numbers below the smallest normal one for zero, and
        its bits don't depend on the number of threads. Which thread of a GPU adds up what depends
        on shapes and on the GPU alone.
    Source: Ba, Kiros and Hinton (2016), Layer Normalization, eq. 3; Hendrycks and Gimpel (2016),
        Gaussian Error Linear Units, for "gelu" and "silu".
    """
    if normalized_shape is None and out is None and asks_for_cpu(engine):
        rows = quick_rows(x, gamma, beta)
        if rows is not None:
            given = (x, rows, gamma, beta, eps, residual, activation)
            if done := quick_forward(LAYER_NORM, *given):
                return done
    names = "x", "gamma", "beta", "residual", "out"
    x, gamma, beta, residual, out = taken_in(names, (x, gamma, beta, residual, out))
    check_input("x", x, BESIDE)
    row = check_last_axes(x, normalized_shape)
    for name, vector in (("gamma", gamma), ("beta", beta)):
        if vector is not None:
            check_vector(name, vector, row, x)
    if residual is not None:
        check_like("residual", residual, x)
    shape = shape_of_rows(x.shape, len(row))
    return forward(LAYER_NORM, x, shape, gamma, beta, eps, residual, activation, out, engine)


def layer_norm_backward(
    dy: Array, saved: Saved, *, out: Array | None = None, engine: str = "auto"
) -> tuple[Array, Array | None, Array | None]:
    """Gradients of a loss J with respect to x, gamma and beta of `layer_norm_forward`.

    With the forward's xhat, z and f, over the n values of each row,

        dz = dy f'(z)        g = gamma dz
        dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(sigma^2 + eps)

    and over all rows dgamma = sum(dz xhat), dbeta = sum(dz). A residual's gradient is dx itself,
    since x and the residual were added.

    Args:
        dy: dJ/dy, of x's shape and dtype; left untouched unless it is `out`.
        saved: what `layer_norm_forward` returned; its x, gamma and beta must still hold what they
            held then.
        out: where dx goes, of x's shape and dtype; may be dy, or saved.x, which uses `saved` up.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Returns:
        dx, dgamma and dbeta, the latter of the shape and dtype of gamma and beta; None where those
        are.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: the gradient of "relu" is 0 at z = 0. Sums over rows are taken in double. float16
        and bfloat16 compute in float32.
    Source: Ba, Kiros and Hinton (2016), Layer Normalization; the derivatives put into one another
        as Ioffe and Szegedy (2015), section 3, do for batches.
    """
    if out is None and asks_for_cpu(engine) and (done := quick_backward(LAYER_NORM, dy, saved)):
        return done
    dy, out = taken_in(("dy", "out"), (dy, out))
    return backward(LAYER_NORM, dy, saved, out, engine)
