"""Batch normalization with the batch's own statistics: training's forward pass."""

from __future__ import annotations

from functools import partial

from ...backend import Array, backend_of
from ...backend.failures import Explained
from ...backend.foreign import taken_in
from ...backend.memory_pool import empty_as
from ..array_arguments import asks_for_cpu, check_input, check_out, check_overlap, same_memory
from ..compiling.gpu.first_launch import remember
from ..order import place_of, put_back, run_like
from .arguments import check_ddof, check_layout, check_pair, check_running, check_vectors, options
from .channel_vectors import computed, readable, running_of, write_back
from .contract import How, Running, Saved
from .engines import at_once, choose, get
from .gpu.first_launch import new_code
from .layout import layout_of
from .merging import Merge, check_merge, gathered
from .over_ranks import Averages
from .over_ranks import forward as forward_over_ranks
from .quick_checks import quick_beside, quick_layout
from .residuals import is_out, with_residual


def batch_norm_forward(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    *,
    momentum: float = 0.1,
    eps: float = 1e-5,
    running_var_ddof: int = 1,
    channel_axis: int = 1,
    activation: str | None = None,
    residual: Array | None = None,
    out: Array | None = None,
    merge: Merge | None = None,
    engine: str = "auto",
) -> tuple[Array, Saved]:
    """Normalize each channel of `x` by its own mean and variance; running statistics in place.

    Over the m values of each channel,

        mu = mean(x)        sigma^2 = mean((x - mu)^2)
        xhat = (x - mu) / sqrt(sigma^2 + eps)
        z = gamma xhat + beta + residual
        y = z                                           (activation="relu": y = max(z, 0))

        running_mean = (1 - momentum) running_mean + momentum mu
        running_var = (1 - momentum) running_var + momentum sigma^2 m / (m - ddof)

    Args:
        x: input, float16/32/64, of shape (N, C), (N, C, L), (N, C, H, W), (N, C, D, H, W), or any
            other of two axes or more; left untouched.
        gamma, beta: scale and shift, (C,), float16/32/64 or integers; None: 1 and 0.
        running_mean, running_var: (C,), float16/32/64, for inference; written in place. Both or
            neither.
        momentum: weight of the new batch in the running statistics, in [0, 1].
        eps: added to the variance, > 0.
        running_var_ddof: 1: running_var averages the unbiased variance of the batches; 0: the
            biased one, sigma^2.
        channel_axis: the axis of length C; -1 for channels-last. Nothing is transposed.
        activation: None, or "relu", in the same pass.
        residual: None, for 0, or what is added before the activation, in the same pass, of x's
            shape and dtype: what goes round a block of a residual network. Left untouched unless it
            is `out`.
        out: where y goes, of x's shape and dtype; may be residual; x itself if no backward follows.
        merge: None, or what makes one batch of the x of several ranks (processes or threads), each
            of which calls this with its own: a function that takes an array and returns those of
            all ranks, stacked in their order, (ranks, *shape), where x lies. It is called once,
            with a vector of 2 C + 1 numbers in float64: means, sums of squared deviations, and m of
            this rank, which may differ between ranks, and be 0 on some. mu, sigma^2 and m are then
            those of all ranks.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Returns:
        y, and what `batch_norm_backward` needs, which holds x itself, not a copy, and where a ReLU
        follows a residual y itself, too, to be left as it is until then. Arrays of other libraries
        are taken in as `as_array` does; y is a NumPy or CuPy array all the same.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions, or a channel has fewer than two values; it is named, and nothing was
            written. With merge the values of all ranks count, so that each rank raises; what a rank
            finds in its own arguments it raises before it calls merge.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Memory: x is read twice, the second time from the cache where that holds a channel's values, a
        residual once, and y is written; batch norm, an addition and a ReLU one after another read
        three arrays more and write two.
    Conventions: normalizes with the biased variance and stores the unbiased one, and momentum is
        the weight of the new batch, as in PyTorch; in Keras, Chainer and CS231n it is that of the
        old. Keras and CS231n store the biased variance: running_var_ddof=0. A cumulative average,
        PyTorch's momentum=None, is momentum 1 / k at the k-th batch.
        y lies in memory in x's order; engines other than "array" copy what has gaps, and work in
        new memory where `out` lies in another order. The computation is in x's dtype, float32 for
        float16, whatever gamma, beta and the running statistics hold; what is written keeps its
        dtype. A mean that is large beside the deviation costs no precision, a constant channel
        gives beta.
        With merge, as PyTorch's SyncBatchNorm does it, all ranks get the same bits of statistics
        and running statistics, merged in float64 in the order of ranks; a GPU is waited for.
    Source: Ioffe and Szegedy (2015), algorithm 1, and section 3.1 for the running statistics; Chan,
        Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample
        variances", for those of several ranks; He, Zhang, Ren and Sun (2016), "Deep residual
        learning for image recognition", figure 2, for the residual.
    """
    both_or_none = (running_mean is None) == (running_var is None)
    unbiased = type(running_var_ddof) is int and running_var_ddof == 1
    plain = out is None and merge is None and both_or_none and unbiased
    if plain and asks_for_cpu(engine):
        running = (running_mean, running_var)
        layout = quick_layout(x, channel_axis, (gamma, beta), running)
        if layout is not None and (residual is None or quick_beside(residual, x, running)):
            momentum, eps, relu = options(momentum, eps, activation)
            pair = None if running_mean is None else Running(*running, momentum)
            y = empty_as(x)
            how = How(layout, gamma, beta, eps, relu)
            kept = get("numba").forward(x, y, how, pair, residual)
            saved = Saved(x, gamma, beta, kept, eps, activation, layout.axis, x.shape)
            return y, saved if residual is None else with_residual(saved, y)
    if plain and (quick := at_once(engine, x)):
        vectors, numbers = (gamma, beta, running_mean, running_var), (momentum, eps, activation)
        if done := quick.quick_forward(x, vectors, numbers, channel_axis, residual):
            return done
    names = ("x", "gamma", "beta", "running_mean", "running_var", "residual", "out")
    given = (x, gamma, beta, running_mean, running_var, residual, out)
    x, gamma, beta, running_mean, running_var, residual, out = taken_in(names, given)
    check_input("x", x)
    layout = check_layout(x, channel_axis)
    if residual is not None:
        check_pair(residual, x, "x", "residual")
    check_vectors(x, layout, (gamma, beta, running_mean, running_var))
    check_running(running_mean, running_var)
    momentum, eps, relu = options(momentum, eps, activation)
    ddof = check_ddof("running_var_ddof", running_var_ddof)
    check_merge(merge)
    replaces = False
    if out is not None:
        check_out("x", out, x)
        replaces = same_memory(out, x)
    check_overlap(
        [("out", out), ("running_mean", running_mean), ("running_var", running_var)],
        [
            ("x", None if replaces else x),
            ("gamma", gamma),
            ("beta", beta),
            ("residual", None if residual is None or is_out(residual, out) else residual),
        ],
    )
    if merge is None and layout.channels and layout.count < 2:
        raise ValueError(
            f"x has shape {x.shape}, which is {layout.count} value(s) a channel; expected at least "
            "2 to take a variance of (batch_norm_inference takes one)"
        )
    chosen, backend = choose(engine, x), backend_of(x)
    dtype, count = computed(x), None
    with backend.scope(), (told := Explained("batch_norm_forward", x, chosen.name)):
        y = backend.empty_like(x) if out is None else out
        if x.size or merge is not None:
            run, place = x, y
            if x.size and not chosen.strided:
                place = place_of(y, x)
                run = run_like(x, place, fresh=place is not out)
                residual = None if residual is None else run_like(residual, place, fresh=False)
            layout = layout_of(run, layout.axis)
            how = How(layout, readable(gamma, dtype), readable(beta, dtype), eps, relu)
        if merge is not None:
            averages = Averages(running_mean, running_var, momentum, ddof)
            gather = partial(gathered, merge, told)
            whole = chosen, run, place, how, averages, gather, residual
            kept, count, writes = forward_over_ranks(*whole)
            put_back(y, place)
            for own, new in writes:
                own[...] = new
        elif x.size:
            beside = residual is not None
            code = new_code(chosen, run, place, how, running_mean, running_var, beside)
            apart = code is not None or place is not y
            biased = None if ddof else (layout.count - 1) / layout.count
            pair = running_of(running_mean, running_var, dtype, momentum, apart, biased)
            kept = chosen.forward(run, place, how, pair, residual)
            put_back(y, place)
            write_back(pair, running_mean, running_var, biased)
            if code is not None:
                remember([code])
        else:
            kept = backend.xp.zeros((3, layout.channels), dtype)
    saved = Saved(x, gamma, beta, kept, eps, activation, layout.axis, x.shape, replaces, count)
    return y, saved if residual is None else with_residual(saved, y)
