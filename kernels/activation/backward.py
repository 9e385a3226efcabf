"""The gradient of an activation, with that of the bias before it."""

from __future__ import annotations

from functools import partial

from ...backend import Array, backend_of
from ...backend.failures import Explained
from ...backend.foreign import taken_in
from ..array_arguments import asks_for_cpu
from .arguments import ALPHA, BETA, SLOPE, THRESHOLD, check_backward, check_options
from .engines import choose, get
from .formula import KINDS
from .runs import backward_in_runs


def activation_backward(
    dy: Array,
    y: Array,
    kind: str,
    *,
    slope: float = SLOPE,
    alpha: float = ALPHA,
    beta: float = BETA,
    threshold: float = THRESHOLD,
    bias: Array | None = None,
    bias_grad: Array | None = None,
    out: Array | None = None,
    engine: str = "auto",
) -> Array:
    """dz = dy f'(z) in one pass; returns dz, which may replace dy.

    Told from y = f(z),

        "linear"      dz = dy
        "relu"        dz = dy where y > 0, else 0
        "leaky_relu"  dz = dy where y > 0, else slope dy
        "sigmoid"     dz = dy y (1 - y)
        "tanh"        dz = dy (1 - y^2)
        "elu"         dz = dy where y > 0, else dy (y + alpha)

    and from z = x + bias, which takes `y=x`, what went into `activation_forward`, and the bias,

        "gelu"        dz = dy (Phi(z) + z phi(z)), where phi is the derivative of Phi
        "gelu_tanh"   dz = dy s (1 + z (1 - s) v'), s = 1 / (1 + exp(-v)),
                      v = 2 sqrt(2 / pi) (z + 0.044715 z^3)
        "silu"        dz = dy s (1 + z (1 - s)), s = 1 / (1 + exp(-z))
        "softplus"    dz = dy / (1 + exp(-beta z)) where beta z <= threshold, else dy

        bias_grad = sum of dz over all rows

    dz is also dJ/dx of `activation_forward`, and bias_grad is dJ/dbias.

    Args:
        dy: dJ/dy, any shape, float16/32/64; left untouched unless it is `out`.
        y: what `activation_forward` returned, or its x, for those that are told from z; of dy's
            shape and dtype; left untouched.
        kind: as in `activation_forward`.
        slope: as in `activation_forward`.
        alpha: as in `activation_forward`.
        beta: as in `activation_forward`.
        threshold: as in `activation_forward`.
        bias: as in `activation_forward`; only those that are told from z look at it.
        bias_grad: where the bias's gradient goes, (C,), C being the length of dy's last axis, of
            dy's dtype; what it held is overwritten. None: it is not wanted.
        out: where dz goes, of dy's shape and dtype; may be dy itself.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: the derivative of "relu" at z = 0 is 0, that of "leaky_relu" is slope, that of
        "elu" alpha. Where "relu" stops a gradient it stops NaN and inf too. f'(z) is right for
        every z, infinite ones too. Rows are added up in float64 on the CPU, a few of them at a time
        in float32. On a GPU the sum is a second launch, in float32 but for float64;
        of what has gaps `out` takes a copy after it. float16 computes in float32.
        dz lies in memory in y's order; "numba" and "numba-cuda" copy what lies in another one.
        Arrays of other libraries are taken in as `as_array` does; dz is a NumPy or CuPy array.
    Source: as `activation_forward`; Goodfellow, Bengio and Courville (2016), section 6.5.
    """
    kind, numbers = check_options(kind, slope, alpha, beta, threshold)
    if asks_for_cpu(engine):
        done = get("numba").quick_backward(dy, y, kind, numbers, bias, bias_grad, out)
        if done is not None:
            return done
    names, given = ("dy", "y", "bias", "bias_grad", "out"), (dy, y, bias, bias_grad, out)
    dy, y, bias, bias_grad, out = taken_in(names, given)
    check_backward(dy, y, bias, bias_grad, out)
    bias = bias if KINDS[kind].from_x else None
    chosen, backend = choose(engine, dy), backend_of(dy)
    with backend.scope(), Explained("activation_backward", dy, chosen.name):
        dz = backend.empty_like(y) if out is None else out
        if dy.size:
            run = chosen.backward if chosen.strided else partial(backward_in_runs, chosen)
            run(dy, y, dz, bias, bias_grad, kind, numbers, fresh=out is None)
        elif bias_grad is not None:
            bias_grad[...] = 0
    return dz
