"""An activation, with the bias before it."""

from __future__ import annotations

from functools import partial

from ...backend import Array, backend_of
from ...backend.failures import Explained
from ...backend.foreign import taken_in
from ..array_arguments import asks_for_cpu
from .arguments import ALPHA, BETA, SLOPE, THRESHOLD, check_forward, check_options
from .engines import choose, get
from .runs import forward_in_runs


def activation_forward(
    x: Array,
    kind: str,
    *,
    bias: Array | None = None,
    slope: float = SLOPE,
    alpha: float = ALPHA,
    beta: float = BETA,
    threshold: float = THRESHOLD,
    out: Array | None = None,
    engine: str = "auto",
) -> Array:
    """y = f(x + bias) in one pass; returns y, which may replace x.

    With z = x + bias,

        "linear"      y = z
        "relu"        y = max(z, 0)
        "leaky_relu"  y = z where z > 0, else slope z
        "sigmoid"     y = 1 / (1 + exp(-z))
        "tanh"        y = tanh(z)
        "elu"         y = z where z > 0, else alpha (exp(z) - 1)
        "gelu"        y = z Phi(z), where Phi is the normal distribution's function
        "gelu_tanh"   y = z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2, nearly the same
        "silu"        y = z / (1 + exp(-z))
        "softplus"    y = log(1 + exp(beta z)) / beta where beta z <= threshold, else z

    Args:
        x: input, any shape, float16/32/64; left untouched unless it is `out`.
        kind: one of the above.
        bias: (C,), C being the length of x's last axis, of x's dtype: the same for every row; None
            adds nothing. Left untouched.
        slope: of "leaky_relu" for z <= 0, finite and > 0.
        alpha: of "elu", finite and > 0.
        beta: of "softplus", finite and > 0.
        threshold: of "softplus", finite and >= 0.
        out: where y goes, of x's shape and dtype; may be x itself.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: NaN gives NaN, for "relu" too; "gelu" and "silu" are NaN at z = -inf, as in PyTorch
        and JAX. All are right to a few units in the last place, for large |z| and where y is small;
        but that a z rounded by an eps is as good: y of "gelu", "gelu_tanh" and "silu" far below 0
        changes by many eps then. "gelu" and "gelu_tanh" are PyTorch's GELU(approximate="none") and
        ("tanh"), which JAX takes by default and Keras does not. Names and defaults of slope
        (negative_slope), alpha, beta and threshold are PyTorch's; JAX and Keras have no beta, and
        no threshold, which costs 2e-9 at 20. Compiled engines take numbers below the smallest
        normal one for zero. float16 computes in float32. y lies in memory in x's order; "numba" and
        "numba-cuda" copy what has gaps, and x where `out` lies in another order. Empty arrays are
        fine. Arrays of other libraries are taken in as `as_array` does; y is a NumPy or CuPy array.
    Source: Goodfellow, Bengio and Courville (2016), Deep Learning, section 6.3; for "elu" Clevert,
        Unterthiner and Hochreiter (2016), eq. 15; for "gelu", "gelu_tanh" and "silu" Hendrycks and
        Gimpel (2016), Gaussian Error Linear Units; for "softplus" Dugas et al. (2001), eq. 3.
    """
    kind, numbers = check_options(kind, slope, alpha, beta, threshold)
    if asks_for_cpu(engine):
        done = get("numba").quick_forward(x, kind, numbers, bias, out)
        if done is not None:
            return done
    x, bias, out = taken_in(("x", "bias", "out"), (x, bias, out))
    check_forward(x, bias, out)
    chosen, backend = choose(engine, x), backend_of(x)
    with backend.scope(), Explained("activation_forward", x, chosen.name):
        y = backend.empty_like(x) if out is None else out
        if x.size:
            run = chosen.forward if chosen.strided else partial(forward_in_runs, chosen)
            run(x, bias, y, kind, numbers, fresh=out is None)
    return y
