"""Matrix products in a program: any order of the operands, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass.kernels.crew.crew import get_crew
from onepass.kernels.program import blas, why_no_programs
from onepass.kernels.program.numba_product import JOB, cut, matmul, parts_of
from onepass.kernels.program.program import Program
from tolerances import PRODUCT_LIMIT, assert_close, wide

SHAPES = {  # of op(a) and op(b): rows, inner, columns
    "1": (1, 1, 1),
    "a row": (1, 7, 3),
    "a column": (7, 3, 1),
    "an inner 1": (3, 1, 7),
    "3x7": (3, 7, 5),
    "1023": (33, 1023, 65),
    "many columns": (40, 512, 1023),
    "many rows": (1023, 512, 40),
    "a long sum": (16, 1023, 48),
    "a long sum of a large result": (160, 700, 170),
    "a forward": (128, 784, 256),
    "a forward of few rows": (16, 784, 256),
    "a gradient": (784, 128, 256),
}
CUT = [name for name, (rows, inner, columns) in SHAPES.items() if cut(columns, rows, inner)[2] > 1]
each_order = pytest.mark.parametrize("orders", ["CC", "CT", "TC", "TT"])
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def operand(rng, shape, dtype, order):
    """In C order, or as the transposed view of an array that is."""
    if order == "C":
        return rng.standard_normal(shape).astype(dtype)
    return rng.standard_normal(shape[::-1]).astype(dtype).T


def operands(name, dtype, orders="CC"):
    rows, inner, columns = SHAPES[name]
    rng = np.random.default_rng(rows + inner)
    shapes = (rows, inner), (inner, columns)
    return [operand(rng, *each) for each in zip(shapes, (dtype, dtype), orders, strict=True)]


def product(a, b, found=None):
    """a b by a program, in an array whose neighbours in memory must stay as they are."""
    size = a.shape[0] * b.shape[1]
    room = np.full(size + 16, np.nan, a.dtype)
    out = room[8 : size + 8].reshape(a.shape[0], b.shape[1])
    program = Program()
    parts = np.empty((parts_of(program, a, b), *out.shape), out.dtype)
    job = np.zeros(1, JOB)
    assert matmul(program, found or blas.find_blas(), a, b, out, parts, job) is out
    with blas.one_thread():
        assert program.run(1) == 1
    assert np.isnan(room[:8]).all()
    assert np.isnan(room[-8:]).all()
    return out


def check(out, a, b):
    x, y = wide(a), wide(b)
    scale = np.abs(x) @ np.abs(y)
    assert_close(out, x @ y, a.dtype.name, scale=scale, limit=PRODUCT_LIMIT, what="product")


@each_dtype
@each_order
@pytest.mark.parametrize("name", SHAPES)
def test_equals_numpy_in_float64(name, orders, dtype):
    a, b = operands(name, dtype, orders)
    before = a.copy(), b.copy()
    check(product(a, b), a, b)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


def test_products_are_cut_along_each_side():
    assert {cut(n, m, k)[0] for m, k, n in (SHAPES[name] for name in CUT)} == {0, 1, 2}


@pytest.mark.parametrize(("dtype", "orders"), [("float32", "CC"), ("float32", "TC"),
                                               ("float32", "CT"), ("float64", "TT")])  # fmt: skip
@pytest.mark.parametrize("name", CUT)
def test_every_number_of_threads_gives_the_same_bits(set_threads, name, dtype, orders):
    a, b = operands(name, dtype, orders)
    set_threads(1)
    alone = product(a, b).tobytes()
    for threads in (2, 3):
        set_threads(threads)
        for _ in range(3):
            assert product(a, b).tobytes() == alone
        assert get_crew()._board[0] > 0, "nothing was shared"


@each_dtype
@pytest.mark.parametrize(
    ("find", "why"),
    [
        (blas._of_scipy, "SciPy is not installed"),
        (blas._of_numpy, "NumPy was built with a BLAS whose functions have other names"),
    ],
    ids=["of SciPy", "of NumPy"],
)
def test_either_blas_gives_the_product(find, why, dtype):
    found = find()
    if found is None:
        pytest.skip(why)
    for name in ("3x7", "a forward of few rows"):
        for orders in ("CC", "CT", "TC"):
            a, b = operands(name, dtype, orders)
            check(product(a, b, found), a, b)


def test_without_any_blas_the_reason_is_told(monkeypatch):
    assert why_no_programs(np.dtype("float32")) == ""
    monkeypatch.setattr(blas, "find_blas", lambda: None)
    assert "pip install scipy" in why_no_programs(np.dtype("float64"))


sizes = st.integers(1, 5000)


@given(m=sizes, n=sizes, k=sizes)
def test_cut_covers_every_element_once(m, n, k):
    side, piece, pieces = cut(m, n, k)
    length = (m, n, k)[side]
    starts = [number * piece for number in range(pieces)]
    taken = [min(piece, length - start) for start in starts]  # as `product` takes them
    assert min(taken) >= 1, "a piece is empty"
    assert sum(taken) == length
