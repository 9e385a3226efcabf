"""Batch normalization with running statistics: what a trained network does."""

from __future__ import annotations

from ...backend import Array, backend_of
from ...backend.failures import Explained
from ...backend.foreign import taken_in
from ...backend.memory_pool import empty_as
from ..array_arguments import asks_for_cpu, check_input, check_out, check_overlap, same_memory
from ..order import place_of, put_back, run_like
from .arguments import check_layout, check_pair, check_statistics, check_vectors, options
from .channel_vectors import computed, readable
from .contract import How
from .engines import at_once, choose, get
from .layout import layout_of
from .quick_checks import quick_beside, quick_layout
from .residuals import is_out


def batch_norm_inference(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array,
    running_var: Array,
    *,
    eps: float = 1e-5,
    channel_axis: int = 1,
    activation: str | None = None,
    residual: Array | None = None,
    out: Array | None = None,
    engine: str = "auto",
) -> Array:
    """Normalize each channel of `x` by its running statistics; returns y, which may replace x.

        z = gamma (x - running_mean) / sqrt(running_var + eps) + beta + residual
        y = z                                           (activation="relu": y = max(z, 0))

    Args:
        x: input, float16/32/64, two axes or more; left untouched unless it is `out`.
        gamma, beta: scale and shift, (C,), float16/32/64 or integers; None: 1 and 0.
        running_mean, running_var: (C,), as `batch_norm_forward` keeps them; left untouched.
        eps: added to the variance, > 0.
        channel_axis: the axis of length C; -1 for channels-last. Nothing is transposed.
        activation: None, or "relu", in the same pass.
        residual: None, for 0, or what is added before the activation, in the same pass, of x's
            shape and dtype; left untouched unless it is `out`.
        out: where y goes, of x's shape and dtype; may be x itself, or residual.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: arrays of other libraries are taken in as `as_array` does; y is a NumPy or CuPy
        array. Any number of samples, one and none too. A negative variance gives NaN.
    Source: Ioffe and Szegedy (2015), algorithm 2, step 11.
    """
    statistics = (running_mean, running_var)
    if asks_for_cpu(engine) and out is None and not any(v is None for v in statistics):
        layout = quick_layout(x, channel_axis, (gamma, beta, *statistics))
        if layout is not None and (residual is None or quick_beside(residual, x)):
            _, eps, relu = options(0.0, eps, activation)
            y, how = empty_as(x), How(layout, gamma, beta, eps, relu)
            get("numba").inference(x, y, how, *statistics, residual)
            return y
    if out is None and (quick := at_once(engine, x)) and not any(v is None for v in statistics):
        vectors = (gamma, beta, *statistics)
        done = quick.quick_inference(x, vectors, eps, channel_axis, activation, residual)
        if done is not None:
            return done
    names = ("x", "gamma", "beta", "running_mean", "running_var", "residual", "out")
    given = (x, gamma, beta, running_mean, running_var, residual, out)
    x, gamma, beta, running_mean, running_var, residual, out = taken_in(names, given)
    check_input("x", x)
    layout = check_layout(x, channel_axis)
    if residual is not None:
        check_pair(residual, x, "x", "residual")
    check_statistics(running_mean, running_var)
    check_vectors(x, layout, (gamma, beta, running_mean, running_var))
    _, eps, relu = options(0.0, eps, activation)
    if out is not None:
        check_out("x", out, x)
        check_overlap(
            [("out", out)],
            [
                ("x", None if same_memory(out, x) else x),
                ("gamma", gamma),
                ("beta", beta),
                ("running_mean", running_mean),
                ("running_var", running_var),
                ("residual", None if residual is None or is_out(residual, out) else residual),
            ],
        )
    chosen, backend = choose(engine, x), backend_of(x)
    dtype = computed(x)
    with backend.scope(), Explained("batch_norm_inference", x, chosen.name):
        y = backend.empty_like(x) if out is None else out
        if x.size:
            run, place = x, y
            if not chosen.strided:
                place = place_of(y, x)
                run = run_like(x, place, fresh=place is not out)
                residual = None if residual is None else run_like(residual, place, fresh=False)
            layout = layout_of(run, layout.axis)
            how = How(layout, readable(gamma, dtype), readable(beta, dtype), eps, relu)
            averages = readable(running_mean, dtype), readable(running_var, dtype)
            chosen.inference(run, place, how, *averages, residual)
            put_back(y, place)
    return y
