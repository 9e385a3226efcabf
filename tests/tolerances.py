"""How close is close: one table, in units of the dtype's eps, and the two checks that use it.

One step is compared from the arrays the kernel itself stored, so errors can't pile up and the limit
can be small enough to see a misplaced eps: oracles/test_rules.py plants such mistakes and shows it.
float16 and bfloat16 are computed in float32 and rounded once: half an eps, and a little for the
float32 work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracles.rules import Options, Rule

#            one step  20 steps, each from the last
LIMITS = {
    "float16": (0.55, 16.0),
    "bfloat16": (0.51, 16.0),
    "float32": (6.0, 40.0),
    "float64": (6.0, 40.0),
}
GPU_FACTOR = 1.5  # a fused multiply-add rounds once where the CPU rounds twice
DTYPES = "float16", "float32", "float64"  # NumPy's own
OFFSET_LIMIT = 1e-3  # batch norm in float32, mean 1e4: error of y in standard deviations
GRADIENT_RATIO = 1e-7  # |approx - grad| / (|approx| + |grad|) with two-sided differences in float64
SOFTMAX_LIMITS = {"float16": 0.55, "float32": 8.0, "float64": 8.0}  # of p (1 + |z - max z|)
EXP_ULP = 1.0  # of the exponential that compiled loops use
QUOTIENT_ULP = 1.6  # of the division by estimates in loops on vectors
TANH_ULP = 3.0  # of their tanh, and of the exponential of both signs
PRODUCT_LIMIT = 8.0  # of a matrix product: of |a| |b|, whatever the order of the sums
LOSS_LIMIT = 8.0  # of a loss of numbers, and of its gradient
ROWS_LIMIT = 16.0  # of what a network gives a row, about 1, alone or with others
CAPTURED_LIMITS = {"float32": 1000.0, "float64": 1000.0}  # 100 steps, captured or layer by layer
RANKED_LIMIT = 100.0  # of an array's largest value: 10 updates by ranks, on GPUs or on the CPU


def finfo(dtype: Any) -> Any:
    """numpy.finfo, which does not know bfloat16, but ml_dtypes does."""
    if np.dtype(dtype).name != "bfloat16":
        return np.finfo(dtype)
    import ml_dtypes  # which is there, since the dtype is

    return ml_dtypes.finfo(dtype)


def assert_close(
    actual: NDArray[Any],
    expected: NDArray[Any],
    dtype: str,
    *,
    scale: Any = 0.0,
    limit: float | None = None,
    what: str = "result",
    flushed: bool = False,
) -> None:
    """Every element within `limit` eps of max(|expected|, scale); inf and NaN exactly alike.

    The smallest subnormal is allowed on top: below it a dtype has nothing to say. `flushed` allows
    the smallest normal number of the dtype that is computed in: compiled loops flush what is below
    it to zero (CuPy by -ftz=true, Numba on the CPU by simd/denormals.py).
    """
    limit = LIMITS[dtype][0] if limit is None else limit
    actual, expected = np.asarray(actual), np.asarray(expected, dtype=np.float64)
    assert actual.dtype == dtype, f"{what}: dtype {actual.dtype} instead of {dtype}"
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    info = finfo(dtype)
    with np.errstate(all="ignore"):
        stored = expected.astype(dtype)
        error = np.abs(actual.astype(np.float64) - expected)
        unit = float(info.eps) * np.maximum(np.abs(expected), scale)
        least = float(info.tiny if flushed and dtype != "float16" else info.smallest_subnormal)
        in_eps = np.maximum(error - least, 0.0) / np.maximum(unit, 5e-324)
    same = (actual == stored) | (np.isnan(actual) & np.isnan(stored))
    finite = np.isfinite(stored) & np.isfinite(actual)
    in_eps = np.where(finite, in_eps, np.where(same, 0.0, np.inf))
    if in_eps.size and not in_eps.max() <= limit:
        worst = np.unravel_index(int(in_eps.argmax()), in_eps.shape)
        raise AssertionError(
            f"{what}: element {tuple(map(int, worst))} is {actual[worst]!r}, expected "
            f"{float(expected[worst])!r}: {in_eps[worst]:.3g} eps of {dtype} off, {limit} allowed; "
            f"{int((in_eps > limit).sum())} of {in_eps.size} elements are off"
        )


def signed(rng: np.random.Generator, shape: Any, low: float, high: float, dtype: str) -> Any:
    """Random signs, magnitudes in [low, high]: none so small that rounding is all it shows."""
    return np.asarray(rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape)).astype(dtype)


def wide(array: Any) -> NDArray[np.float64]:
    return np.array(array, dtype=np.float64)  # always a copy


def assert_step(
    kernel: Callable[..., object],
    rule: Rule,
    arrays: dict[str, Any],
    options: Options,
    *,
    factor: float = 1.0,
    to_numpy: Callable[[Any], Any] = np.asarray,
    what: str = "",
) -> None:
    """Run one step in place and hold parameter and states to the oracle, element by element."""
    before = {name: wide(to_numpy(array)) for name, array in arrays.items()}
    dtype = str(arrays["param"].dtype)
    with np.errstate(all="ignore"):
        expected = rule.call(rule.oracle, before, options)
    assert rule.call(kernel, arrays, options) is None, "kernels write in place and return None"
    lr = options.get("lr", rule.default("lr") if "lr" in rule.options else 0.0)
    for name, want in zip(rule.written_with(options), expected, strict=True):
        # an addition loses what cancels: count eps of the larger term (an update is about lr)
        scale = np.abs(before[name])
        if name == "param":
            with np.errstate(invalid="ignore"):
                scale = np.maximum(scale, np.maximum(lr, np.abs(want - before[name])))
        scale = np.where(np.isfinite(scale), scale, 0.0)
        assert_close(
            to_numpy(arrays[name]),
            want,
            dtype,
            scale=scale,
            limit=LIMITS[dtype][0] * factor,
            flushed=True,
            what=f"{name}{what} with {options}",
        )
    grad = to_numpy(arrays["grad"])
    assert np.array_equal(wide(grad), before["grad"], equal_nan=True), "grad was written"


def assert_walk(
    kernel: Callable[..., object],
    rule: Rule,
    options: Options,
    dtype: str,
    *,
    size: int = 1023,
    steps: int = 20,
    factor: float = 1.0,
    asarray: Callable[[Any], Any] = np.asarray,
    to_numpy: Callable[[Any], Any] = np.asarray,
) -> None:
    """Take `steps` steps with fresh gradients: each alone, then the whole way from the start."""
    rng = np.random.default_rng(steps + size)
    host = {name: np.zeros(size, dtype) for name in rule.arrays_with(options)}
    host["param"] = signed(rng, size, 0.5, 2.0, dtype)
    path = {name: wide(array) for name, array in host.items()}
    arrays = {name: asarray(array) for name, array in host.items()}
    for step in range(1, steps + 1):
        grad = signed(rng, size, 0.25, 4.0, dtype)
        arrays["grad"] = asarray(grad.copy())
        counted = {**options, "step": step} if "step" in rule.options else options
        assert_step(
            kernel,
            rule,
            arrays,
            counted,
            factor=factor,
            to_numpy=to_numpy,
            what=f" after step {step}",
        )
        path["grad"] = wide(grad)
        stepped = rule.call(rule.oracle, path, counted)
        path |= dict(zip(rule.written_with(options), stepped, strict=True))
    for name in rule.written_with(options)[rule.jumps :]:
        assert_close(
            to_numpy(arrays[name]),
            path[name],
            dtype,
            scale=1.0,
            limit=LIMITS[dtype][1] * factor,
            flushed=True,
            what=f"{name} after {steps} steps",
        )
