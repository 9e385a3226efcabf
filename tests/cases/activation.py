"""Activations' test cases, and the checks that hold an engine to the oracle."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onepass import kernels
from oracles import activation as oracle
from tolerances import LIMITS, assert_close

KINDS = oracle.KINDS
WAYS = ("linear", "relu", "leaky_relu", "sigmoid", "tanh", "softplus")
"""For what hardly depends on the formula: the last one is told from x, and has two options."""
OPTIONS = {
    "leaky_relu": {"slope": 0.125},
    "elu": {"alpha": 0.75},
    "softplus": {"beta": 2.0, "threshold": 4.0},
}
"""Exact in every dtype."""


class Cpu:
    """NumPy arrays by one engine, in a layout of `view`: what conftest.Engine offers, as far as the
    checks below use it."""

    factor = 1.0

    def __init__(self, name: str, view: Callable[[Any], Any] = np.array) -> None:
        self.name, self.asarray = name, view

    def to_numpy(self, array: Any) -> Any:
        return array

    def kernel(self, name: str) -> Callable[..., Any]:
        return lambda *args, **options: getattr(kernels, name)(*args, engine=self.name, **options)


class Case(NamedTuple):
    """Arguments of a pass each way, on the host."""

    x: NDArray[Any]
    dy: NDArray[Any]
    bias: NDArray[Any] | None
    kind: str

    @property
    def options(self) -> dict[str, float]:
        return OPTIONS.get(self.kind, {})

    @property
    def z(self) -> Any:
        """x + bias in what is computed in: it rounds once, as every engine does."""
        dtype = computed(self.x.dtype.newbyteorder("="))
        z = self.x.astype(dtype)
        return z if self.bias is None else z + self.bias.astype(dtype)


def make(
    shape: tuple[int, ...],
    kind: str,
    dtype: str = "float32",
    *,
    biased: bool = True,
    spread: float = 3.0,
    seed: int = 0,
) -> Case:
    """Random numbers; `spread` times as large for x, so that sigmoid and tanh bend and saturate."""
    rng = np.random.default_rng(seed)
    x, dy = (rng.standard_normal(shape) * scale for scale in (spread, 1.0))
    bias = rng.standard_normal(shape[-1]).astype(dtype) if biased and shape else None
    return Case(np.asarray(x, dtype), np.asarray(dy, dtype), bias, kind)


def computed(dtype: Any) -> str:
    return "float64" if np.dtype(dtype).char == "d" else "float32"


def _right(function: Any, *arrays: Any, **options: Any) -> Any:
    """What an oracle gives, which the next passes over the same numbers ask for again."""
    given = tuple((array.tobytes(), array.dtype.str, array.shape) for array in arrays)
    return _known(function, given, tuple(options.items()))


@lru_cache(maxsize=6)
def _known(function: Any, given: tuple[Any, ...], options: tuple[Any, ...]) -> Any:
    arrays = [np.frombuffer(told, dtype).reshape(shape) for told, dtype, shape in given]
    found = function(*arrays, **dict(options))
    found.flags.writeable = False
    return found


def check_forward(engine: Any, case: Case, out: bool = False) -> Any:
    """Hold y to the oracle, and return it; `out`: in the place of x."""
    dtype, z = case.x.dtype.newbyteorder("=").name, case.z
    x = engine.asarray(case.x)
    bias = None if case.bias is None else engine.asarray(case.bias)
    options = {"bias": bias, "out": x if out else None, **case.options}
    y = engine.kernel("activation_forward")(x, case.kind, **options)
    assert (y is x) == out
    assert_close(
        _plain(engine.to_numpy(y)),
        _right(oracle.forward, z, kind=case.kind, **case.options),
        dtype,
        scale=_right(oracle.size, z, kind=case.kind, dtype=computed(dtype), **case.options),
        limit=LIMITS[dtype][0] * engine.factor,
        flushed=True,
        what=f"y of {case.kind}",
    )
    if not out:
        assert np.array_equal(engine.to_numpy(x), case.x, equal_nan=True), "x was written"
    if bias is not None:
        assert np.array_equal(engine.to_numpy(bias), case.bias), "bias was written"
    return y


def check_backward(engine: Any, case: Case, y: Any, out: bool = False, summed: bool = True) -> Any:
    """Hold dz and bias_grad to the oracle, told from the engine's own y, or x; return dz."""
    dtype = case.dy.dtype.newbyteorder("=").name
    from_z, bias = case.kind in oracle.FROM_Z, None
    if from_z:
        y, bias = engine.asarray(case.x), None if case.bias is None else engine.asarray(case.bias)
    dy, before = engine.asarray(case.dy), _plain(engine.to_numpy(y)).copy()
    told = case.z if from_z else before
    want = _right(oracle.backward, case.dy, told, kind=case.kind, **case.options)
    options = {"dtype": computed(dtype), "gradient": True, **case.options}
    size = np.abs(case.dy.astype("float64"))
    size = np.maximum(np.abs(want), size * _right(oracle.size, told, kind=case.kind, **options))
    sums = None
    if summed and case.dy.ndim:
        sums = engine.asarray(np.full(case.dy.shape[-1], np.nan, case.dy.dtype))
    options = {"bias_grad": sums, "out": dy if out else None, **case.options}
    options |= {"bias": bias} if from_z else {}
    dz = engine.kernel("activation_backward")(dy, y, case.kind, **options)
    assert (dz is dy) == out
    limit = LIMITS[dtype][0] * engine.factor
    assert_close(
        _plain(engine.to_numpy(dz)), want, dtype, scale=size, limit=limit, flushed=True,
        what=f"dz of {case.kind}",
    )  # fmt: skip
    if not out:
        assert np.array_equal(engine.to_numpy(dy), case.dy, equal_nan=True), "dy was written"
    assert np.array_equal(_plain(engine.to_numpy(y)), before, equal_nan=True), "y was written"
    if sums is not None:
        rows, size = (
            each.reshape(-1, sums.shape[0]) if want.size else np.zeros((1, sums.shape[0]))
            for each in (want, size)
        )
        assert_close(
            _plain(engine.to_numpy(sums)),
            rows.sum(axis=0),
            dtype,
            scale=size.sum(axis=0),  # a sum loses what cancels
            limit=limit + (dtype == "float16") * 0.5,  # dz itself was rounded
            flushed=True,
            what=f"bias_grad of {case.kind}",
        )
    return dz


def check(engine: Any, case: Case, out: bool = False) -> None:
    """A pass each way."""
    y = check_forward(engine, case, out)
    check_backward(engine, case, y, out)
    check_backward(engine, case, y, out, summed=False)


def _plain(array: Any) -> NDArray[Any]:
    """In native byte order."""
    return np.asarray(array, array.dtype.newbyteorder("="))
