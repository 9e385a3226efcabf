"""The gradient of an activation, with that of the bias before it."""

from __future__ import annotations

from functools import partial

from ...backend import Array, backend_of
from ...backend.failures import Explained
from ...backend.foreign import taken_in
from ..array_arguments import asks_for_cpu
from .arguments import check_backward, check_options
from .engines import choose, get
from .runs import backward_in_runs


def activation_backward(
    dy: Array,
    y: Array,
    kind: str,
    *,
    slope: float = 0.01,
    bias_grad: Array | None = None,
    out: Array | None = None,
    engine: str = "auto",
) -> Array:
    """dz = dy f'(z) in one pass, told from y = f(z); returns dz, which may replace dy.

        "linear"      dz = dy
        "relu"        dz = dy where y > 0, else 0
        "leaky_relu"  dz = dy where y > 0, else slope dy
        "sigmoid"     dz = dy y (1 - y)
        "tanh"        dz = dy (1 - y^2)

        bias_grad = sum of dz over all rows

    dz is also dJ/dx of `activation_forward`, and bias_grad is dJ/dbias.

    Args:
        dy: dJ/dy, any shape, float16/32/64; left untouched unless it is `out`.
        y: what `activation_forward` returned, of dy's shape and dtype; left untouched.
        kind: as in `activation_forward`.
        slope: as in `activation_forward`.
        bias_grad: where the bias's gradient goes, (C,), C being the length of dy's last axis, of
            dy's dtype; what it held is overwritten. None: it is not wanted.
        out: where dz goes, of dy's shape and dtype; may be dy itself.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: the derivative of "relu" at z = 0 is 0, that of "leaky_relu" is slope. Where "relu"
        stops a gradient it stops NaN and inf too. Rows are added up in float64 on the CPU, a few of
        them at a time in float32. On a GPU the sum is a second launch, in float32 but for float64;
        of what has gaps `out` takes a copy after it. float16 computes in float32.
        dz lies in memory in y's order; "numba" and "numba-cuda" copy what lies in another one.
        Arrays of other libraries are taken in as `as_array` does; dz is a NumPy or CuPy array.
    Source: Goodfellow, Bengio and Courville (2016), Deep Learning, sections 6.3 and 6.5.
    """
    if asks_for_cpu(engine):
        done = get("numba").quick_backward(dy, y, kind, slope, bias_grad, out)
        if done is not None:
            return done
    kind, slope = check_options(kind, slope)
    names, given = ("dy", "y", "bias_grad", "out"), (dy, y, bias_grad, out)
    dy, y, bias_grad, out = taken_in(names, given)
    check_backward(dy, y, bias_grad, out)
    chosen, backend = choose(engine, dy), backend_of(dy)
    with backend.scope(), Explained("activation_backward", dy, chosen.name):
        dz = backend.empty_like(y) if out is None else out
        if dy.size:
            run = chosen.backward if chosen.strided else partial(backward_in_runs, chosen)
            run(dy, y, dz, bias_grad, kind, slope, fresh=out is None)
        elif bias_grad is not None:
            bias_grad[...] = 0
    return dz
