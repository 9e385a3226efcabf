"""Rows of SciPy's sparse matrices: networks make of them what they make of the array."""

from __future__ import annotations

import subprocess
import sys
from copy import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onepass.nets import (
    SGD,
    BatchNorm,
    Dense,
    Ensemble,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    accuracy,
    capture,
    gradient_check,
    outputs,
    predict,
    predict_proba,
)
from onepass.nets.network.prediction import evaluate
from onepass.nets.sparse_rows import SparseRows, is_sparse, sparse_rows
from programs import TESTS
from tolerances import PRODUCT_LIMIT, ROWS_LIMIT, assert_close

sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")

FORMATS = ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"]
KINDS = ["float32", "float64", "int8", "uint16", "int64", "bool"]


def numbers(n=40, width=30, dtype="float64", seed=0):
    """A dense array of which one in ten is not 0; some rows and columns are 0."""
    rng = np.random.default_rng(seed)
    found = np.where(rng.random((n, width)) < 0.1, rng.integers(1, 9, (n, width)), 0)
    found[n // 2], found[:, width // 3] = 0, 0
    return found.astype(dtype)


def network(width=30, dtype="float32", device="cpu", first=()):
    layers = *first, Dense(width, 16, activation="relu"), BatchNorm(16), Dense(16, 3)
    return Sequential(*layers, seed=1, dtype=dtype, device=device)


@st.composite
def matrices(draw):
    """A CSR matrix that is unsorted, with places twice, stored zeros, empty rows, values unused."""
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 40))
    counts = draw(st.lists(st.integers(0, 9), min_size=rows, max_size=rows))
    starts = np.concatenate([[0], np.cumsum(counts)])
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    data = rng.integers(-3, 4, starts[-1] + draw(st.integers(0, 3)))  # a few more than it has
    dtype, index = draw(st.sampled_from(KINDS)), draw(st.sampled_from(["int32", "int64"]))
    places = rng.integers(0, columns, len(data)).astype(index)
    made = draw(st.sampled_from([sparse.csr_array, sparse.csr_matrix]))(
        (rows, columns), dtype=dtype
    )
    made.indptr, made.indices = starts.astype(index), places
    made.data = (abs(data) if dtype == "uint16" else data).astype(dtype)
    return made


def dense(matrix):
    """Place by place, with Python's loops."""
    found = np.zeros(matrix.shape)
    for row in range(matrix.shape[0]):
        for k in range(matrix.indptr[row], matrix.indptr[row + 1]):
            found[row, matrix.indices[k]] += float(matrix.data[k])
    return found


@settings(max_examples=150, deadline=None)
@given(matrix=matrices(), dtype=st.sampled_from(["float32", "float64"]), width=st.integers(1, 5))
def test_a_dense_layer_multiplies_them(matrix, dtype, width):
    kept = [part.copy() for part in (matrix.data, matrix.indices, matrix.indptr)]
    net = Sequential(Dense(matrix.shape[1], width, init="normal"), dtype=dtype, device="cpu")
    x, rng = dense(matrix), np.random.default_rng(0)
    weight = net.parameters()["0.weight"].astype("float64")
    y = net.forward(matrix, train=True)
    assert type(net.layers[0].saved[0]) is SparseRows
    # duplicates are added up in the sum: |x| counts each of them, where abs(matrix) and
    # matrix.astype would add them up first
    sizes = matrix.copy()
    sizes.data = abs(matrix.data.astype("float64"))
    sizes = dense(sizes)
    assert_close(y, x @ weight, dtype, scale=sizes @ abs(weight) + 1e-30, limit=PRODUCT_LIMIT)
    dz = rng.standard_normal(y.shape).astype(dtype)
    net.parameters().flat_grads[...] = np.nan
    dx = net.backward(dz)
    scale = sizes.T @ abs(dz.astype("float64")) + 1e-30
    found = net.parameters().grads["0.weight"]
    assert_close(found, x.T @ dz.astype("float64"), dtype, scale=scale, limit=PRODUCT_LIMIT)
    assert_close(dx, dz.astype("float64") @ weight.T, dtype, scale=9.0, limit=PRODUCT_LIMIT)
    for part, before in zip((matrix.data, matrix.indices, matrix.indptr), kept, strict=True):
        np.testing.assert_array_equal(part, before)


@settings(max_examples=60, deadline=None)
@given(matrix=matrices(), data=st.data())
def test_rows_that_are_taken_are_the_arrays(matrix, data):
    x, rows = dense(matrix), sparse_rows(matrix, "x")
    numbers = np.array(data.draw(st.lists(st.integers(0, len(x) - 1), max_size=20)), int)
    start, stop = (data.draw(st.integers(0, len(x) + 2)) for _ in range(2))
    taken, part = rows.take(numbers, axis=0), rows[start:stop]
    kinds = ("float32", "float64")
    for found, expected in ((taken, x[numbers]), (part, x[start:stop]), (rows, x)):
        assert found.shape == expected.shape
        assert len(found) == len(expected)
        for dtype in kinds:
            np.testing.assert_array_equal(found.astype(dtype).dense(), expected.astype(dtype))


@pytest.mark.parametrize("first", [[], [ReLU()]])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_places_that_are_there_twice_count_in_the_networks_dtype(dtype, first):
    """Two bytes of 100 are 200, which a byte does not hold, and True is 1 each time."""
    net = Sequential(*map(copy, first), Dense(4, 4, init="zeros"), dtype=dtype, device="cpu")
    net.parameters()["1.weight" if first else "0.weight"][...] = np.eye(4)
    for value, kind in ((100, "int8"), (1, "bool")):
        twice = sparse.csr_array(np.eye(4, dtype=kind))
        twice.data, twice.indices = np.full(8, value, kind), np.repeat(np.arange(4), 2).astype("i4")
        twice.indptr = np.arange(0, 9, 2).astype("i4")
        np.testing.assert_array_equal(outputs(net, twice), 2 * value * np.eye(4))


@pytest.mark.parametrize("columns", [1, 700, 20_000])
def test_a_gradient_is_made_in_parts_of_a_cache(columns):
    """20,000 x 100 of float32 are 8 MB, made by the megabyte; each part is overwritten."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, columns, (50, 20))
    x = sparse.csr_array(
        (rng.standard_normal(1000).astype("f4"), places.ravel(), np.arange(0, 1001, 20)),
        shape=(50, columns),
    )
    dz, out = rng.standard_normal((50, 100)).astype("f4"), np.full((columns, 100), np.nan, "f4")
    SparseRows(x).gradient(dz, out=out)
    wide = x.astype("f8").T @ dz.astype("f8")
    assert_close(out, wide, "float32", scale=abs(x.T) @ abs(dz) + 1e-30, limit=PRODUCT_LIMIT)


# Predictions


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", KINDS)
def test_every_format_and_dtype_predicts_what_the_array_does(form, dtype):
    x = numbers(dtype=dtype)
    net, y = network(), np.arange(40) % 3
    for kind in (sparse.coo_array, sparse.coo_matrix):
        given = kind(x).asformat(form)
        before = given.toarray()
        found = outputs(net, given, batch_size=7)
        assert_close(found, outputs(net, x), "float32", scale=1, limit=ROWS_LIMIT)
        np.testing.assert_array_equal(predict(net, given), found.argmax(axis=1))
        np.testing.assert_allclose(predict_proba(net, given), predict_proba(net, x), rtol=1e-5)
        assert accuracy(net, given, y) == accuracy(net, x, y)
        ours = evaluate(net, given, y, SoftmaxCrossEntropy())
        assert ours == pytest.approx(evaluate(net, x.astype("f4"), y, SoftmaxCrossEntropy()))
        np.testing.assert_array_equal(given.toarray(), before)
        assert Ensemble([net, network()]).predict(given).tolist() == predict(net, x).tolist()


@pytest.mark.parametrize("first", ["Dense", "BatchNorm", "ReLU", "of one's own"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_other_first_layers_and_devices_get_the_batch_as_an_array(reference, dtype, first):
    class Doubled(Dense):
        def forward(self, x, train=False):
            seen.append(type(x))
            return super().forward(x + x, train)

    seen = []
    made = {"BatchNorm": [BatchNorm(30)], "ReLU": [ReLU()], "of one's own": [Doubled(30, 30)]}
    net = network(dtype=dtype, device=reference.device, first=made.get(first, []))
    x = numbers()
    for batch_size in (1024, 9):
        found = outputs(net, sparse.csr_array(x), batch_size)
        assert_close(found, outputs(net, x, batch_size), dtype, scale=10, limit=ROWS_LIMIT)
    assert SparseRows not in seen


def test_no_rows_and_no_values():
    net = network()
    assert outputs(net, sparse.csr_array((0, 30))).shape == (0, 3)
    assert predict(net, sparse.csr_matrix((0, 30))).shape == (0,)
    empty = sparse.csr_array((5, 30), dtype="float32")
    np.testing.assert_array_equal(outputs(net, empty), outputs(net, np.zeros((5, 30))))


def test_only_a_part_is_ever_dense(monkeypatch):
    sizes = []
    dense = SparseRows.dense
    monkeypatch.setattr(SparseRows, "dense", lambda rows: sizes.append(len(rows)) or dense(rows))
    net = network(first=[BatchNorm(30)])
    outputs(net, sparse.csr_array(numbers(50)), batch_size=20)
    assert sizes == [20, 20, 10]


# Mistakes


def damaged(indptr=None, indices=None):
    made = sparse.csr_array(numbers(4))
    made.indptr = made.indptr if indptr is None else np.array(indptr, "i4")
    made.indices = made.indices if indices is None else indices(made.indices)
    return made


def halved(matrix):
    matrix.data = matrix.data.astype("float16")
    return matrix


ROWS = sparse.csr_array(numbers(4))
REFUSED = {
    "complex": (ROWS * 1j, TypeError, "complex128; expected real numbers, such as values.real"),
    "float16": (halved(ROWS.copy()), TypeError, "csr_array of float16, which SciPy does not work"),
    "width": (sparse.csr_array((4, 7)), ValueError, r"shape \(4, 7\); expected \(n, 30\)"),
    "one dimension": (sparse.coo_array(np.ones(30)), ValueError, r"has shape \(30,\); expected"),
    "columns beyond": (damaged(indices=lambda k: k + 30), ValueError, r"in column \d+; .* 0\.\.29"),
    "columns before": (damaged(indices=lambda k: k - 99), ValueError, "stores a value in column -"),
    "rows beyond": (damaged([0, 2, 4, 6, 10**6]), ValueError, "an indptr that does not fit its 4"),
    "rows back": (damaged([0, 9, 1, 2, 3]), ValueError, "an indptr that does not fit its 4 rows"),
    "rows too few": (damaged([0, 1]), ValueError, "an indptr that does not fit its 4 rows"),
    "late start": (damaged([1, 1, 2, 3, 4]), ValueError, "an indptr that does not fit its 4 rows"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("function", [outputs, predict, predict_proba])
def test_predictions_refuse_by_name(function, case):
    given, error, message = REFUSED[case]
    with pytest.raises(error, match=f"^x .*{message}"):
        function(network(), given)


def test_what_takes_arrays_only_says_so():
    net, y = network(dtype="float64"), np.arange(4) % 3
    message = (
        r"^x of .* is a scipy csr_array; expected an array, which its method toarray\(\) makes"
    )
    with pytest.raises(TypeError, match=message):
        gradient_check(net, ROWS, y, SoftmaxCrossEntropy())
    step = capture(net, SoftmaxCrossEntropy(), SGD(net.parameters()), batch_size=4)
    with pytest.raises(TypeError, match=message):
        step(ROWS, y)
    with pytest.raises(ValueError, match="y has shape"):
        accuracy(net, ROWS, sparse.csr_array(np.ones((4, 1))))


def test_cupys_are_told_to_come_to_the_cpu():
    kind = type("csr_matrix", (), {"__module__": "cupyx.scipy.sparse._csr"})
    with pytest.raises(TypeError, match=r"x is a cupyx csr_matrix; expected .*x\.get\(\) makes"):
        predict(network(), kind())


def test_what_is_sparse_is_told_without_scipy():
    assert is_sparse(ROWS)
    assert not any(is_sparse(each) for each in (np.ones(3), [1.0], None, "csr", SparseRows(ROWS)))
    program = (
        "import sys, numpy as np\n"
        "from onepass.nets import Dense, Sequential, predict\n"
        "predict(Sequential(Dense(2, 3), device='cpu'), [[1.0, 2.0]])\n"
        "assert 'scipy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=TESTS)
