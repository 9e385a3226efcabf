"""An operation over rows that is written here alone, by every engine that has them.

y = a (x - mean(x)) of each row, for a vector a; beside it sums of dy (x - mean(x)) over columns.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np
import pytest
from onepass import kernels
from onepass.kernels.rows.contract import Arrays
from onepass.kernels.rows.engines import get
from onepass.kernels.rows.skeleton import Guess, Rows, Shape, Step, Walk
from tolerances import assert_close

SHAPES = {
    "one row": Shape(1, 1, 7, 1),
    "one value": Shape(5, 1, 1, 1),
    "odd": Shape(37, 1, 301, 1),
    "long": Shape(3, 1, 5001, 1),
    "many": Shape(4099, 1, 96, 1),
    "groups": Shape(12, 4, 3, 5),
    "planes": Shape(12, 4, 3, 100),
    "many planes": Shape(512, 4, 3, 400),
}


def guessed(x_lead):
    center = x_lead
    return (center,)


def difference(x, center):
    d = x - center
    square = d * d
    return d, square


def nearer(total, square, center, share, four):
    rest = total * share
    mean = center + rest
    far = rest * rest - four * (square * share - rest * rest)
    return mean, far


def rest_of(total, share):
    rest = total * share
    return (rest,)


def centered(x, center, rest):
    d = (x - center) - rest
    return (d,)


def product(d, a):
    y = d * a
    return (y,)


def product_and_term(d, a, dy):
    y = d * a
    term = dy * d
    return y, term


def summed(first, second):
    x = first + second
    return (x,)


@cache
def centering(added: bool, stored: bool) -> Rows:
    read = ("first", "second") if stored else ("x",)
    return Rows(
        "centering",
        (*read, "dy") if added else read,
        product_and_term if added else product,
        store=Step(summed, ("x",)) if stored else None,
        vectors={"a": 1.0},
        kept=("center", "rest"),
        constants={"four": 4.0},
        steps=(Step(centered, ("d",)),),
        walks=(
            Walk(
                difference,
                ("total", "square"),
                rest_of,
                ("rest",),
                Guess("center", guessed, nearer),
            ),
        ),
        added=("term",) if added else (),
    )


@pytest.fixture(params=["array", "numba"])
def run(request: pytest.FixtureRequest) -> Any:
    """The operation on NumPy arrays: y, what is stored, what is kept, and the sums."""
    engine = get(request.param)

    def call(shape: Shape, elements: list[Any], a: Any, added: bool, stored: bool, out: Any = None):
        x = elements[0]
        computed = "float64" if x.dtype == "float64" else "float32"
        y = np.empty_like(x) if out is None else out
        kept = np.empty((2, shape.rows), computed)
        sums = np.empty((1, shape.period) if added else (0, 0), computed)
        between = [np.empty_like(x)] if stored else []
        together = (*elements, *between, y)
        nothing = np.empty((0, 0), computed)
        engine.run(centering(added, stored), shape, Arrays(together, (a,), nothing, kept, sums), ())
        return y, between, kept, sums

    return call


def drawn(shape: Shape, dtype: str, offset: float = 0.0) -> Any:
    draw = np.random.default_rng(prod(shape))
    x = draw.standard_normal((shape.rows, shape.width)) + offset
    return x.astype(dtype), draw.standard_normal(x.shape).astype(dtype), draw


def by_column(values: Any, shape: Shape) -> Any:
    """A vector's value for each element of each row."""
    rows = np.repeat(values.reshape(shape.groups, shape.columns), shape.inner, axis=1)
    return np.tile(rows, (shape.rows // shape.groups, 1))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", SHAPES)
def test_values(run: Any, name: str, dtype: str) -> None:
    shape = SHAPES[name]
    x, dy, draw = drawn(shape, dtype)
    a = draw.standard_normal(shape.period).astype("float64" if dtype == "float64" else "float32")
    y, _, kept, sums = run(shape, [x, dy], a, True, False)
    wide = x.astype(float)
    d = wide - wide.mean(axis=1, keepdims=True)
    size = np.abs(d).max() + np.abs(wide).max()
    assert_close(y, d * by_column(a, shape), dtype, scale=size * np.abs(a).max(), limit=8.0)
    assert_close(kept.sum(axis=0), wide.mean(axis=1), str(kept.dtype), scale=size, limit=8.0)
    terms = (dy * d).reshape(-1, shape.groups, shape.columns, shape.inner)
    scale = np.abs(terms).sum(axis=(0, 3)).max()
    expected = terms.sum(axis=(0, 3)).reshape(1, -1)
    assert_close(sums, expected, str(sums.dtype), scale=scale, limit=8.0)


@pytest.mark.parametrize("name", SHAPES)
def test_a_result_in_place_of_what_is_read(run: Any, name: str) -> None:
    shape = SHAPES[name]
    x, _, _ = drawn(shape, "float32")
    y, *_ = run(shape, [x], None, False, False)
    run(shape, [x], None, False, False, out=x)
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", ["odd", "groups", "planes"])
def test_what_is_stored_is_what_is_used(run: Any, name: str, dtype: str) -> None:
    shape = SHAPES[name]
    x, other, _ = drawn(shape, dtype)
    y, (stored,), *_ = run(shape, [x, other], None, False, True)
    np.testing.assert_array_equal(stored, (x.astype("f4") + other.astype("f4")).astype(dtype))
    alone, *_ = run(shape, [stored], None, False, False)
    np.testing.assert_array_equal(alone, y)


@pytest.mark.parametrize("place", [0, 5, 300])
def test_an_outlier_spoils_no_guess(run: Any, place: int) -> None:
    shape = SHAPES["odd"]
    x, _, _ = drawn(shape, "float32")
    x[::2, place] = 1e6
    y, *_ = run(shape, [x], None, False, False)
    wide = x.astype(float)
    expected = wide - wide.mean(axis=1, keepdims=True)
    assert_close(y, expected, "float32", scale=np.abs(wide).mean(axis=1, keepdims=True), limit=8.0)


def test_a_mean_beside_which_the_deviation_is_small(run: Any) -> None:
    shape = SHAPES["many"]
    x, _, _ = drawn(shape, "float32", offset=1e4)
    y, *_ = run(shape, [x], None, False, False)
    wide = x.astype(float)
    assert_close(y, wide - wide.mean(axis=1, keepdims=True), "float32", scale=4.0, limit=8.0)


@pytest.mark.parametrize("name", ["many", "long", "many planes"])
def test_threads_change_no_bit(run: Any, name: str, set_threads: Any) -> None:
    shape = SHAPES[name]
    x, dy, _ = drawn(shape, "float32")
    results = []
    for threads in (1, 2, 5):
        set_threads(threads)
        assert kernels.get_num_threads() == threads
        y, _, kept, sums = run(shape, [x, dy], None, True, False)
        results.append(b"".join(each.tobytes() for each in (y, kept, sums)))
    assert len(set(results)) == 1
