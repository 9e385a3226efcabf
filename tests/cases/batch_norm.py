"""Batch normalization's test cases, and the check that holds an implementation to the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from oracles import batch_norm as batchnorm
from tolerances import LIMITS, assert_close, finfo, wide

# shape, channel axis, order of the axes in memory (None: as they are)
LAYOUTS = {
    "N C": ((33, 7), 1, None),
    "N C L": ((5, 7, 31), 1, None),
    "N C H W": ((3, 5, 7, 9), 1, None),
    "N C D H W": ((2, 3, 4, 5, 6), 1, None),
    "N H W C": ((3, 7, 9, 5), -1, None),
    "N L C, 33 channels": ((6, 11, 33), -1, None),
    "C N L": ((7, 5, 9), 0, None),
    "axis 2 of 5": ((3, 4, 5, 2, 3), -3, None),
    "N C over C N": ((33, 7), 1, (1, 0)),
    "N C H W over N H W C": ((3, 5, 7, 9), 1, (0, 2, 3, 1)),
    "N H W C over N C H W": ((3, 7, 9, 5), -1, (0, 3, 1, 2)),
    "N C H W over W H C N": ((3, 5, 7, 9), 1, (3, 2, 1, 0)),
    "N C H W over H C N W": ((3, 5, 7, 9), 1, (2, 1, 0, 3)),
}


SHAPE = (4, 3, 5)  # where the shape does not matter
ORDER = ("x", "gamma", "beta", "running_mean", "running_var")


class Case(NamedTuple):
    """Arguments of one training step, on the host, in their final dtypes and memory layout."""

    x: NDArray[Any]
    dy: NDArray[Any]
    gamma: NDArray[Any] | None
    beta: NDArray[Any] | None
    running_mean: NDArray[Any] | None
    running_var: NDArray[Any] | None
    options: dict[str, Any]  # eps, channel_axis, activation: what the backward pass must know too;
    # and a residual, if there is one

    @property
    def values(self) -> int:
        """m, the number of values of a channel."""
        return self.x.size // self.x.shape[self.options["channel_axis"]]


def in_memory_order(array: NDArray[Any], order: tuple[int, ...] | None) -> NDArray[Any]:
    """The same array, dense, with its axes in `order` in memory from the outermost in."""
    if order is None:
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(array.transpose(order)).transpose(np.argsort(order))


def make(
    shape: tuple[int, ...],
    channel_axis: int = 1,
    *,
    dtype: str = "float32",
    activation: str | None = None,
    eps: float = 1e-2,
    order: tuple[int, ...] | None = None,
    parameters: str | None = None,
    offset: float = 2.0,
    seed: int = 0,
    residual: bool = False,
) -> Case:
    """Channels of different mean (up to `offset`) and deviation; eps large enough for its place.

    Where the activation's kink is so near that rounding could decide, dy is 0. `parameters` is the
    dtype of gamma, beta and the running statistics, x's by default.
    """
    rng = np.random.default_rng(seed)
    channels = shape[channel_axis]
    across = [1] * len(shape)
    across[channel_axis] = channels
    mean = rng.uniform(-offset, offset, channels).reshape(across)
    x = mean + rng.uniform(0.5, 2.0, channels).reshape(across) * rng.standard_normal(shape)
    x = in_memory_order(x.astype(dtype), order)
    gamma, beta, running_mean, running_var = (
        rng.uniform(low, high, channels).astype(parameters or dtype)
        for low, high in [(0.5, 2.0), (-0.5, 0.5), (-1.0, 1.0), (0.5, 2.0)]
    )
    gamma *= rng.choice([-1, 1], channels).astype(gamma.dtype)
    options: dict[str, Any] = {"eps": eps, "channel_axis": channel_axis, "activation": activation}
    dy = rng.standard_normal(shape).astype(dtype)
    if residual:
        values = 2.0 * rng.standard_normal(shape)
        options["residual"] = in_memory_order(values.astype(dtype), order)
    if activation:
        near = 1e-2 if dtype == "float16" else 1e-3
        dy[np.abs(batchnorm.forward(x, gamma, beta, **options).z) < near] = 0
    dy = in_memory_order(dy, order)
    return Case(x, dy, gamma, beta, running_mean, running_var, options)


def given_options(case: Case, asarray: Callable[[Any], Any]) -> dict[str, Any]:
    """The options of a case, its residual where an engine takes it."""
    if "residual" not in case.options:
        return case.options
    return case.options | {"residual": asarray(case.options["residual"])}


def compute_dtype(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


def assert_summed(
    actual: Any, expected: Any, terms: Any, dtype: str, factor: float, what: str
) -> None:
    """Within the limit in eps of `terms`, the size of what was added up to make the result.

    float16 and bfloat16 add in float32, in whose eps the terms then count, and round once more.
    """
    if dtype in ("float16", "bfloat16"):
        (half, _), (single, _) = LIMITS[dtype], LIMITS["float32"]
        ratio = single * float(finfo("float32").eps) / (half * float(finfo(dtype).eps))
        terms = np.abs(expected) + terms * float(ratio)
    terms = np.where(np.isfinite(terms), terms, 0.0)
    limit = LIMITS[dtype][0] * factor
    assert_close(actual, expected, dtype, scale=terms, limit=limit, what=what)


def assert_batch_norm(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    case: Case,
    *,
    momentum: float = 0.3,
    factor: float = 1.0,
    asarray: Callable[[Any], Any] = np.copy,
    to_numpy: Callable[[Any], Any] = np.asarray,
) -> None:
    """Run a training step forward and backward and hold every result to the oracle."""
    x, dy, gamma, beta, *running = (None if a is None else asarray(a) for a in case[:-1])
    dtype, options = str(case.x.dtype), case.options
    # a sum's error walks with the number of its terms; in float64 there is no wider type to add in
    factor *= max(1.0, case.values**0.5 / (8 if dtype == "float64" else 128))
    with np.errstate(all="ignore"):
        batch = batchnorm.forward(case.x, case.gamma, case.beta, **options)
        wanted = batchnorm.backward(case.dy, case.x, case.gamma, case.beta, **options)
        terms = batchnorm.terms(case.x, case.dy, case.gamma, case.beta, **options)

    given_ = given_options(case, asarray)
    y, saved = forward(x, gamma, beta, *running, momentum=momentum, **given_)
    dx, *sums = backward(dy, saved)
    if "residual" in options:
        want = batchnorm.residual_gradient(case.dy, batch.z, options["activation"])
        np.testing.assert_array_equal(to_numpy(sums.pop()), want.astype(dtype), "dresidual")
        residual = to_numpy(given_["residual"])
        assert residual.tobytes() == options["residual"].tobytes(), "residual was written"

    def check(what: str, actual: Any, expected: Any, scale: Any, kind: str = dtype) -> None:
        assert_summed(to_numpy(actual), expected, scale, kind, factor, what)

    check("y", y, batch.y, terms.y)
    check("saved.mean", saved.mean, batch.mean, terms.mean, compute_dtype(dtype))
    check("saved.inv_std", saved.inv_std, batch.inv_std, 0.0, compute_dtype(dtype))
    check("dx", dx, wanted.dx, terms.dx)
    for name, parameter, total in zip(
        ("gamma", "beta"), (case.gamma, case.beta), sums, strict=True
    ):
        if parameter is None:
            assert total is None, f"d{name} without {name}"
        else:
            expected, scale = getattr(wanted, f"d{name}"), getattr(terms, f"d{name}")
            check(f"d{name}", total, expected, scale, str(parameter.dtype))
    if case.running_mean is not None and case.running_var is not None:
        old = (case.running_mean, case.running_var)
        new = batchnorm.running_statistics(*old, batch, case.values, momentum)
        kind = str(case.running_mean.dtype)
        check("running_mean", running[0], new[0], np.abs(wide(old[0])) + terms.mean, kind)
        check("running_var", running[1], new[1], 0.0, kind)
    for name, before, after in zip(case._fields[:4], case[:4], (x, dy, gamma, beta), strict=True):
        if before is not None:
            unchanged = to_numpy(after).tobytes() == before.tobytes()
            assert unchanged, f"{name} was written"


# --- on an engine ---------------------------------------------------------------------------------
def needs(engine: Any, dtype: str) -> None:
    if dtype not in engine.dtypes:
        pytest.skip(f"{engine.name} does not take {dtype}")


def passes(engine: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return engine.kernel("batch_norm_forward"), engine.kernel("batch_norm_backward")


def check(engine: Any, case: Case, limit: float = 1.0) -> None:
    """Hold an engine to the oracle; `limit` times the usual limits."""
    needs(engine, str(case.x.dtype))
    assert_batch_norm(
        *passes(engine),
        case,
        factor=engine.factor * limit,
        asarray=engine.asarray,
        to_numpy=engine.to_numpy,
    )


def train(
    engine: Any,
    x: NDArray[Any],
    gamma: NDArray[Any] | None = None,
    beta: NDArray[Any] | None = None,
    *,
    dy: NDArray[Any] | None = None,
    **options: Any,
) -> list[NDArray[Any]]:
    """y, and dx, dgamma, dbeta, a residual's gradient too, where dy is given, on the host."""
    forward, backward = passes(engine)
    if "residual" in options:
        options["residual"] = engine.asarray(options["residual"])
    y, saved = forward(
        *(None if a is None else engine.asarray(a) for a in (x, gamma, beta)), **options
    )
    grads = backward(engine.asarray(dy), saved) if dy is not None else ()
    return [None if a is None else engine.to_numpy(a) for a in (y, *grads)]


def arrays(engine: Any, **changed: Any) -> dict[str, Any]:
    """Good arguments of training, or of inference, with `changed` ones."""
    case = make(SHAPE)
    good = {name: engine.asarray(getattr(case, name)) for name in ORDER}
    good["out"] = engine.asarray(np.full(SHAPE, 7.5, "float32"))
    return good | changed


def refused(engine: Any, function: str, given_: dict[str, Any], error: Any, *words: str) -> None:
    """The call raises `error` with every one of `words` in its message and writes nothing."""
    options = {name: value for name, value in given_.items() if name not in ORDER}
    with engine.refuses(error, given_, *words):
        engine.kernel(f"batch_norm_{function}")(*(given_[name] for name in ORDER), **options)


def infer(engine: Any, case: Case) -> None:
    """Hold inference with the case's running statistics to the oracle."""
    needs(engine, str(case.x.dtype))
    arguments = (case.x, *case[2:6])
    given_ = [None if a is None else engine.asarray(a) for a in arguments]
    options, sizes = given_options(case, engine.asarray), given_options(case, np.abs)
    y = engine.to_numpy(engine.kernel("batch_norm_inference")(*given_, **options))
    want = batchnorm.inference(*arguments, **case.options)
    x, gamma, beta, mean = (None if a is None else np.abs(a) for a in arguments[:4])
    terms = batchnorm.inference(x, gamma, beta, -mean, case.running_var, **sizes)
    assert_summed(y, want, terms, str(case.x.dtype), engine.factor, "y")
    for before, after in zip(arguments, given_, strict=True):
        assert before is None or engine.to_numpy(after).tobytes() == before.tobytes()
