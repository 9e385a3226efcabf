"""The gradients of batch normalization by running statistics: fine-tuning with these frozen."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array, backend_of
from ...backend.failures import Explained
from ...backend.foreign import taken_in
from ..array_arguments import check_input, check_out, check_overlap, same_memory
from ..order import empty_like, place_of, put_back, run_like
from .arguments import check_layout, check_pair, check_statistics, check_vectors, options
from .channel_vectors import computed, gradient_dtype, readable
from .contract import How
from .engines import choose
from .gradient_places import PLACES, check_places, moved, try_copies
from .inference import batch_norm_inference
from .layout import layout_of


def batch_norm_inference_backward(
    dy: Array,
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array,
    running_var: Array,
    *,
    eps: float = 1e-5,
    channel_axis: int = 1,
    activation: str | None = None,
    out: Array | None = None,
    gamma_grad: Array | None = None,
    beta_grad: Array | None = None,
    engine: str = "auto",
) -> tuple[Array, Array | None, Array | None]:
    """Gradients of a loss J with respect to x, gamma and beta of `batch_norm_inference`.

    The running statistics are constants: with dy = 0 where a ReLU gave y = 0,

        dx = gamma dy / sqrt(running_var + eps)
        dgamma = sum(dy (x - running_mean)) / sqrt(running_var + eps)        dbeta = sum(dy)

    Args:
        dy: dJ/dy, of x's shape and dtype; left untouched unless it is `out`.
        x, gamma, beta, running_mean, running_var, eps, channel_axis, activation: as
            `batch_norm_inference` had them; left untouched.
        out: where dx goes, of x's shape and dtype; may be dy, or x.
        gamma_grad, beta_grad: where dgamma and dbeta go, as in `batch_norm_backward`.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Returns:
        dx, dgamma and dbeta, the latter (C,), in the dtype of gamma and beta (x's, float32 for
        float16, where those are integers); None where those are. All are NumPy or CuPy
        arrays, whatever `as_array` took in; gamma_grad and beta_grad themselves where given.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    A residual of the forward adds nothing to these: where a ReLU followed it, pass activation=None
    and dy that is 0 where y was, which is the residual's gradient, too.

    Conventions: what PyTorch computes in eval mode, and Keras with training=False: neither the mean
        nor the variance depends on x. Any number of samples. The sums are one pass of
        `batch_norm_backward`, dx is another; a ReLU takes an inference and
        an expression more.
    Source: Ioffe and Szegedy (2015), algorithm 2, step 11, differentiated.
    """
    names = ("dy", "x", "gamma", "beta", "running_mean", "running_var", "out", *PLACES)
    given = (dy, x, gamma, beta, running_mean, running_var, out, gamma_grad, beta_grad)
    dy, x, gamma, beta, running_mean, running_var, out, *wanted = taken_in(names, given)
    check_input("x", x)
    layout = check_layout(x, channel_axis)
    check_statistics(running_mean, running_var)
    check_vectors(x, layout, (gamma, beta, running_mean, running_var))
    check_pair(dy, x, "x")
    _, eps, relu = options(0.0, eps, activation)
    check_places((wanted[0], wanted[1]), (gamma, beta), x, layout)
    if out is not None:
        check_out("dy", out, dy)
    check_overlap(
        [("out", out), *zip(PLACES, wanted, strict=True)],
        [
            ("dy", None if out is not None and same_memory(out, dy) else dy),
            ("x", None if out is not None and same_memory(out, x) else x),
            *zip(names[2:6], (gamma, beta, running_mean, running_var), strict=True),
        ],
    )
    chosen, backend = choose(engine, x), backend_of(x)
    dtype = computed(x)
    with backend.scope(), Explained("batch_norm_inference_backward", x, chosen.name):
        dx = empty_like(x) if out is None else out
        make = backend.xp.empty if x.size else backend.xp.zeros
        places = [
            None if vector is None else make(layout.channels, gradient_dtype(vector, x))
            for vector in (gamma, beta)
        ]
        try_copies(wanted)
        if not x.size:
            return dx, *moved(places, wanted)
        settings: dict[str, Any] = {"eps": eps, "channel_axis": channel_axis, "engine": engine}
        if relu:
            statistics = running_mean, running_var
            y = batch_norm_inference(x, gamma, beta, *statistics, activation="relu", **settings)
            dy = backend.xp.where(y > 0, dy, dy.dtype.type(0))
        mean, var = readable(running_mean, dtype), readable(running_var, dtype)
        run, place = x, dx
        if not chosen.strided:
            place = place_of(dx, x)
            run, dy = run_like(x, place, fresh=False), run_like(dy, place, fresh=False)
            layout = layout_of(run, layout.axis)
        if any(vector is not None for vector in (gamma, beta)):
            scratch = empty_like(run) if place is out else place
            kept = _kept(mean, var, eps)
            how = How(layout, None, None, eps, False)
            gradients = chosen.backward(dy, run, scratch, how, kept)
            for own, gradient in zip(places, gradients, strict=True):
                if own is not None:
                    own[...] = gradient
        how = How(layout, readable(gamma, dtype), None, eps, False)
        chosen.inference(dy, place, how, backend.xp.zeros_like(mean), var)
        put_back(dx, place)
        return dx, *moved(places, wanted)


def _kept(mean: Array, var: Array, eps: float) -> Array:
    """What the sums of a backward pass take: the mean in two parts, and 1 / sqrt(var + eps)."""
    with np.errstate(all="ignore"):
        inv_std = (1.0 / (var.astype("float64") + eps) ** 0.5).astype(var.dtype)
    xp = backend_of(mean).xp
    return xp.stack([mean, xp.zeros_like(mean), inv_std])
