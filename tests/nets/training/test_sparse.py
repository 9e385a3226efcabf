"""Training on SciPy's sparse matrices is training on the array, whose memory it never takes."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from cases.training import KINDS, WIDTHS, bits, targets_of
from onepass import get_backend
from onepass.nets import (
    L2,
    SGD,
    Adam,
    BatchNorm,
    Checkpoint,
    Dense,
    Dropout,
    EarlyStopping,
    Layer,
    LossScaler,
    Sequential,
    fit,
    load,
)
from onepass.nets.sparse_rows import SparseRows
from tolerances import CAPTURED_LIMITS

sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")

ROWS, WIDTH = 60, 40
PATH = "x is sparse, and its rows are taken a batch at a time"


def data(kind="classes", n=ROWS, seed=0):
    """Rows of which one number in ten is not 0, and what is to be said of them."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((n, WIDTH)) < 0.1, rng.standard_normal((n, WIDTH)), 0)
    if kind in ("classes", "smoothed"):
        return x, np.arange(n) % 3
    return x, targets_of(kind, x @ rng.standard_normal((WIDTH, WIDTHS[kind])))


def network(kind="classes", dtype="float64", device="cpu", first=()):
    layers = Dense(WIDTH, 8, activation="tanh"), BatchNorm(8), Dense(8, WIDTHS[kind])
    return Sequential(*first, *layers, seed=1, dtype=dtype, device=device)


def trained(kind="classes", x_of=sparse.csr_array, net=None, **options):
    """(net, history) of a run on what `x_of` makes of x, in data and validation alike."""
    net = net or network(kind)
    x, y = data(kind)
    held_x, held_y = data(kind, n=30, seed=1)
    make = options.pop("optimizer", lambda params: SGD(params, lr=0.1))
    weights = [options.pop("held_weight")] if "held_weight" in options else []
    chosen = {"epochs": 4, "batch_size": 16, "progress": False, "seed": 7, **options}
    held_out = x_of(held_x), held_y, *weights
    optimizer = make(net.parameters())
    return net, fit(
        net, (x_of(x), y), loss=KINDS[kind], optimizer=optimizer, validation=held_out, **chosen
    )


def assert_alike(one, other, dtype="float64"):
    (net, history), (twin, its) = one, other
    limit = CAPTURED_LIMITS["float64" if dtype == "float64" else "float32"]
    limit *= float(np.finfo(dtype).eps) * (1 if dtype != "float16" else 0.02)
    ours, theirs = net.state_dict(), twin.state_dict()
    for name in ours:
        np.testing.assert_allclose(
            ours[name].astype("f8"), theirs[name].astype("f8"), rtol=limit, atol=limit, err_msg=name
        )
    for name in ("loss", "val_loss", "metric", "val_metric"):
        np.testing.assert_allclose(
            getattr(history, name), getattr(its, name), rtol=limit, err_msg=name
        )


OPTIONS = {
    "plain": {},
    "Adam": {"optimizer": lambda params: Adam(params, lr=0.01, clip_norm=0.5)},
    "weights": {
        "sample_weight": np.linspace(0, 2, ROWS),
        "held_weight": np.linspace(0, 2, 30),
    },
    "penalty": {"regularizer": L2(0.1)},
    "accumulate": {"accumulate": 2},
    "a batch of all": {"batch_size": 1000},
    "early stopping": {"callbacks": lambda: [EarlyStopping(patience=1)], "epochs": 20},
    "a schedule": {"schedule": lambda epoch, step: 0.1 / step},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", OPTIONS)
def test_it_is_training_on_the_array(kind, case):
    found = []
    for x_of in (sparse.csr_array, np.asarray):
        options = dict(OPTIONS[case])
        if "callbacks" in options:
            options["callbacks"] = options["callbacks"]()
        found.append(trained(kind, x_of, **options))
    assert_alike(*found)
    assert found[0][1].path == PATH
    assert found[0][1].stopped == found[1][1].stopped


@pytest.mark.parametrize(
    "dtype", [pytest.param("float16", marks=pytest.mark.slow), "float32", "float64"]
)
@pytest.mark.parametrize("given", ["float32", "float64", "int8", "bool"])
def test_dtypes_are_the_networks_a_batch_at_a_time(dtype, given):
    def values(x):
        return np.round(2 * x).astype(given)

    def rows(x):
        return sparse.csr_matrix(values(x))

    pair = [trained(x_of=each, net=network(dtype=dtype)) for each in (rows, values)]
    assert_alike(*pair, dtype)


@pytest.mark.parametrize("form", ["csc", "coo", "bsr", "lil", "dok", "dia"])
def test_other_formats_are_converted_once(form):
    expected = trained()

    def rows(x):
        return sparse.csr_matrix(x).asformat(form)

    found = trained(x_of=rows)
    assert bits(found[0]) == bits(expected[0])


def test_coo_with_places_twice_is_their_sum():
    def halves(x):
        row, column = np.nonzero(x)
        twice = np.tile(row, 2), np.tile(column, 2)
        return sparse.coo_array((np.tile(x[row, column] / 2, 2), twice), shape=x.shape)

    assert_alike(trained(x_of=halves), trained())


def test_int64_numbers_of_columns_and_data_that_is_left_untouched():
    matrix, (x, y) = sparse.csr_array(data()[0]), data()
    wide = matrix.copy()
    wide.indices, wide.indptr = wide.indices.astype("i8"), wide.indptr.astype("i8")
    found = []
    for each in (matrix, wide):
        for part in (each.data, each.indices, each.indptr):
            part.flags.writeable = False
        net = network()
        options = {"optimizer": SGD(net.parameters()), "progress": False, "epochs": 2}
        fit(net, (each, y), loss=KINDS["classes"], **options)
        found.append(bits(net))
    assert found[0] == found[1]
    np.testing.assert_array_equal(matrix.toarray(), x)


@pytest.mark.parametrize("first", [BatchNorm, Dropout, "own"])
def test_other_first_layers_get_batches_as_arrays(first):
    class Sees(Layer):
        def forward(self, x, train=False):
            assert type(x) is np.ndarray
            return 2 * x

        def backward(self, dy, input_grad=True):
            return 2 * dy

    made = {BatchNorm: lambda: BatchNorm(WIDTH), Dropout: lambda: Dropout(0.8), "own": Sees}
    pair = [trained(x_of=x_of, net=network(first=[made[first]()])) for x_of in
            (sparse.csr_array, np.asarray)]  # fmt: skip
    assert_alike(*pair)


def test_on_each_device_as_on_the_cpu(reference):
    found = []
    for device in ("cpu", reference.device):
        net = network(device=device)
        options = {"sample_weight": np.linspace(0, 2, ROWS), "class_weight": "balanced"}
        found.append(trained(net=net, **options))
    limit = 1e-9
    np.testing.assert_allclose(found[0][1].loss, found[1][1].loss, rtol=limit)
    np.testing.assert_allclose(found[0][1].val_loss, found[1][1].val_loss, rtol=limit)
    ours, theirs = (net.state_dict() for net, _ in found)
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], rtol=limit, atol=limit)


def test_a_run_goes_on_from_a_file_bit_for_bit(tmp_path):
    (x, y), file = data(), tmp_path / "run.safetensors"
    options = {"loss": KINDS["classes"], "progress": False, "batch_size": 16}
    options["sample_weight"] = np.linspace(0, 2, ROWS)
    pair = sparse.csr_array(x), y
    whole, half = network(), network()
    fit(whole, pair, optimizer=Adam(whole.parameters()), epochs=6, **options)
    callbacks = [Checkpoint(file)]
    fit(half, pair, optimizer=Adam(half.parameters()), epochs=3, callbacks=callbacks, **options)
    saved = load(file)
    fit(saved.net, pair, optimizer=saved.optimizer, resume=saved, epochs=6, **options)
    assert bits(saved.net) == bits(whole)
    again = network()
    fit(again, pair, optimizer=Adam(again.parameters()), epochs=6, **options)
    assert bits(again) == bits(whole), "not the same from run to run"


def test_a_run_that_diverges_names_the_layer_and_leaves_the_network_to_look_at():
    net = network("numbers")
    with pytest.raises(FloatingPointError, match=r"epoch \d+: layer \d .* went wrong first"):
        trained("numbers", net=net, optimizer=lambda params: SGD(params, lr=1e200))


def test_rows_are_taken_a_batch_at_a_time(monkeypatch):
    sizes, dense, taken = [], SparseRows.dense, []
    take = SparseRows.take
    monkeypatch.setattr(SparseRows, "dense", lambda rows: sizes.append(len(rows)) or dense(rows))
    monkeypatch.setattr(
        SparseRows, "take", lambda rows, n, axis=0: taken.append(len(n)) or take(rows, n, axis)
    )
    trained(epochs=1)
    assert sizes == []
    assert taken == [16, 16, 16, 12]
    trained(epochs=1, net=network(first=[BatchNorm(WIDTH)]))
    assert sizes == [16, 16, 16, 12, 30]


# Memory


@pytest.fixture
def no_blocks_stay():
    """What is freed is free, and can be traced where it is asked for again."""
    cpu = get_backend("cpu")
    cpu.set_memory_limit(0)
    cpu.release_memory()
    yield
    tracemalloc.stop()
    cpu.set_memory_limit(None)


def counted(rows, columns, stored, dtype="float32"):
    """A CSR matrix of which no array was ever larger than it is."""
    rng = np.random.default_rng(0)
    values = rng.random(rows * stored, dtype="float32").astype(dtype)
    places = rng.integers(0, columns, rows * stored, dtype="int32")
    starts = np.arange(0, rows * stored + 1, stored, dtype="int32")
    return sparse.csr_matrix((values, places, starts), shape=(rows, columns))


def nbytes(matrix):
    return sum(part.nbytes for part in (matrix.data, matrix.indices, matrix.indptr))


@pytest.mark.parametrize("given", ["float32", "float64"])
@pytest.mark.usefixtures("no_blocks_stay")
def test_memory_stays_under_1_3_times_data_and_the_network(given):
    """20,000 x 20,000, which is 1.6 GB as an array of float32; the network has Adam's states."""
    x, y = counted(20_000, 20_000, 100, given), np.arange(20_000) % 2
    held_out = x[:1000], y[:1000]
    options = {"loss": KINDS["two"], "epochs": 1, "batch_size": 200, "progress": False}
    net = Sequential(Dense(20_000, 100, activation="relu"), Dense(100, 1), device="cpu")
    optimizer = Adam(net.parameters())
    few = [(x[:400], y[:400]), (x[:200], y[:200])]
    fit(net, few[0], optimizer=optimizer, validation=few[1], **options)  # compiles, as large
    gc.collect()
    tracemalloc.start()  # what is more than data, network and states, which are there
    fit(net, (x, y), optimizer=optimizer, validation=held_out, **options)
    more = tracemalloc.get_traced_memory()[1]
    assert 200 * 100 * 4 < more < 0.3 * nbytes(x)  # a batch's activations at the least


# Mistakes


def changed(value):
    x = sparse.csr_array(data()[0])
    x.data[17] = value
    return x


@pytest.mark.parametrize("name", ["data", "validation"])
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (changed(np.nan), ValueError, "holds values that are not finite"),
        (changed(np.inf), ValueError, "holds values that are not finite"),
        (changed(1e39), ValueError, r"not finite \(or too large for float32\)"),
        (changed(1.0) * 1j, TypeError, "complex128; expected real numbers"),
        (sparse.csr_array((ROWS, 7)), ValueError, r"has shape \(60, 7\); expected \(n, 40\)"),
        (sparse.csr_array((0, WIDTH)), ValueError, "has no rows; expected at least one sample"),
        (sparse.csr_array((9, WIDTH)), ValueError, r"has shape \(60,\); expected \(9,\)"),
        (sparse.coo_array(np.ones(WIDTH)), ValueError, r"has shape \(40,\); expected"),
    ],
)
def test_refused_by_name_before_anything_is_written(name, given, error, message):
    net, (x, y) = network(dtype="float32"), data()
    kept = bits(net)
    pairs = {"data": (sparse.csr_array(x), y), "validation": None, name: (given, y)}
    optimizer = SGD(net.parameters())
    with pytest.raises(error, match=f"of {name} .*{message}"):
        fit(net, pairs["data"], validation=pairs["validation"], loss=KINDS["classes"],
            optimizer=optimizer, progress=False)  # fmt: skip
    assert bits(net) == kept
    assert optimizer.steps == 0


def test_what_sparse_rows_do_not_go_with_is_refused():
    with pytest.raises(ValueError, match=r"^augment is given, but x of data is sparse; expected"):
        trained(augment=lambda rows, rng: rows)
    x, y = data("numbers")
    net = network("numbers")
    with pytest.raises(
        TypeError, match=r"^y of data is a scipy csr_array; expected an array, which"
    ):
        fit(net, (x, sparse.csr_array(y)), loss=KINDS["numbers"], optimizer=SGD(net.parameters()))


def test_a_loss_scaler_goes_with_them():
    pair = [
        trained(x_of=x_of, net=network(dtype="float16"), loss_scaler=LossScaler(8.0))
        for x_of in (sparse.csr_array, np.asarray)
    ]
    assert_alike(*pair, "float16")
    assert pair[0][1].path == PATH
