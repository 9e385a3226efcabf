"""`fit` by captured steps does what it does layer by layer: figures, parameters, states."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases.training import KINDS, OF_CLASSES, WIDTHS, bits, targets_of
from onepass.kernels.crew.crew import get_crew
from onepass.nets import (
    GELU,
    L1,
    L2,
    OPTIMIZERS,
    SGD,
    Adam,
    BatchNorm,
    Checkpoint,
    Dense,
    Dropout,
    GroupNorm,
    LayerNorm,
    LeakyReLU,
    Linear,
    Momentum,
    Regularizer,
    ReLU,
    RMSNorm,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    SoftmaxCrossEntropy,
    Softplus,
    Tanh,
    fit,
    load,
)
from onepass.nets import Callback as Told
from onepass.nets.layers.layer import Layer
from onepass.nets.network.captured_forward import Uncapturable
from onepass.nets.training.captured import steps as captured
from onepass.nets.training.captured.program import CapturedProgram
from onepass.nets.training.captured.steps import CapturedSteps
from tolerances import CAPTURED_LIMITS, assert_close

PACE = 7  # steps of a run, whatever a step takes
PATIENCE = 60  # seconds after which a test that hangs is given up
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


class Case(NamedTuple):
    """What is trained: layers, what it learns, and what `fit` and the optimizer are given."""

    layers: Callable[[], list[Layer]] = lambda: body(Dense(6, 8, activation="tanh"))
    kind: str = "classes"
    optimizer: Callable[[Any], Any] = lambda params: Momentum(params, lr=0.05)
    rows: int = 70
    width: int | None = None
    options: Mapping[str, Any] = MappingProxyType({})


class Trained(NamedTuple):
    net: Sequential
    optimizer: Any
    history: Any


@pytest.fixture(autouse=True)
def pace(monkeypatch):
    """No test depends on the clock: so many steps are run at once."""

    def use(steps):
        monkeypatch.setattr(CapturedSteps, "pace", lambda self, step: steps)

    use(PACE)
    return use


@pytest.fixture
def by_layers(monkeypatch):
    """A context in which nothing can be captured."""

    def refuse(*given):
        raise Uncapturable("as a test asked")

    @contextmanager
    def use():
        with monkeypatch.context() as patch:
            patch.setattr(captured, "check", refuse)
            yield

    return use


def body(*layers, width=3):
    return [*layers, Dense(8, width)]


def pair(case, dtype):
    """x and y that can be learned, a little."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((case.rows, 6))
    z = x @ rng.standard_normal((6, case.width or WIDTHS[case.kind]))
    z += rng.standard_normal(z.shape) / 2
    y = targets_of(case.kind, z)
    return x.astype(dtype), y.astype(dtype) if y.dtype.kind == "f" else y


def trained(case, dtype="float64", data=None, **changed):
    """A new network after 100 steps or so."""
    net = Sequential(*case.layers(), seed=1, dtype=dtype, device="cpu")
    optimizer = case.optimizer(net.parameters())
    options = {"epochs": 20, "batch_size": 16, "progress": False, "seed": 5}
    options |= {"loss": KINDS[case.kind], "optimizer": optimizer, **case.options, **changed}
    return Trained(net, optimizer, fit(net, pair(case, dtype) if data is None else data, **options))


def arrays(found):
    """Name -> array of all that a run leaves: parameters, running statistics, states."""
    states = found.optimizer.state_dict()["state"]
    told = {f"{state} of {name}": array for state, every in states.items() for name, array in
            every.items()}  # fmt: skip
    return {**found.net.state_dict(), **told}


def assert_alike(found, expected, dtype="float64"):
    """The same figures and arrays within the limit for so many steps."""
    limit = CAPTURED_LIMITS[dtype]
    eps = float(np.finfo(dtype).eps)
    for name in ("loss", "val_loss", "metric", "val_metric", "lr"):
        ours, theirs = getattr(found.history, name), getattr(expected.history, name)
        close = limit * eps
        if name.endswith("metric") and dtype == "float32":
            close = 0.02  # a row that lies between two classes
        np.testing.assert_allclose(ours, theirs, rtol=close, atol=close, err_msg=name)
    assert found.optimizer.steps == expected.optimizer.steps
    assert found.net.random_state() == expected.net.random_state()
    theirs = arrays(expected)
    for name, ours in arrays(found).items():
        scale = np.abs(theirs[name]).max(initial=eps)
        assert_close(ours, theirs[name], str(ours.dtype), limit=limit, scale=scale, what=name)


def check(case, by_layers, dtype="float64", **changed):
    """Captured as layer by layer; gives both."""
    found = trained(case, dtype, **changed)
    assert found.history.path == "captured"
    with by_layers():
        expected = trained(case, dtype, **changed)
    assert expected.history.path == "as a test asked"
    assert np.isfinite(expected.history.loss).all()
    assert_alike(found, expected, dtype)
    return found, expected


# --- layers ---------------------------------------------------------------------------------------
LAYERS = {
    "dense": lambda: body(Dense(6, 8)),
    "dense without bias": lambda: [Dense(6, 8, bias=False), Dense(8, 3, bias=False)],
    "dense relu": lambda: body(Dense(6, 8, activation="relu")),
    "dense leaky_relu": lambda: body(Dense(6, 8, activation="leaky_relu", slope=0.2)),
    "dense sigmoid": lambda: body(Dense(6, 8, activation="sigmoid")),
    "dense tanh": lambda: body(Dense(6, 8, activation="tanh")),
    "dense tanh without bias": lambda: body(Dense(6, 8, bias=False, activation="tanh")),
    "dense elu": lambda: body(Dense(6, 8, activation="elu", alpha=0.7)),
    "dense softplus": lambda: body(
        Dense(6, 8, activation="softplus", beta=2.0, threshold=3.0),
        Dense(8, 8, activation="silu"),
    ),
    "dense gelu without bias": lambda: body(Dense(6, 8, bias=False, activation="gelu")),
    "one dense": lambda: [Dense(6, 3)],
    "batch norm": lambda: body(Dense(6, 8, bias=False), BatchNorm(8), Tanh()),
    "batch norm relu": lambda: body(Dense(6, 8, bias=False), BatchNorm(8, activation="relu")),
    "batch norm first": lambda: body(BatchNorm(6, momentum=0.3), Dense(6, 8, activation="tanh")),
    "layer norm": lambda: body(Dense(6, 8), LayerNorm(8), ReLU()),
    "layer norm gelu": lambda: body(Dense(6, 8), LayerNorm(8, bias=False, activation="gelu")),
    "layer norm silu": lambda: body(Dense(6, 8), LayerNorm(8, affine=False, activation="silu")),
    "layer norm first": lambda: body(LayerNorm(6, eps=0.1), Dense(6, 8, activation="tanh")),
    "rms norm": lambda: body(Dense(6, 8), RMSNorm(8), Tanh()),
    "rms norm gelu": lambda: body(Dense(6, 8), RMSNorm(8, eps=0.01, activation="gelu")),
    "rms norm silu": lambda: body(Dense(6, 8), RMSNorm(8, affine=False, activation="silu")),
    "group norm": lambda: body(Dense(6, 8, bias=False), GroupNorm(2, 8, eps=0.1), Tanh()),
    "group norm gelu": lambda: body(
        Dense(6, 8, bias=False), GroupNorm(4, 8, eps=0.1, activation="gelu")
    ),
    "group norm silu": lambda: body(
        Dense(6, 8), GroupNorm(1, 8, affine=False, activation="silu")
    ),
    "norms one after another": lambda: body(
        RMSNorm(6), Dense(6, 8), GroupNorm(2, 8, eps=0.1), LayerNorm(8, activation="relu"),
        Dropout(0.9),
    ),
    "dropout": lambda: body(Dense(6, 8, activation="relu"), Dropout(0.7)),
    "dropout first": lambda: body(Dropout(0.8), Dense(6, 8), Dropout(0.9), Tanh()),
    "relu": lambda: body(Dense(6, 8), ReLU()),
    "leaky relu": lambda: body(Dense(6, 8), LeakyReLU(0.2)),
    "sigmoid": lambda: body(Dense(6, 8), Sigmoid()),
    "tanh": lambda: body(Dense(6, 8), Tanh()),
    "linear": lambda: body(Dense(6, 8), Linear()),
    "gelu": lambda: body(Dense(6, 8), GELU(), Dropout(0.9), SiLU()),
    "softplus first": lambda: body(Softplus(2.0), Dense(6, 8), Softplus()),
    "tanh first": lambda: body(Tanh(), Dense(6, 8), Tanh()),
    "deep": lambda: body(
        Dense(6, 16, bias=False), BatchNorm(16, activation="relu"), Dropout(0.9),
        Dense(16, 12, activation="sigmoid"), Dense(12, 8), LeakyReLU(),
    ),
}  # fmt: skip


NORMS = [name for name in LAYERS if name.startswith(("layer", "rms", "group", "norms"))]


def each_name(names):
    """Norms with an activation are compiled anew, each."""
    rare = [name for name in NORMS if name.endswith(("gelu", "silu"))]
    return pytest.mark.parametrize(
        "name",
        [pytest.param(name, marks=pytest.mark.slow if name in rare else ()) for name in names],
    )


@each_dtype
@each_name(LAYERS)
def test_every_layer(by_layers, name, dtype):
    found, _ = check(Case(LAYERS[name]), by_layers, dtype)
    assert found.history.loss[-1] < found.history.loss[0]


@pytest.mark.parametrize("batch_size", [1, 23, 70])  # 23: a last batch of one row
@each_name(NORMS)
def test_norms_of_rows_take_batches_of_any_size(by_layers, name, batch_size):
    case = Case(LAYERS[name], optimizer=lambda p: SGD(p, lr=0.01))
    check(case, by_layers, batch_size=batch_size, epochs=2)


@each_dtype
def test_norms_alone_give_the_bits_that_they_give_layer_by_layer(by_layers, dtype):
    """Without products, which add up in another order."""
    alone = Case(
        lambda: [
            LayerNorm(6, activation="gelu"), GroupNorm(2, 6, activation="silu"),
            RMSNorm(6, affine=False), Dropout(0.8), RMSNorm(6, activation="relu"),
            LayerNorm(6, bias=False),
        ],
        optimizer=lambda p: Adam(p, lr=0.01), width=6,
    )  # fmt: skip
    x, y = pair(alone, dtype)
    found = trained(alone, dtype, (x, y))
    assert found.history.path == "captured"
    with by_layers():
        expected = trained(alone, dtype, (x, y))
    assert found.history.loss == expected.history.loss
    assert bits(found.net) == bits(expected.net)


class Reshaped(Layer):
    """Rows as images, or images as rows: other axes of the same memory."""

    def __init__(self, before, after):
        self.before, self.after = before, after
        self.in_features, self.out_features = before[0], after[0]

    def forward(self, x, train=False):
        return x.reshape(len(x), *self.after)

    def backward(self, dy, input_grad=True):
        return dy.reshape(len(dy), *self.before)

    def record(self, recorder, x, train=True):
        return self.forward(x), self.backward


@each_dtype
def test_norms_of_images(by_layers, dtype):
    def layers():
        axes = (4, 2, 3)
        norms = GroupNorm(2, 4, eps=0.1, activation="silu"), LayerNorm(axes), RMSNorm(axes)
        to_images, to_rows = Reshaped((24,), axes), Reshaped(axes, (24,))
        return [Dense(6, 24, bias=False), to_images, *norms, to_rows, Dense(24, 3)]

    found, _ = check(Case(layers), by_layers, dtype)
    assert found.history.loss[-1] < found.history.loss[0]


LAST = {
    "as wide as what it takes": lambda: [Dense(6, 8, activation="tanh"), Dense(8, 8)],
    "wider than what it takes": lambda: [Dense(6, 3, activation="tanh"), Dense(3, 8)],
    "with relu": lambda: body(Dense(6, 8), Dense(8, 8, activation="relu"), width=8),
    "ends in dense leaky_relu": lambda: [Dense(6, 9), Dense(9, 8, activation="leaky_relu")],
    "ends in dense relu": lambda: [Dense(6, 9), Dense(9, 8, activation="relu")],
    "ends in dense sigmoid": lambda: [Dense(6, 9), Dense(9, 8, activation="sigmoid")],
    "ends in dense tanh": lambda: [Dense(6, 9), Dense(9, 8, activation="tanh")],
    "ends in dense silu": lambda: [Dense(6, 9), Dense(9, 8, activation="silu")],
    "ends in softplus": lambda: [Dense(6, 9), Dense(9, 8), Softplus()],
    "ends in relu": lambda: [Dense(6, 9), Dense(9, 8), ReLU()],
    "ends in leaky relu": lambda: [Dense(6, 9), Dense(9, 8), LeakyReLU()],
    "ends in sigmoid": lambda: [Dense(6, 9), Dense(9, 8), Sigmoid()],
    "ends in tanh": lambda: [Dense(6, 9), Dense(9, 8), Tanh()],
    "ends in linear": lambda: [Dense(6, 3), Dense(3, 8), Linear()],
    "ends in batch norm": lambda: [Dense(6, 3), Dense(3, 8, bias=False), BatchNorm(8)],
    "ends in batch norm relu": lambda: [
        Dense(6, 3), Dense(3, 8, bias=False), BatchNorm(8, activation="relu")
    ],
    "ends in layer norm": lambda: [Dense(6, 3), Dense(3, 8), LayerNorm(8)],
    "ends in rms norm silu": lambda: [Dense(6, 3), Dense(3, 8), RMSNorm(8, activation="silu")],
    "ends in group norm": lambda: [Dense(6, 3), Dense(3, 8), GroupNorm(2, 8)],
    "ends in dropout": lambda: [Dense(6, 3), Dense(3, 8), Dropout(0.9)],
    "narrow, wide, narrow": lambda: [Dense(6, 7), Dense(7, 5), Dense(5, 20), Dense(20, 8)],
}  # fmt: skip
"""Of memory that a loss writes its gradient to, and that backward reads and takes again."""


@pytest.mark.parametrize("name", LAST)
def test_every_end_of_a_network(by_layers, name):
    case = Case(LAST[name], "numbers", lambda p: SGD(p, lr=0.02), rows=64, width=8)
    check(case, by_layers)


OF_ONE_LOGIT = {
    "tanh": lambda: [Dense(6, 8), Dense(8, 1, activation="tanh")],
    "leaky relu": lambda: [Dense(6, 8), Dense(8, 1), LeakyReLU()],
    "dense": lambda: [Dense(6, 8, activation="tanh"), Dense(8, 1)],
    "without bias": lambda: [Dense(6, 128, activation="tanh"), Dense(128, 1, bias=False)],
}  # fmt: skip


@pytest.mark.parametrize("rows", [64, 8192])  # of many rows the products are added up in parts
@pytest.mark.parametrize("name", OF_ONE_LOGIT)
def test_every_end_of_a_network_of_one_logit(by_layers, name, rows):
    case = Case(OF_ONE_LOGIT[name], "two", lambda p: SGD(p, lr=0.02), rows=rows)
    check(case, by_layers, batch_size=rows)


OF_BATCHES = BatchNorm, lambda width: BatchNorm(width, activation="relu")
OF_ROWS = (  # a small eps would magnify the rounding of short rows
    lambda width: LayerNorm(width, eps=0.1, activation="gelu"),
    lambda width: RMSNorm(width, eps=0.1),
)


def drawn(rng, norms, width=6):
    """A few layers of any kind and width."""
    layers: list[Layer] = []
    for _ in range(rng.integers(1, 6)):
        out = int(rng.integers(1, 20))
        activation = rng.choice(["linear", "relu", "leaky_relu", "sigmoid", "tanh", "silu"])
        layers.append(
            Dense(width, out, bias=bool(rng.integers(2)), activation=str(activation), init="xavier")
        )
        width = out
        more = ReLU, LeakyReLU, Sigmoid, Tanh, Linear, lambda: Dropout(0.9)
        every = [*more, *(partial(norm, out) for norm in norms)]
        layers += [every[k]() for k in rng.integers(0, len(every), rng.integers(0, 3))]
    return layers, width


@pytest.mark.parametrize("norms", [OF_BATCHES, OF_ROWS], ids=["of batches", "of rows"])
@pytest.mark.parametrize("seed", range(20))
def test_networks_of_any_layers(by_layers, seed, norms):
    width = drawn(np.random.default_rng(seed), norms)[1]
    case = Case(
        lambda: drawn(np.random.default_rng(seed), norms)[0], "numbers", lambda p: SGD(p, lr=0.01),
        rows=40, width=width, options={"epochs": 2},
    )  # fmt: skip
    check(case, by_layers)


def test_a_network_of_many_layers_and_penalties(by_layers):
    def layers():
        more = [Dense(8, 8, activation="tanh", init="xavier") for _ in range(70)]
        return body(Dense(6, 8, activation="tanh"), *more)

    check(Case(layers, options={"regularizer": L2(0.1), "epochs": 2}), by_layers)


def test_a_network_of_many_dropouts(by_layers):
    def layers():
        return body(Dense(6, 8), *(Dropout(0.99) for _ in range(40)), Tanh())

    check(Case(layers, options={"epochs": 2}), by_layers)


# --- losses, weights, penalties, clipping, schedules ----------------------------------------------
@each_dtype
@pytest.mark.parametrize("kind", KINDS)
def test_every_loss(by_layers, kind, dtype):
    layers = lambda: body(Dense(6, 8, activation="tanh"), width=WIDTHS[kind])  # noqa: E731
    found, _ = check(Case(layers, kind), by_layers, dtype)
    assert found.history.loss[-1] < found.history.loss[0]


def decay(epoch, step):
    return 0.05 / (1 + 0.1 * epoch + 0.01 * step)


OPTIONS = {
    "balanced": {"class_weight": "balanced"},
    "class weights": {"class_weight": {0: 0.5, 1: 2.0, 2: 1.0}},
    "l1": {"regularizer": L1(0.5)},
    "l2": {"regularizer": L2(2.0)},
    "l1 and l2 of biases": {"regularizer": [L1(0.2), L2(1.0, biases=True)]},
    "schedule": {"schedule": decay},
    "one batch": {"batch_size": 70, "epochs": 60},
    "a batch larger than the data": {"batch_size": 1000, "epochs": 60},
    "batches of one size": {"batch_size": 35},
    "batches of one row": {"batch_size": 1, "epochs": 2},
    "a last batch of one row": {"batch_size": 23},
    "all at once": {
        "class_weight": "balanced", "regularizer": [L1(0.1), L2(1.0)], "schedule": decay,
    },
}  # fmt: skip


@each_dtype
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option(by_layers, name, dtype):
    check(Case(options=OPTIONS[name]), by_layers, dtype)


@pytest.mark.parametrize("weight", ["balanced", {0: 0.5, 1: 2.0}])
def test_class_weights_of_two_classes(by_layers, weight):
    layers = lambda: body(Dense(6, 8, activation="tanh"), width=1)  # noqa: E731
    check(Case(layers, "two", options={"class_weight": weight}), by_layers)


MADE = {
    **{name: lambda p, kind=kind: kind(p, lr=0.01) for name, kind in OPTIMIZERS.items()},
    **{
        f"{name} with decay": lambda p, kind=kind: kind(p, lr=0.01, weight_decay=0.05)
        for name, kind in OPTIMIZERS.items()
    },
    "Nesterov": lambda p: Momentum(p, lr=0.01, nesterov=True),
    "averaged": lambda p: Momentum(p, lr=0.1, form="averaged"),
    "up": lambda p: SGD(p, lr=1e-4, maximize=True),
    "clipped": lambda p: SGD(p, lr=0.1, clip_norm=0.05),
    "clipped at times": lambda p: SGD(p, lr=0.1, clip_norm=0.4),
    "never clipped": lambda p: SGD(p, lr=0.1, clip_norm=1e6),
    "clipped, with decay, up": lambda p: Adam(
        p, lr=1e-3, clip_norm=0.1, weight_decay=0.1, maximize=True
    ),
    "engine numba": lambda p: SGD(p, lr=0.1, engine="numba"),
}


@each_dtype
@pytest.mark.parametrize("name", MADE)
def test_every_optimizer(by_layers, name, dtype):
    check(Case(optimizer=MADE[name]), by_layers, dtype)


# --- data -----------------------------------------------------------------------------------------
def test_data_of_any_layout_and_dtype():
    case = Case(lambda: body(Dense(6, 8), width=2), "numbers", rows=600)
    x, y = pair(case, "float64")
    wanted = bits(trained(case, epochs=2, validation=(x, y)).net)
    strided = np.zeros((600, 12))
    strided[:, ::2] = x
    layouts = {
        "Fortran": (np.asfortranarray(x), np.asfortranarray(y)),
        "every other column": (strided[:, ::2], np.repeat(y, 2, axis=1)[:, ::2]),
        "backwards": (x[::-1].copy()[::-1], y[::-1].copy()[::-1]),
        "lists": (x.tolist(), y.tolist()),
    }
    for name, data in layouts.items():
        found = trained(case, data=data, epochs=2)
        assert found.history.path == "captured"
        assert bits(found.net) == wanted, name
    labels = Case(rows=600)
    x, y = pair(labels, "float64")
    wanted = bits(trained(labels, epochs=2).net)
    for dtype in ("int8", "uint16", "int32", ">i8"):
        assert bits(trained(labels, data=(x, y.astype(dtype)), epochs=2).net) == wanted, dtype


def test_validation_data_of_any_layout(by_layers):
    case = Case(lambda: body(Dense(6, 8, activation="tanh"), width=2), "numbers", rows=600)
    x, y = pair(case, "float64")
    held_out = np.asfortranarray(x), np.asfortranarray(y)
    check(case, by_layers, epochs=2, validation=held_out)
    check(case, by_layers, epochs=2, validation=(x, y))


def test_data_is_left_untouched():
    case = Case(LAYERS["deep"])
    x, y = pair(case, "float64")
    kept = x.copy(), y.copy()
    trained(case, data=(x, y))
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])


def test_validation_and_weights_of_it(by_layers):
    case = Case(rows=600, options={"class_weight": "balanced", "epochs": 3})
    check(case, by_layers, validation=pair(case._replace(rows=530), "float64"))


def test_augmented_batches(by_layers):
    def augment(x, rng):
        x[::2] *= -1
        return x + rng.standard_normal(x.shape) / 10

    for kind in KINDS:
        layers = lambda kind=kind: body(Dense(6, 8, activation="tanh"), width=WIDTHS[kind])  # noqa: E731
        weight = "balanced" if kind in OF_CLASSES else None
        options = {"augment": augment, "class_weight": weight, "epochs": 5}
        check(Case(layers, kind, options=options), by_layers)


# --- the same bits --------------------------------------------------------------------------------
LARGE = Case(
    lambda: [
        Dense(128, 256, bias=False), BatchNorm(256, activation="relu"), Dropout(0.8),
        LayerNorm(256, activation="gelu"),
        Dense(256, 64, activation="tanh"), Dense(64, 3),
    ],
    optimizer=lambda p: Adam(p, lr=1e-3, clip_norm=0.5),
    options={"batch_size": 128, "epochs": 2, "regularizer": L2(1.0)},
)  # fmt: skip


@each_dtype
def test_every_number_of_threads_gives_the_same_bits(set_threads, dtype):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((300, 128)), rng.integers(0, 3, 300)
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        ran = trained(LARGE, dtype, data)
        assert ran.history.path == "captured"
        assert (get_crew()._board[0] > 0) == (threads > 1), "nothing was shared"
        found.append((bits(ran.net), ran.history.loss, ran.history.metric))
    assert found[0] == found[1] == found[2]


def test_every_number_of_steps_in_a_run_gives_the_same_bits(pace):
    case = Case(LAYERS["deep"], options={"schedule": decay, "epochs": 5})
    found = []
    for steps in (1, 2, 3, 256):
        pace(steps)
        ran = trained(case)
        found.append((bits(ran.net), ran.history.loss, ran.history.metric, ran.history.lr))
    assert all(each == found[0] for each in found)


def test_one_seed_gives_the_same_bits_again_and_another_one_others():
    case = Case(LAYERS["deep"])
    one, two, other = (bits(trained(case, epochs=3, seed=seed).net) for seed in (1, 1, 2))
    assert one == two != other


def test_a_run_that_is_resumed_from_a_checkpoint_gives_the_same_bits(tmp_path):
    case = Case(LAYERS["deep"], optimizer=lambda p: Adam(p, lr=0.01))
    options = {"schedule": decay, "regularizer": L2(0.5)}
    whole = trained(case, epochs=6, **options)
    checkpoint = Checkpoint(tmp_path / "net")
    trained(case, epochs=4, callbacks=checkpoint, **options)
    saved = load(checkpoint.path, "cpu")
    history = fit(
        saved.net,
        pair(case, "float64"),
        loss=KINDS["classes"],
        optimizer=saved.optimizer,
        epochs=6,
        batch_size=16,
        progress=False,
        resume=saved,
        **options,
    )
    assert history.path == "captured"
    assert bits(saved.net) == bits(whole.net)
    assert history.loss == whole.history.loss


def test_two_networks_at_once_in_two_threads_give_what_they_give_one_after_the_other():
    cases = [Case(LAYERS["deep"]), Case(LAYERS["dense relu"])]
    wanted = [bits(trained(case).net) for case in cases]
    found, errors = [None, None], []
    start = threading.Barrier(2)

    def train(k):
        try:
            start.wait(PATIENCE)
            found[k] = bits(trained(cases[k]).net)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=train, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert found == wanted


# --- callbacks and schedules ----------------------------------------------------------------------
class Notes(Told):
    """What is seen after each update."""

    def __init__(self):
        self.seen, self.losses = [], []

    def on_batch(self, run):
        self.seen.append((run.epoch, run.step, run.optimizer.steps, run.optimizer.lr))
        self.losses.append(float(run.batch_loss))


def test_callbacks_see_every_step_and_change_nothing(by_layers):
    case = Case(LAYERS["deep"], options={"epochs": 3, "schedule": decay})
    ours, theirs = Notes(), Notes()
    found = trained(case, callbacks=ours)
    with by_layers():
        trained(case, callbacks=theirs)
    assert [step for _, step, _, _ in ours.seen] == list(range(1, 16))
    assert ours.seen == theirs.seen
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-12)
    assert found.history.path == "captured"
    plain = trained(case)
    assert bits(plain.net) == bits(found.net)
    assert plain.history.loss == found.history.loss
    assert plain.history.metric == found.history.metric


def test_a_callback_whose_method_is_its_own_sees_every_step_too():
    told, steps = Told(), []
    told.on_batch = lambda run: steps.append(run.step)
    trained(Case(), callbacks=told, epochs=2)
    assert steps == list(range(1, 11))


def test_the_epochs_last_batch_loss_is_told_without_a_callback_of_batches(by_layers):
    class Last(Told):
        def __init__(self):
            self.found = []

        def on_epoch(self, run):
            self.found.append((run.step, float(run.batch_loss)))

    ours, theirs = Last(), Last()
    trained(Case(), callbacks=ours, epochs=3)
    with by_layers():
        trained(Case(), callbacks=theirs, epochs=3)
    np.testing.assert_allclose(ours.found, theirs.found, rtol=1e-12)


@pytest.mark.parametrize("step", [1, 6, 7, 13])
def test_a_run_that_a_callback_stops_after_a_step_ends_there(by_layers, step):
    class Stops(Told):
        def on_batch(self, run):
            if run.step == step:
                run.stop("there")

    found = trained(Case(), callbacks=Stops())
    assert found.optimizer.steps == step
    with by_layers():
        expected = trained(Case(), callbacks=Stops())
    assert_alike(found, expected)


def test_a_schedule_is_asked_once_for_each_step_in_order():
    asked = []
    schedule = lambda epoch, step: asked.append((epoch, step)) or 0.01  # noqa: E731
    found = trained(Case(), schedule=schedule, epochs=3)
    assert asked == [(step // 5, step + 1) for step in range(15)]
    assert found.history.lr == [0.01] * 3


@pytest.mark.parametrize(("error", "lr"), [(LookupError, None), (ValueError, -1.0)])
@pytest.mark.parametrize("step", [1, 4, 9])
def test_what_a_schedule_raises_ends_training_when_its_turn_comes(by_layers, step, error, lr):
    def schedule(epoch, at):
        if at == step and lr is None:
            raise LookupError("planted")
        return lr if at == step else decay(epoch, at)

    kept = []
    for context in (nullcontext(), by_layers()):
        net = Sequential(*Case().layers(), seed=1, dtype="float64", device="cpu")
        optimizer = SGD(net.parameters())
        options = {"loss": KINDS["classes"], "optimizer": optimizer, "schedule": schedule}
        options |= {"batch_size": 16, "progress": False}
        match = "planted" if lr is None else rf"schedule\(\d, {step}\)"
        with context, pytest.raises(error, match=match):
            fit(net, pair(Case(), "float64"), **options)
        kept.append((optimizer.steps, net.parameters().flat.copy()))
    assert kept[0][0] == kept[1][0] == step - 1
    np.testing.assert_allclose(kept[0][1], kept[1][1], rtol=1e-12)


def test_a_step_is_captured_once_for_each_size_of_batch(monkeypatch):
    made = []

    def counted(*given):
        made.append(given[3])
        return CapturedProgram(*given)

    monkeypatch.setattr(captured, "CapturedProgram", counted)
    trained(Case(LAYERS["deep"]), schedule=decay, callbacks=Notes())
    assert made == [16, 6]


# --- what is changed while it trains --------------------------------------------------------------
class Changes(Told):
    """Changes something after the second epoch."""

    def __init__(self, change):
        self.change = change

    def on_epoch(self, run):
        if run.epoch == 2:
            self.change(run)


def tune(run, **changes):
    run.optimizer.tune(**changes)


def set_layer(run, k, name, value):
    setattr(run.net.layers[k], name, value)


def rewind(run):
    run.optimizer.load_state_dict(
        type(run.optimizer)(run.net.parameters(), lr=0.02).state_dict()
        | {"step": run.optimizer.steps}
    )


def halve(run):
    run.net.parameters().flat[...] /= 2


CHANGED = {
    "keep_prob": lambda run: set_layer(run, 2, "keep_prob", 0.5),
    "seed": lambda run: run.net.layers[2].seed(9),
    "slope": lambda run: set_layer(run, 5, "slope", 0.3),
    "a dense layer's slope": lambda run: set_layer(run, 3, "slope", 0.3),
    "momentum of batch norm": lambda run: set_layer(run, 1, "momentum", 0.5),
    "eps of batch norm": lambda run: set_layer(run, 1, "eps", 0.1),
    "activation of batch norm": lambda run: set_layer(run, 1, "activation", None),
    "eps of layer norm": lambda run: set_layer(run, 6, "eps", 0.1),
    "activation of layer norm": lambda run: set_layer(run, 6, "activation", None),
    "weight_decay": lambda run: tune(run, weight_decay=0.1),
    "lr": lambda run: tune(run, lr=0.01),
    "momentum": lambda run: tune(run, momentum=0.5),
    "nesterov": lambda run: tune(run, nesterov=True),
    "maximize": lambda run: tune(run, maximize=True, lr=1e-4),
    "clip_norm": lambda run: setattr(run.optimizer, "clip_norm", 0.05),
    "states": rewind,
    "parameters": halve,
    "parameters and statistics": lambda run: run.net.load_state_dict(
        {name: value * 0.5 for name, value in run.net.state_dict().items()}
    ),
    "moved to where it is": lambda run: run.net.to("cpu"),
}
VARIED = Case(
    lambda: body(
        Dense(6, 16, bias=False), BatchNorm(16, activation="relu"), Dropout(0.9),
        Dense(16, 12, activation="leaky_relu"), Dense(12, 8), LeakyReLU(),
        LayerNorm(8, activation="silu"),
    ),
    options={"epochs": 5},
)  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_what_changes_between_epochs_counts_from_then_on(by_layers, name):
    found, _ = check(VARIED, by_layers, callbacks=Changes(CHANGED[name]))
    unchanged = trained(VARIED)
    np.testing.assert_array_equal(found.history.loss[:2], unchanged.history.loss[:2])
    if not name.startswith(("moved", "a dense")):
        assert bits(found.net) != bits(unchanged.net), "it changed nothing"


@pytest.mark.parametrize("when", ["on_epoch", "on_batch"])
@pytest.mark.parametrize("kind", [L1, L2])
def test_a_penalty_that_changes_while_it_trains(by_layers, kind, when):
    def changed():
        penalty = kind(0.5)

        class Grows(Told):
            pass

        def grow(self, run):
            penalty.lam *= 1.5

        setattr(Grows, when, grow)
        return {"regularizer": penalty, "callbacks": Grows(), "epochs": 3}

    found = trained(Case(), **changed())
    assert found.history.path == "captured"
    with by_layers():
        expected = trained(Case(), **changed())
    assert_alike(found, expected)


def test_running_averages_that_are_used_from_then_on_are_told_of(by_layers):
    use = Changes(lambda run: set_layer(run, 1, "use_running_average", True))
    found = trained(VARIED, callbacks=use)
    assert "use_running_average" in found.history.path
    with by_layers():
        expected = trained(VARIED, callbacks=use)
    assert_alike(found, expected)


def test_an_engine_that_can_not_be_captured_from_then_on_is_told_of(by_layers):
    use = Changes(lambda run: setattr(run.optimizer, "engine", "array"))
    found = trained(VARIED, callbacks=use)
    assert found.history.path == "the optimizer's engine is 'array'"
    with by_layers():
        expected = trained(VARIED, callbacks=use)
    assert_alike(found, expected)


def test_what_changes_after_each_batch_counts_from_the_next_one(by_layers):
    class Changing(Told):
        def on_batch(self, run):
            run.optimizer.lr = 0.05 / run.step
            run.net.layers[2].keep_prob = 0.9 if run.step % 3 else 0.8
            if run.step % 4 == 0:
                run.net.parameters()["0.weight"][0] += 0.01

    check(VARIED, by_layers, epochs=3, callbacks=Changing())


# --- what can't be captured -----------------------------------------------------------------------
class OwnLayer(Layer):
    """The identity, without a record."""

    def forward(self, x, train=False):
        return x.copy()

    def backward(self, dy, input_grad=True):
        return dy.copy()


class Doubled(Dense):
    """Another forward than the one that is recorded."""

    def forward(self, x, train=False):
        return 2 * super().forward(x, train)


class OwnLoss(SoftmaxCrossEntropy):
    def __call__(self, output, targets, weights=None):
        loss, gradient = super().__call__(output, targets, weights)
        return 2 * loss, 2 * gradient


class OwnMetric(SoftmaxCrossEntropy):
    def measure(self, output, targets):
        return np.float64(len(output))


class OwnStep(SGD):
    def step(self, grads=None, *, grad_scale=1.0):
        super().step(grads, grad_scale=grad_scale / 2)


class OwnNetwork(Sequential):
    def forward(self, x, train=False):
        return super().forward(x, train) / 2

    def backward(self, dy, input_grad=True):
        return super().backward(dy / 2, input_grad)


class Largest(Regularizer):
    """The largest weight counts."""

    def _factor(self, m):
        return self.lam / m

    def _size(self, w, xp):
        return xp.abs(w).max()

    def _derivative(self, w, factor, xp):
        return factor * xp.sign(w) * (xp.abs(w) == xp.abs(w).max())


class OwnGradient(L2):
    """A decay of weights that the loss does not show."""

    def add_gradient(self, net, m):
        for weight, gradient in self._pairs(net):
            gradient += self.lam * weight


class OwnSize(L2):
    def _size(self, w, xp):
        return 2 * super()._size(w, xp)

    def _derivative(self, w, factor, xp):
        return 2 * super()._derivative(w, factor, xp)


def middle(layer):
    return lambda: body(Dense(6, 8), layer())


#          layers, what else is given, words of the reason
REASONS = {
    "a layer of one's own": (middle(OwnLayer), {}, ("layer 1 OwnLayer()", "forward")),
    "a forward of one's own": (
        lambda: [Dense(6, 8), Doubled(8, 3)], {}, ("layer 1 Dense(8, 3)", "forward of its own")
    ),
    "batch norm of a cumulative average": (
        middle(lambda: BatchNorm(8, momentum=None)), {}, ("BatchNorm(8", "momentum=None")
    ),
    "batch norm of a biased variance": (
        middle(lambda: BatchNorm(8, running_var_ddof=0)), {}, ("BatchNorm(8", "running_var_ddof=0")
    ),
    "batch norm by running averages": (
        middle(lambda: BatchNorm(8, use_running_average=True)), {}, ("use_running_average",)
    ),
    "softmax": (middle(Softmax), {}, ("layer 1 Softmax()",)),
    "engine": (None, {"optimizer": lambda p: SGD(p, lr=0.1, engine="array")}, ("'array'",)),
    "a step of one's own": (None, {"optimizer": lambda p: OwnStep(p, lr=0.1)}, ("OwnStep", "step")),
    "a loss of one's own": (None, {"loss": OwnLoss()}, ("OwnLoss()", "__call__")),
    "a metric of one's own": (None, {"loss": OwnMetric()}, ("OwnMetric()", "measure")),
    "a penalty of one's own": (None, {"regularizer": Largest(1.0)}, ("Largest(1.0)",)),
    "a gradient of a penalty of one's own": (
        None, {"regularizer": OwnGradient(0.1)}, ("OwnGradient(0.1)",)
    ),
    "a size of a penalty of one's own": (None, {"regularizer": OwnSize(1.0)}, ("OwnSize(1.0)",)),
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_what_can_not_be_captured_is_trained_layer_by_layer_and_told(by_layers, name):
    layers, given, words = REASONS[name]
    given = {"epochs": 3, **given}
    case = Case(layers or Case().layers, optimizer=given.pop("optimizer", lambda p: SGD(p, lr=0.1)))
    found = trained(case, **given)
    with by_layers():
        expected = trained(case, **given)
    assert_alike(found, expected)
    for word in words:
        assert word in found.history.path


def test_float16_is_trained_layer_by_layer_and_told():
    found = trained(Case(LAYERS["one dense"], optimizer=lambda p: SGD(p, lr=0.1)), "float16")
    assert "float16" in found.history.path
    assert found.history.loss[-1] < found.history.loss[0]


def test_a_network_whose_forward_is_its_own(by_layers):
    results = []
    for made, context in ((OwnNetwork, nullcontext()), (OwnNetwork, by_layers()),
                          (Sequential, nullcontext())):  # fmt: skip
        net = made(*Case().layers(), seed=1, dtype="float64", device="cpu")
        options = {"loss": KINDS["classes"], "optimizer": SGD(net.parameters(), lr=0.1)}
        with context:
            history = fit(net, pair(Case(), "float64"), progress=False, epochs=3, **options)
        results.append((bits(net), history.loss, history.path))
    assert results[0][:2] == results[1][:2]
    assert results[0][1] != results[2][1], "the network's forward is another one's"
    assert "forward" in results[0][2]


def test_a_forward_that_is_hung_on_a_layer_is_called():
    seen = []
    net = Sequential(*Case().layers(), seed=1, device="cpu")
    original = net.layers[0].forward
    net.layers[0].forward = lambda x, train=False: seen.append(len(x)) or original(x, train)
    options = {"loss": KINDS["classes"], "optimizer": SGD(net.parameters()), "progress": False}
    history = fit(net, pair(Case(), "float32"), epochs=1, batch_size=16, **options)
    assert seen == [16, 16, 16, 16, 6]
    assert "layer 0" in history.path


def test_without_an_epoch_that_was_finished_there_is_no_path():
    class Stops(Told):
        def on_start(self, run):
            run.stop("at once")

    assert trained(Case(), callbacks=Stops()).history.path == ""


# --- what is not finite ---------------------------------------------------------------------------
def fails(case, data, dtype, **options):
    """(message, network, optimizer) of a run that raises FloatingPointError."""
    net = Sequential(*case.layers(), seed=1, dtype=dtype, device="cpu")
    optimizer = case.optimizer(net.parameters())
    given = {"loss": KINDS[case.kind], "optimizer": optimizer, "epochs": 3, "batch_size": 16}
    with pytest.raises(FloatingPointError) as caught:
        fit(net, data, **given, progress=False, **options)
    return str(caught.value), net, optimizer


class StopsAfter(Told):
    def __init__(self, step):
        self.step = step

    def on_start(self, run):
        if not self.step:
            run.stop("there")

    def on_batch(self, run):
        if run.step == self.step:
            run.stop("there")


def check_failure(case, data, dtype, by_layers, **options):
    """As layer by layer, and with the bits of a run that ends before; gives the message."""
    text, net, optimizer = fails(case, data, dtype, **options)
    with by_layers():
        expected, their_net, their_optimizer = fails(case, data, dtype, **options)
    assert text == expected
    assert optimizer.steps == their_optimizer.steps
    limit = CAPTURED_LIMITS[dtype] * float(np.finfo(dtype).eps)
    theirs = their_net.parameters().flat
    np.testing.assert_allclose(net.parameters().flat, theirs, rtol=limit, atol=limit)
    good = trained(
        case, dtype, data, epochs=3, seed=0, callbacks=StopsAfter(optimizer.steps), **options
    )
    np.testing.assert_array_equal(good.net.parameters().flat, net.parameters().flat)
    theirs = good.optimizer.state_dict()["state"]
    for name, every in optimizer.state_dict()["state"].items():
        for key, array in every.items():
            np.testing.assert_array_equal(array, theirs[name][key])
    return text, optimizer.steps


@pytest.mark.parametrize("schedule", [None, decay])
@pytest.mark.parametrize("row", [0, 17, 44])
def test_a_loss_that_becomes_nan_within_an_epoch(by_layers, row, schedule):
    case = Case(lambda: body(Dense(6, 8), ReLU()))
    x, y = pair(case, "float32")
    x[row] = 3e38
    options = {} if schedule is None else {"schedule": schedule}
    text, steps = check_failure(case, (x, y), "float32", by_layers, **options)
    assert "nan in epoch 1: layer 0 Dense(6, 8) went wrong first: its output is not finite" in text
    if schedule is not None and steps:
        assert f"it is {decay(0, steps + 1)}" in text


def test_a_loss_that_becomes_nan_in_a_later_epoch(by_layers):
    """Of parameters that grew all the while."""
    layers = lambda: body(Dense(6, 8), width=2)  # noqa: E731
    case = Case(layers, "numbers", lambda p: SGD(p, lr=0.4))
    text, steps = check_failure(case, pair(case, "float32"), "float32", by_layers)
    assert steps > 5, "the first epoch did not end"
    assert "in epoch 2" in text
    assert "went wrong" in text or "output is finite" in text


def test_gradients_that_are_not_finite_where_their_norm_is_asked_for(by_layers):
    """Weights stay so small that only the gradient of one row overflows."""
    case = Case(
        lambda: [Dense(6, 2, init="zeros")],
        "numbers",
        lambda p: Momentum(p, lr=1e-36, clip_norm=1.0),
    )
    x, y = pair(case, "float32")
    x[3], y[3] = 1e32, 1e10
    text, _ = check_failure(case, (x, y), "float32", by_layers)
    assert "the gradients' norm is inf in epoch 1" in text
    assert "layer 0 Dense(6, 2, init='zeros') went wrong first: its gradient is not finite" in text


def steep(epoch, step):
    return 1e-3 * step


@pytest.mark.parametrize("schedule", [None, steep])
@pytest.mark.parametrize("size", [1e200, 1e-150, 1e-300])
@pytest.mark.parametrize(
    "layers", [LAYERS["one dense"], lambda: [Dense(6, 5), Dense(5, 3)]], ids=["one", "two"]
)
def test_gradients_whose_squares_leave_float64_are_clipped(by_layers, layers, size, schedule):
    """Some rows of such numbers, or all: steps that see them are done with care."""
    case = Case(layers, optimizer=lambda p: Momentum(p, lr=0.01, clip_norm=1e-160))
    x, y = pair(case, "float64")
    if size > 1:
        x[[4, 30, 40, 55]] *= size
        case = case._replace(optimizer=lambda p: Momentum(p, lr=0.01, clip_norm=1.0))
    else:
        x *= size
    found, _ = check(case, by_layers, data=(x, y), epochs=3, schedule=schedule)
    assert found.optimizer.steps == 15


def test_dropout_goes_on_with_the_next_mask_after_a_step_with_care(by_layers):
    case = Case(
        lambda: body(Dense(6, 8), Dropout(0.8)),
        optimizer=lambda p: Momentum(p, lr=0.01, clip_norm=1.0),
    )
    x, y = pair(case, "float64")
    x[[4, 30]] *= 1e200
    check(case, by_layers, data=(x, y), epochs=3)


# --- memory ---------------------------------------------------------------------------------------
def peak(work):
    """Most bytes beyond what there was before."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    work()
    return tracemalloc.get_traced_memory()[1] - before


def test_a_run_allocates_nothing_that_grows_with_its_steps():
    case = Case(LAYERS["deep"], optimizer=lambda p: Adam(p, clip_norm=1.0))
    x, y = pair(case._replace(rows=16 * 200), "float64")
    net = Sequential(*case.layers(), seed=1, dtype="float64", device="cpu")
    optimizer = case.optimizer(net.parameters())
    step = CapturedProgram(net, KINDS["classes"], optimizer, 16, (x, y, None), [L2(0.1)], len(x))
    order = np.random.default_rng(0).permutation(len(x))
    for k in range(200):
        step.prepare(k)
    tracemalloc.start()
    try:
        step.run(order, 200)  # makes what is made once
        few, many = (peak(lambda steps=steps: step.run(order, steps)) for steps in (2, 200))
    finally:
        tracemalloc.stop()
    assert step.taken == 200
    assert optimizer.steps == 402
    assert many <= few + 512
