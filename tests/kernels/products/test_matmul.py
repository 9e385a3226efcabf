"""Matrix products with a bias, an activation or a bias's gradient: values, layouts, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import MixedBackendsError
from onepass.kernels.products import columns, matmul, why_apart
from oracles import products as oracle
from tolerances import DTYPES, PRODUCT_LIMIT, assert_close

SHAPES = {  # rows, inner, columns
    "1": (1, 1, 1),
    "a row": (1, 7, 3),
    "a column": (7, 3, 1),
    "an inner 1": (3, 1, 7),
    "3x7": (3, 7, 5),
    "odd": (33, 65, 17),
    "even": (16, 32, 64),
    "a long sum": (8, 1023, 10),
}
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_shape = pytest.mark.parametrize("name", SHAPES)


def draw(rng, shape, dtype, order="C"):
    """Contiguous; the transposed view of what is; or a view that has gaps between its rows, its
    columns or all elements."""
    if order == "C":
        return rng.standard_normal(shape).astype(dtype)
    wide = tuple(2 * length + 1 for length in shape)
    if order == "T":
        return rng.standard_normal(shape[::-1]).astype(dtype).T
    whole = rng.standard_normal(wide).astype(dtype)
    if order == "rows":
        return whole[: shape[0], : shape[1]]
    if order == "every other row":
        return whole[1::2, : shape[1]]
    if order == "columns":
        return rng.standard_normal(wide[::-1]).astype(dtype).T[: shape[0], : shape[1]]
    assert order == "all"
    return whole[1::2, 1::2]


def on(engine, array):
    """The same values in a view of the same strides."""
    base = array if array.base is None else array.base
    there = engine.asarray(base)
    if base is array:
        return there
    start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    xp = np if engine.device == "cpu" else __import__("cupy")
    flat = there.ravel()[start // array.itemsize :]
    return xp.lib.stride_tricks.as_strided(flat, array.shape, array.strides)


def check(engine, y, a, b, bias=None, kind="linear", slope=0.01, launches=1):
    """y is rounded once in each launch: half an eps, and some of float32 for float16."""
    dtype = a.dtype.name
    scale, limit = oracle.magnitude(a, b, bias), PRODUCT_LIMIT
    if dtype == "float16":
        scale, limit = (scale / 16, 0.55) if launches == 1 else (scale, 1.0)
    expected = oracle.product(a, b, bias, kind, slope)
    assert_close(engine.to_numpy(y), expected, dtype, scale=scale, limit=limit, what="product")


@each_dtype
@each_shape
@pytest.mark.parametrize("orders", ["CC", "CT", "TC", "TT"])
def test_a_product_of_any_order(reference, name, orders, dtype):
    rows, inner, width = SHAPES[name]
    rng = np.random.default_rng(0)
    a, b = draw(rng, (rows, inner), dtype, orders[0]), draw(rng, (inner, width), dtype, orders[1])
    there = on(reference, a), on(reference, b)
    y = matmul(*there)
    assert y.flags.c_contiguous
    check(reference, y, a, b)
    for kept, array in zip((a, b), there, strict=True):
        np.testing.assert_array_equal(reference.to_numpy(array), kept)


@each_dtype
@pytest.mark.parametrize("order", ["rows", "every other row", "columns", "all"])
def test_a_product_of_views_with_gaps(reference, order, dtype):
    rng = np.random.default_rng(1)
    a, b = draw(rng, (5, 8), dtype, order), draw(rng, (8, 6), dtype, order)
    c, v = draw(rng, (8, 6), dtype), draw(rng, 6, dtype)
    there = [on(reference, each) for each in (a, b, c, v)]
    check(reference, matmul(there[0], there[2]), a, c)
    check(reference, matmul(there[0], there[1], bias=there[3]), a, b, v, launches=2)


@each_dtype
def test_a_product_of_what_is_repeated(reference, dtype):
    rng = np.random.default_rng(1)
    a, row = draw(rng, (5, 8), dtype), draw(rng, 6, dtype)
    there = reference.asarray(row)
    xp = np if reference.device == "cpu" else __import__("cupy")
    repeated = xp.broadcast_to(there, (8, 6))
    check(reference, matmul(reference.asarray(a), repeated), a, np.broadcast_to(row, (8, 6)))


@each_dtype
@each_shape
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("kind", ["linear", "relu", "leaky_relu", "tanh"])
def test_what_comes_behind(reference, name, kind, biased, dtype):
    rows, inner, width = SHAPES[name]
    rng = np.random.default_rng(2)
    a, b, bias = (draw(rng, size, dtype) for size in ((rows, inner), (inner, width), width))
    there = [reference.asarray(each) for each in (a, b, bias)]
    given = {"bias": there[2] if biased else None, "activation": kind, "slope": 0.2}
    y = matmul(*there[:2], **given)
    check(reference, y, a, b, bias if biased else None, kind, 0.2, launches=2)


@each_dtype
@each_shape
@pytest.mark.parametrize("order", ["C", "T"])
def test_the_gradients_of_a_weight_and_a_bias(reference, name, order, dtype):
    """dW = x.T dz and db, in place, among others."""
    rows, inner, width = SHAPES[name]
    rng = np.random.default_rng(3)
    x, dz = draw(rng, (inner, rows), dtype), draw(rng, (inner, width), dtype, order)
    grads = reference.asarray(np.full(rows * width + width + 2, np.nan, dtype))
    weight, bias = grads[1 : rows * width + 1].reshape(rows, width), grads[rows * width + 1 : -1]
    found = matmul(reference.asarray(x).T, on(reference, dz), weight, bias_grad=bias)
    assert found is weight
    check(reference, weight, x.T, dz)
    scale = np.abs(dz.astype("float64")).sum(axis=0)
    expected = oracle.column_sums(dz)
    db = reference.to_numpy(bias)
    assert_close(db, expected, dtype, scale=scale, limit=PRODUCT_LIMIT, what="db")
    assert np.isnan(reference.to_numpy(grads)[[0, -1]]).all()


@each_dtype
@pytest.mark.parametrize("order", ["C", "T", "rows", "all"])
@pytest.mark.parametrize("kind", ["linear", "relu"])
def test_a_result_of_any_layout(reference, order, kind, dtype):
    rng = np.random.default_rng(4)
    a, b, bias = (draw(rng, size, dtype) for size in ((5, 8), (8, 6), 6))
    out = on(reference, draw(rng, (5, 6), dtype, order))
    there = [reference.asarray(each) for each in (a, b, bias)]
    found = matmul(*there[:2], out, bias=there[2], activation=kind)
    assert found is out
    check(reference, out, a, b, bias, kind, launches=2)


@each_dtype
def test_nan_and_inf_stay(reference, dtype):
    a, b = np.ones((4, 3), dtype), np.ones((3, 2), dtype)
    a[0, 0], a[1, 1], a[2, 2] = np.nan, np.inf, -np.inf
    bias = reference.asarray(np.ones(2, dtype))
    for given in ({}, {"bias": bias}):
        with np.errstate(invalid="ignore"):  # NumPy tells of inf - inf
            y = matmul(reference.asarray(a), reference.asarray(b), activation="relu", **given)
        expected = np.array([[np.nan] * 2, [np.inf] * 2, [0, 0], [3 + len(given)] * 2])
        np.testing.assert_array_equal(reference.to_numpy(y), expected.astype(dtype))


@each_dtype
@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_empty_matrices(reference, shape, dtype):
    rows, inner, width = shape
    a, b = (reference.asarray(np.ones(s, dtype)) for s in ((rows, inner), (inner, width)))
    bias, sums = (reference.asarray(np.full(width, 3, dtype)) for _ in range(2))
    y = reference.to_numpy(matmul(a, b, bias=bias, activation="relu"))
    np.testing.assert_array_equal(y, np.full((rows, width), inner + 3))
    y = reference.to_numpy(matmul(a, b, bias_grad=sums))
    np.testing.assert_array_equal(y, np.full((rows, width), inner))
    np.testing.assert_array_equal(reference.to_numpy(sums), np.full(width, inner))


def test_all_at_once(reference):
    rng = np.random.default_rng(5)
    a, b, bias = (draw(rng, size, "float64") for size in ((5, 8), (8, 6), 6))
    there = [reference.asarray(each) for each in (a, b, bias)]
    sums = reference.asarray(np.zeros(6))
    y = matmul(*there[:2], bias=there[2], bias_grad=sums, activation="relu")
    check(reference, y, a, b, bias, "relu")
    np.testing.assert_allclose(reference.to_numpy(sums), b.sum(axis=0), rtol=1e-12)


def test_why_numpys_arrays_go_apart():
    assert why_apart(np.ones((2, 2)), np.ones((2, 2))) == "the arrays are not CuPy's"


# --- refusals -------------------------------------------------------------------------------------
def arrays(reference, **changed):
    given = {
        "a": np.ones((2, 3)), "b": np.ones((3, 4)), "out": np.ones((2, 4)),
        "bias": np.ones(4), "bias_grad": np.ones(4), **changed,
    }  # fmt: skip
    return {name: reference.asarray(each) for name, each in given.items()}


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"a": np.ones(3)}, ValueError, ("a has shape (3,)", "two axes")),
        ({"b": np.ones((3, 4, 1))}, ValueError, ("b has shape (3, 4, 1)", "two axes")),
        ({"a": np.ones((2, 3), "f")}, TypeError, ("b has dtype float64 but a has float32",)),
        ({"b": np.ones((3, 4), int)}, TypeError, ("b has dtype int64 but a has float64",)),
        ({"a": np.ones((2, 3), int)}, TypeError, ("a has dtype int64", "float16", "float64")),
        ({"b": np.ones((2, 4))}, ValueError, ("(2, 3)", "(2, 4)", "as many rows of b")),
        ({"out": np.ones((4, 2))}, ValueError, ("out has shape (4, 2)", "(2, 4)")),
        ({"out": np.ones((2, 4), "f")}, TypeError, ("out has dtype float32", "float64")),
        ({"bias": np.ones(2)}, ValueError, ("bias has shape (2,)", "(4,)")),
        ({"bias": np.ones(4, "f")}, TypeError, ("bias has dtype float32", "float64")),
        ({"bias_grad": np.ones((1, 4))}, ValueError, ("bias_grad has shape (1, 4)",)),
    ],
)
def test_arguments_that_do_not_fit(reference, changed, error, words):
    given = arrays(reference, **changed)
    with reference.refuses(error, given, *words):
        matmul(**given)
    del given["out"], given["bias_grad"]
    if changed.keys() & given.keys():
        with reference.refuses(error, given, *words[-1:]):
            matmul(**given)


@pytest.mark.parametrize("kinds", [("f", "d"), ("d", "e"), ("i8", "i8"), ("?", "?"), ("F", "F")])
def test_matrices_of_two_dtypes_or_of_others_are_refused_with_nothing_beside_them(reference, kinds):
    a, b = (reference.asarray(np.ones((3, 3), kind)) for kind in kinds)
    v = reference.asarray(np.ones(3, kinds[1]))
    for given in ({}, {"bias": v}, {"activation": "tanh"}, {"bias_grad": v}):
        with reference.refuses(TypeError, {"a": a, "b": b, **given}, "has dtype", "expected"):
            matmul(a, b, **given)


@pytest.mark.parametrize("written", ["out", "bias_grad"])
@pytest.mark.parametrize("read", ["a", "b"])
def test_what_is_written_must_not_be_read(reference, written, read):
    given = {name: reference.asarray(np.ones((4, 4))) for name in ("a", "b")}
    given[written] = given[read] if written == "out" else given[read][1]
    with reference.refuses(ValueError, given, written, read, "overlap"):
        matmul(**given)


@pytest.mark.parametrize("name", ["bias", "bias_grad"])
def test_a_vector_must_not_lie_in_the_result(reference, name):
    given = arrays(reference)
    given = {each: given[each] for each in ("a", "b", "out")}
    given[name] = given["out"][0]
    with reference.refuses(ValueError, given, "out", name, "overlap"):
        matmul(**given)


@pytest.mark.parametrize("name", ["out", "bias_grad"])
def test_a_result_of_repeated_elements(reference, name):
    given = arrays(reference)
    xp = np if reference.device == "cpu" else __import__("cupy")
    one = given[name].ravel()[:1]
    given[name] = xp.lib.stride_tricks.as_strided(one, given[name].shape, (0,) * given[name].ndim)
    with reference.refuses(ValueError, given, name, "overlaps itself"):
        matmul(**given)


@each_dtype
def test_vectors_with_gaps(reference, dtype):
    rng = np.random.default_rng(6)
    a, b, bias = draw(rng, (5, 8), dtype), draw(rng, (8, 6), dtype), draw(rng, 12, dtype)
    there = [reference.asarray(each) for each in (a, b, bias)]
    check(reference, matmul(*there[:2], bias=there[2][::2]), a, b, bias[::2], launches=2)
    matmul(*there[:2], bias_grad=there[2][1::2])
    expected = bias.copy()
    expected[1::2] = oracle.column_sums(b)
    scale = np.abs(bias.astype("float64")) + np.repeat(np.abs(b.astype("float64")).sum(axis=0), 2)
    found = reference.to_numpy(there[2])
    assert_close(found, expected, dtype, scale=scale, limit=PRODUCT_LIMIT)


def test_an_unknown_activation(reference):
    given = arrays(reference)
    with reference.refuses(ValueError, given, "activation is 'relo'", "'relu'", "'tanh'"):
        matmul(**given, activation="relo")


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True, ids="-".join)
@pytest.mark.parametrize("name", ["a", "b", "bias"])
def test_arrays_of_another_device(reference, name):
    given = arrays(reference)
    given[name] = reference.to_numpy(given[name])
    with reference.refuses(MixedBackendsError, given, name, "cpu", "cuda:0"):
        matmul(**given)


# --- layouts --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("shape", "strides", "stored"),
    [
        ((3, 5), (40, 8), (5, 3, 5, False)),
        ((3, 5), (56, 8), (5, 3, 7, False)),
        ((3, 5), (8, 24), (3, 5, 3, True)),
        ((3, 5), (8, 32), (3, 5, 4, True)),
        ((1, 5), (8, 8), (5, 1, 5, False)),
        ((1, 5), (0, 8), (5, 1, 5, False)),
        ((1, 5), (8, 16), (1, 5, 2, True)),
        ((3, 1), (8, 8), (1, 3, 1, False)),
        ((3, 1), (16, 0), (1, 3, 2, False)),
        ((1, 1), (0, 0), (1, 1, 1, False)),
        ((3, 5), (0, 8), None),  # one row, repeated
        ((3, 5), (80, 16), None),
        ((3, 5), (-40, 8), None),
        ((3, 5), (41, 8), None),
    ],
)
def test_how_a_transpose_is_stored(shape, strides, stored):
    found = columns.transposed(shape, strides, 8)
    assert found == (None if stored is None else columns.Stored(*stored))
