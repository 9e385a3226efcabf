"""The gradients of batch normalization."""

from __future__ import annotations

from functools import partial

from ...backend import Array, backend_of
from ...backend.failures import Explained
from ...backend.foreign import taken_in
from ...backend.memory_pool import empty_as
from ..array_arguments import asks_for_cpu, check_out, check_overlap, same_memory
from ..compiling.gpu.first_launch import remember
from ..order import place_of, put_back, run_like
from .arguments import check_pair
from .channel_vectors import computed, readable
from .contract import NOWHERE, Gate, How, Places, Saved
from .engines import at_once, choose, get
from .gpu.first_launch import new_gate_code
from .gradient_places import PLACES, check_places, landed, landing_of, try_copies
from .layout import Layout, layout_of
from .merging import Merge, check_same, gathered
from .over_ranks import backward as backward_over_ranks
from .quick_checks import quick_pair, quick_places
from .residuals import PLACE, check_residual_grad, gate_of, put_gradient, run_like_gate


def batch_norm_backward(
    dy: Array,
    saved: Saved,
    *,
    out: Array | None = None,
    gamma_grad: Array | None = None,
    beta_grad: Array | None = None,
    residual_grad: Array | None = None,
    merge: Merge | None = None,
    engine: str = "auto",
) -> tuple[Array, ...]:
    """Gradients of a loss J with respect to x, gamma and beta of `batch_norm_forward`.

    With the forward's mu, sigma^2 and xhat over the m values of each channel, and dz = dy, or 0
    where a ReLU in the forward gave y = 0,

        dgamma = sum(dz xhat)        dbeta = sum(dz)        dresidual = dz
        dx = gamma / (m sqrt(sigma^2 + eps)) (m dz - dbeta - xhat dgamma)

    Args:
        dy: dJ/dy, of x's shape and dtype; left untouched unless it is `out`.
        saved: what `batch_norm_forward` returned; its x, gamma and beta, and y where it has that,
            must still hold what they held then.
        out: where dx goes, of x's shape and dtype; may be dy, or saved.x, which uses `saved` up.
        gamma_grad, beta_grad: where dgamma and dbeta go, (C,), of the dtype they are returned in;
            what they held is overwritten. None: new arrays.
        residual_grad: where dresidual goes, of x's shape and dtype; may be dy. None: a new array,
            or without a ReLU dy itself, which `out` can't be then.
        merge: what the forward had, if it had one; every rank calls this, too. It is called once,
            with two sums a channel, (2, C) in float64. dx then follows from the sums and the m of
            all ranks; dgamma and dbeta are this rank's own, to be added up with other gradients.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Returns:
        dx, dgamma and dbeta, the latter (C,), in the dtype of gamma and beta (x's, float32 for
        float16, where those are integers); None where those are. A fourth, dresidual, if the
        forward had a residual, and only then. All are NumPy or CuPy arrays, whatever `as_array`
        took in; gamma_grad, beta_grad and residual_grad themselves where given.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Memory: dy and x are read for the sums, and again for dx. Where a ReLU followed a residual, the
        sums read y as well and write dz, and dx takes dz in place of dy, so that y is read once:
        its sign costs the bytes that the residual would, which may be gone by then.
    Conventions: the mean and the variance depend on x, so this is not the gradient of
        `batch_norm_inference`. float16 computes in float32, where dy (x - mu) must not overflow.
    Source: Ioffe and Szegedy (2015), section 3, its six gradients put into one another.
    """
    if not isinstance(saved, Saved):
        raise TypeError(
            f"saved is a {type(saved).__name__}; expected the second result of batch_norm_forward"
        )
    if saved.overwritten:
        raise ValueError(
            "saved.x was overwritten, by out=x of the forward or by out=saved.x of a backward; "
            "expected the forward's input as it was. Leave out= away in the forward"
        )
    if merge is not None or saved.count is not None:
        check_same(merge, saved.count)
    x, layout, dtype = saved.x, _layout_of_saved(saved), computed(saved.x)
    wanted: Places = gamma_grad, beta_grad
    vectors = saved.gamma, saved.beta
    plain = out is None and merge is None and residual_grad is None
    cpu = plain and asks_for_cpu(engine) and x.size and quick_pair(dy, x)
    y = saved.y
    read = (x, dy) if y is None else (x, dy, y)
    if cpu and (y is None or quick_pair(y, x)) and quick_places(wanted, vectors, read):
        dx, how = empty_as(x), _how(saved, layout, dtype)
        gate = None if y is None else Gate(y, empty_as(x))
        gradients = get("numba").backward(dy, x, dx, how, saved.kept, NOWHERE, gate)
        results = dx, *landed(gradients, vectors, x, wanted)
        return (*results, dy if gate is None else gate.dz) if saved.residual else results
    quick = at_once(engine, x) if plain else None
    if quick is not None and (done := quick.quick_backward(dy, saved, wanted)):
        return done
    names = ("dy", "out", PLACE, *PLACES)
    dy, out, residual_grad, *taken = taken_in(names, (dy, out, residual_grad, *wanted))
    wanted = taken[0], taken[1]
    check_pair(dy, x, "saved.x")
    check_places(wanted, vectors, x, layout)
    replaces = False
    if out is not None:
        check_out("dy", out, dy)
        replaces = same_memory(out, x)
    check_residual_grad(residual_grad, dy, saved, out)
    over_dy = any(each is not None and same_memory(each, dy) for each in (out, residual_grad))
    others = zip(("saved.gamma", "saved.beta"), vectors, strict=True)
    check_overlap(
        [("out", out), (PLACE, residual_grad), *zip(PLACES, wanted, strict=True)],
        [
            ("saved.x", None if replaces else x),
            ("dy", None if over_dy else dy),
            ("saved.y", y),
            *others,
            *([("saved.kept", saved.kept)] if any(place is not None for place in wanted) else []),
        ],
    )
    chosen, backend = choose(engine, x), backend_of(x)
    with backend.scope(), (told := Explained("batch_norm_backward", x, chosen.name)):
        dx = backend.empty_like(x) if out is None else out
        code = None if y is None else new_gate_code(chosen, x)
        gate = gate_of(saved, residual_grad, merge is not None or code is not None)
        landing = landing_of(wanted, vectors, x, out is not None or residual_grad is not None)
        if residual_grad is not None:
            try_copies((residual_grad, out))
        given = dy
        if x.size or merge is not None:
            run, place, passed = x, dx, gate
            if x.size and not chosen.strided:
                place = place_of(dx, x)
                run = run_like(x, place, fresh=False)
                dy = run_like(dy, place, fresh=place is not out)
                passed = None if gate is None else run_like_gate(gate, place)
            how = _how(saved, layout_of(run, layout.axis), dtype)
            direct = landing.direct if place is dx else NOWHERE  # what is put back may fail
            if merge is None or saved.count is None:
                gradients = chosen.backward(dy, run, place, how, saved.kept, direct, passed)
            else:
                of_all = saved.kept, saved.count, partial(gathered, merge, told)
                gradients = backward_over_ranks(chosen, dy, run, place, how, *of_all, passed)
            if gate is not None and passed is not None:
                put_back(gate.dz, passed.dz)
            put_back(dx, place)
            saved.overwritten = replaces
            if code is not None:
                remember([code])
        else:
            gradients = backend.xp.zeros((2, layout.channels), dtype)
        results = dx, *landed(gradients, vectors, x, wanted, landing.copies)
        if not saved.residual:
            return results
        return *results, put_gradient(given if gate is None else gate.dz, residual_grad)


def _how(saved: Saved, layout: Layout, dtype: str) -> How:
    affine = readable(saved.gamma, dtype), readable(saved.beta, dtype)
    return How(layout, *affine, saved.eps, saved.activation == "relu")


def _layout_of_saved(saved: Saved) -> Layout:
    """How saved.x lies in memory now, if all in `saved` still has the shapes of the forward."""
    x, kept, gamma, beta = saved.x, saved.kept, saved.gamma, saved.beta
    layout = layout_of(x, saved.channel_axis)
    vector = (layout.channels,)
    if (
        x.shape != saved.shape
        or (saved.y is not None and saved.y.shape != saved.shape)
        or kept.shape != (3, layout.channels)
        or kept.dtype.char != ("d" if x.dtype.char == "d" else "f")
        or not kept.flags.c_contiguous
        or (gamma is not None and gamma.shape != vector)
        or (beta is not None and beta.shape != vector)
    ):
        vectors = [v for v in (gamma, beta) if v is not None]
        raise ValueError(
            f"saved was changed since the forward: x has shape {x.shape}, kept {kept.shape} "
            f"{kept.dtype}, gamma and beta {[v.shape for v in vectors]}; expected {saved.shape}, "
            f"(3, {layout.channels}) {computed(x)} and ({layout.channels},)"
        )
    return layout
