"""Cases of layer, RMS and group norm, and the checks that hold an engine to the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tolerances
from numpy.typing import NDArray
from onepass import kernels
from oracles import norms as oracle

from cases.batch_norm import assert_summed

try:
    import ml_dtypes  # noqa: F401  (NumPy has its dtypes by their names from then on)
except ImportError:
    BFLOAT16_MISSING = "ml_dtypes, which has bfloat16, is not installed"
else:
    BFLOAT16_MISSING = ""

BFLOAT16 = pytest.param(
    "bfloat16", marks=pytest.mark.skipif(bool(BFLOAT16_MISSING), reason=BFLOAT16_MISSING)
)
DTYPES: tuple[Any, ...] = (*tolerances.DTYPES, BFLOAT16)
"""What norms take."""

OPERATIONS = ("layer_norm", "rms_norm", "group_norm")
ACTIVATIONS = oracle.ACTIVATIONS
NAMES = ("x", "gamma", "beta", "residual")

# operation, shape, what cuts it: rows of all lengths, one row, a row of one value, several axes
SHAPES = {
    f"{operation} {shape}{' ' if cut else ''}{' '.join(map(str, cut.values()))}": (
        operation, shape, cut,
    )
    for operation, shapes in {
        "layer_norm": [
            ((5, 1), {}), ((9, 2), {}), ((5, 3), {}), ((33, 7), {}), ((16, 256), {}),
            ((3, 1023), {}), ((2, 4096), {}), ((2, 50_000), {}), ((1, 768), {}), ((4,), {}),
            ((1, 1), {}), ((2, 3, 5), {}), ((2, 3, 4, 5), {"normalized_shape": (4, 5)}),
            ((6, 3, 4), {"normalized_shape": (3, 4)}), ((3, 5), {"normalized_shape": (3, 5)}),
            ((2, 3, 1, 1), {"normalized_shape": (3, 1, 1)}), ((7, 5), {"normalized_shape": 5}),
        ],
        "group_norm": [
            ((4, 6), {"groups": 1}), ((4, 6), {"groups": 3}), ((5, 7), {"groups": 1}),
            ((2, 6, 5), {"groups": 6}), ((2, 6, 5), {"groups": 2}), ((3, 1, 2), {"groups": 1}),
            ((2, 8, 7, 9), {"groups": 1}), ((2, 8, 7, 9), {"groups": 4}),
            ((2, 8, 7, 9), {"groups": 8}), ((2, 6, 3, 4, 5), {"groups": 3}),
            ((1, 2, 1023), {"groups": 1}), ((2, 4, 12_500), {"groups": 1}),
            ((33, 3, 1, 2), {"groups": 3}),
        ],
    }.items()
    for shape, cut in shapes
}  # fmt: skip
SHAPES |= {
    name.replace("layer_norm", "rms_norm"): ("rms_norm", shape, cut)
    for name, (operation, shape, cut) in SHAPES.items()
    if operation == "layer_norm"
}
PLAIN = {
    "layer_norm": ((6, 9), {}),
    "rms_norm": ((6, 9), {}),
    "group_norm": ((3, 4, 5), {"groups": 2}),
}
"""Where the shape does not matter."""


_QUICK = ((None, False), ("gelu", True))
KINDS = [  # activation, residual: each is compiled, so that the quick tests have two
    pytest.param(
        activation, residual, id=f"{activation}{' residual' * residual}",
        marks=[] if (activation, residual) in _QUICK else [pytest.mark.slow],
    )
    for activation in ACTIVATIONS
    for residual in (False, True)
]  # fmt: skip


class Case(NamedTuple):
    """Arguments of a pass each way, on the host."""

    operation: str
    x: NDArray[Any]
    dy: NDArray[Any]
    gamma: NDArray[Any] | None
    beta: NDArray[Any] | None
    residual: NDArray[Any] | None
    options: dict[str, Any]  # eps, activation, and normalized_shape or groups

    @property
    def arrays(self) -> dict[str, Any]:
        """What the oracle takes beside dy."""
        return {name: getattr(self, name) for name in NAMES}

    @property
    def norm(self) -> oracle.Norm:
        cut = {name: value for name, value in self.options.items() if name != "activation"}
        return oracle.norm_of(self.operation, self.x, **cut)


def make(
    operation: str,
    shape: tuple[int, ...] | None = None,
    *,
    dtype: str = "float32",
    activation: str | None = None,
    residual: bool = False,
    vectors: str = "gamma beta",
    eps: float | None = 1e-2,
    offset: float = 2.0,
    seed: int = 0,
    **cut: Any,
) -> Case:
    """Rows of different mean (up to `offset`) and deviation; eps large enough for its place.

    dy is 0 where the ReLU's kink is so near that rounding could decide. With a residual, x and it
    are multiples of 1/64, or in bfloat16 of 1/16, whose sum is exact in every dtype: nothing tells
    when it was rounded.
    """
    if shape is None:
        shape, cut = PLAIN[operation]
    rng = np.random.default_rng(seed)
    options = {"eps": eps, "activation": activation, **cut}
    like = np.zeros(shape, dtype)
    norm = oracle.norm_of(operation, like, eps=1.0, **cut)
    rows = (*norm.rows(like).shape[:1], 1)
    x = rng.uniform(-offset, offset, rows) + rng.uniform(0.5, 2.0, rows) * rng.standard_normal(
        norm.rows(like).shape
    )
    x, other, dy = x.reshape(shape), *rng.standard_normal((2, *shape))
    if residual:
        parts = 16 if dtype == "bfloat16" else 64
        x, other = (np.clip(np.round(a * parts) / parts, -8, 8) for a in (x, other))
    gamma = rng.uniform(0.5, 2.0, norm.vector) * rng.choice([-1, 1], norm.vector)
    beta = rng.uniform(-0.5, 0.5, norm.vector)
    case = Case(
        operation,
        x.astype(dtype),
        dy.astype(dtype),
        gamma.astype(dtype) if "gamma" in vectors else None,
        beta.astype(dtype) if "beta" in vectors and operation != "rms_norm" else None,
        other.astype(dtype) if residual else None,
        options,
    )
    if activation == "relu":
        near = 1e-3 if dtype in ("float32", "float64") else 1e-2
        case.dy[np.abs(oracle.forward(operation, **case.arrays, **options).z) < near] = 0
    return case


class Cpu:
    """NumPy arrays by one engine, in a layout of `view`: what conftest.Engine offers, as far as the
    checks below use it."""

    factor, device = 1.0, "cpu"

    def __init__(self, name: str, view: Callable[[Any], Any] = np.array) -> None:
        self.name, self.asarray = name, view

    def to_numpy(self, array: Any) -> Any:
        return array

    def kernel(self, name: str) -> Callable[..., Any]:
        return lambda *args, **options: getattr(kernels, name)(*args, engine=self.name, **options)


def given(engine: Any, case: Case) -> dict[str, Any]:
    """The arguments of the forward pass on the engine's device; no beta in RMS norm."""
    names = NAMES if case.operation != "rms_norm" else ("x", "gamma", "residual")
    arrays = ((name, getattr(case, name)) for name in names)
    return {name: None if a is None else engine.asarray(a) for name, a in arrays} | case.options


def run(engine: Any, case: Case) -> list[Any]:
    """y, dx, dgamma, and but for RMS norm dbeta, on the host."""
    y, saved = engine.kernel(f"{case.operation}_forward")(**given(engine, case))
    back = engine.kernel(f"{case.operation}_backward")(engine.asarray(case.dy), saved)
    return [None if a is None else engine.to_numpy(a) for a in (y, *back)]


def assert_right(case: Case, results: list[Any], factor: float = 1.0) -> None:
    """Holds y, dx, dgamma and dbeta to the oracle, the latter in the dtypes of gamma and beta."""
    norm = case.norm
    slack = 8 if case.x.dtype == "float64" else 128  # in float64 there is no wider type to add in
    along, across = (factor * max(1.0, n**0.5 / slack) for n in (norm.values, norm.count))
    with np.errstate(all="ignore"):
        y = oracle.forward(case.operation, **case.arrays, **case.options).y
        wanted = (
            y,
            *oracle.backward(case.operation, case.dy, **case.arrays, **case.options),
        )
        terms = oracle.terms(case.operation, case.dy, **case.arrays, **case.options)
    names = ("y", "dx", "dgamma", "dbeta")[: len(results)]
    for name, found, want, size in zip(names, results, wanted, terms, strict=False):
        vector = getattr(case, name[1:], None) if name in ("dgamma", "dbeta") else case.x
        if vector is None:
            assert found is None, f"{name} without {name[1:]}"
            continue
        assert found is not None, f"no {name}"
        assert found.dtype.name == vector.dtype.name, f"{name} has dtype {found.dtype}"
        native = np.asarray(found, found.dtype.newbyteorder("="))
        limit = max(along, across) if vector is not case.x else along
        assert_summed(native, want, size, vector.dtype.name, limit, name)


def check(engine: Any, case: Case, factor: float = 1.0) -> None:
    """A pass each way, held to the oracle; what was given is left as it was."""
    forward, backward = (
        engine.kernel(f"{case.operation}_{way}") for way in ("forward", "backward")
    )
    arguments, dy = given(engine, case), engine.asarray(case.dy)
    y, saved = forward(**arguments)
    before = engine.to_numpy(y).copy()
    back = backward(dy, saved)
    results = [None if a is None else engine.to_numpy(a) for a in (y, *back)]
    assert_right(case, results, engine.factor * factor)
    assert np.array_equal(before, results[0], equal_nan=True), "backward wrote to y"
    for name, after in (*arguments.items(), ("dy", dy)):
        if name in (*NAMES, "dy") and after is not None:
            kept = np.array_equal(engine.to_numpy(after), getattr(case, name), equal_nan=True)
            assert kept, f"{name} was written"


def assert_same(found: list[Any], wanted: list[Any]) -> None:
    """The same bits."""
    for name, one, other in zip(("y", "dx", "dgamma", "dbeta"), found, wanted, strict=False):
        assert (one is None) == (other is None), name
        if one is not None:
            np.testing.assert_array_equal(one, other, err_msg=name)
