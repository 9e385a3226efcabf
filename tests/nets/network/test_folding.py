"""net.fold(): a network for inference, equal within a few eps, that shares nothing with its own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from onepass.nets import (
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    load,
    save,
)
from onepass.nets.network.multilayer import multilayer
from tolerances import DTYPES

ROWS, WIDTH = 40, 6


def trained(*layers, dtype="float64", device="cpu"):
    """A network whose running statistics and parameters are no longer those it began with."""
    net = Sequential(*layers, seed=3, dtype=dtype, device=device)
    draw = np.random.default_rng(0)
    for _ in range(5):
        net.forward(draw.normal(1.0, 2.0, (ROWS, WIDTH)), train=True)
    flat = net.parameters().flat
    flat += net.backend.asarray(draw.normal(0, 0.2, flat.size).astype(dtype))
    return net


def rows(seed=1):
    return np.random.default_rng(seed).normal(1.0, 2.0, (17, WIDTH))


def kinds(net):
    return [type(layer).__name__ for layer in net.layers]


CASES = {
    "behind a Dense": ([Dense(6, 8, bias=False), BatchNorm(8), Dense(8, 3)], ["Dense", "Dense"]),
    "with its ReLU": ([Dense(6, 8), BatchNorm(8, activation="relu"), Dense(8, 3)], ["Dense"] * 2),
    "before a layer": ([BatchNorm(6), Dense(6, 3, activation="tanh")], ["Dense"]),
    "before one without a bias": ([BatchNorm(6), Dense(6, 3, bias=False)], ["Dense"]),
    "both sides": ([BatchNorm(6), Dense(6, 8), BatchNorm(8, activation="relu")], ["Dense"]),
    "one after another": ([Dense(6, 8), BatchNorm(8), BatchNorm(8)], ["Dense"]),
    "behind an activation": (
        [Dense(6, 8, activation="leaky_relu", slope=0.3), BatchNorm(8, eps=0.1), Dense(8, 3)],
        ["Dense", "Dense"],
    ),
    "a ReLU between": (
        [BatchNorm(6, activation="relu"), Dense(6, 3)], ["BatchNorm", "Dense"]
    ),
    "an activation before": (
        [Dense(6, 8, activation="relu"), BatchNorm(8)], ["Dense", "BatchNorm"]
    ),
    "apart": ([Dense(6, 8), ReLU(), BatchNorm(8)], ["Dense", "ReLU", "BatchNorm"]),
    "dropout between": (
        [Dense(6, 8), Dropout(0.5), BatchNorm(8)], ["Dense", "Dropout", "BatchNorm"]
    ),
    "momentum None": ([Dense(6, 8), BatchNorm(8, momentum=None), ReLU()], ["Dense", "ReLU"]),
    "one that stays beside": (
        [BatchNorm(6, activation="relu", momentum=None), Dense(6, 8), BatchNorm(8)],
        ["BatchNorm", "Dense"],
    ),
    "none": ([Dense(6, 8), ReLU()], ["Dense", "ReLU"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_folded_network_gives_the_same(case):
    layers, left = CASES[case]
    net = trained(*copy.deepcopy(layers))
    state, shown = net.state_dict(), repr(net)
    folded = net.fold()
    assert kinds(folded) == left
    y = net.forward(rows())
    np.testing.assert_allclose(folded.forward(rows()), y, rtol=1e-12, atol=1e-12)
    assert repr(net) == shown
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    folded.parameters().flat[...] = 0
    for buffer in folded.buffers().values():
        buffer[...] = 0
    np.testing.assert_array_equal(net.forward(rows()), y, "the folded network shares arrays")


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_within_a_few_eps(reference, dtype):
    layers = Dense(6, 8, bias=False), BatchNorm(8, activation="relu"), Dense(8, 4), BatchNorm(4)
    net = trained(*layers, dtype=dtype, device=reference.device)
    folded = net.fold()
    assert folded.dtype == net.dtype
    assert folded.backend == net.backend
    y, z = (reference.to_numpy(each.forward(rows())).astype("float64") for each in (net, folded))
    assert np.abs(y - z).max() <= 32 * np.finfo(dtype).eps * np.abs(y).max()


def test_a_class_of_its_own_is_left_alone():
    class Mine(Dense):
        """One that may do something else."""

    class Own(BatchNorm):
        """Likewise."""

    net = trained(Mine(6, 8), BatchNorm(8), Dense(8, 8, activation="relu"), Own(8))
    assert kinds(net.fold()) == ["Mine", "Dense", "Own"]
    net = trained(Mine(6, 8), BatchNorm(8, activation="relu"), Dense(8, 8), Own(8))
    folded = net.fold()
    assert kinds(folded) == kinds(net)
    np.testing.assert_array_equal(folded.forward(rows()), net.forward(rows()))


def test_it_is_saved_and_loaded_like_any_other(tmp_path):
    net = trained(Dense(6, 8, bias=False), BatchNorm(8, activation="relu"), Dense(8, 3)).fold()
    save(tmp_path / "folded.safetensors", net)
    again = load(tmp_path / "folded.safetensors", device="cpu").net
    assert repr(again) == repr(net)
    np.testing.assert_array_equal(again.forward(rows()), net.forward(rows()))


def test_training_goes_on_without_the_normalization():
    net = trained(Dense(6, 8, bias=False), BatchNorm(8, activation="relu"), Dense(8, 3))
    folded = net.fold()
    x, labels = rows(), np.arange(17) % 3
    adam = Adam(folded.parameters(), lr=1e-2)
    history = fit(folded, (x, labels), loss=SoftmaxCrossEntropy(), optimizer=adam, epochs=20,
                  batch_size=17, progress=False)  # fmt: skip
    assert history.loss[-1] < history.loss[0]
    assert folded.least_rows == 1
    folded.forward(x[:1], train=True)


def test_random_numbers_go_on_where_they_were():
    net = trained(Dense(6, 8), BatchNorm(8), Dropout(0.5))
    folded = net.fold()
    assert folded.random_state() == {"1": net.random_state()["2"]}


def test_a_multilayer_network_has_none_left():
    net = multilayer(WIDTH, (8, 8), 3, batch_norm=True, device="cpu")
    net.forward(rows(), train=True)
    folded = net.fold()
    assert kinds(folded) == ["Dense"] * 3
    np.testing.assert_allclose(folded(rows()), net(rows()), rtol=1e-4, atol=1e-5)
