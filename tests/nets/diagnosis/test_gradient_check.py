"""The gradient check: right gradients pass, planted mistakes are named, nothing stays changed."""

from __future__ import annotations

import numpy as np
import pytest
from cases.layers import LAYERS
from onepass import nets
from onepass.nets import (
    L1,
    L2,
    BatchNorm,
    BinaryCrossEntropy,
    Dense,
    Dropout,
    Huber,
    Layer,
    Loss,
    MeanSquaredError,
    Poisson,
    Regularizer,
    ReLU,
    Sequential,
    Sigmoid,
    SoftmaxCrossEntropy,
    Tanh,
    gradient_check,
)
from tolerances import GRADIENT_RATIO

#         outputs, targets of n rows
LOSSES = {
    SoftmaxCrossEntropy: (3, lambda rng, n: rng.integers(0, 3, n)),
    BinaryCrossEntropy: (1, lambda rng, n: rng.integers(0, 2, n)),
    MeanSquaredError: (2, lambda rng, n: rng.standard_normal((n, 2))),
    Huber: (2, lambda rng, n: 2 * rng.standard_normal((n, 2))),
    Poisson: (2, lambda rng, n: rng.poisson(2.0, (n, 2))),
}
REGULARIZERS = [None, L1(0.3), L2(0.3), [L1(0.1, biases=True), L2(0.2)]]


def problem(loss, *middle, n=8, seed=0):
    """net, x, y: Dense(4, 5), the middle, and a Dense as wide as the loss wants."""
    width, targets = LOSSES[loss]
    rng = np.random.default_rng(seed)
    layers = Dense(4, 5, init="glorot"), *middle, Dense(5, width)
    net = Sequential(*layers, seed=seed, dtype="float64", device="cpu")
    for name, value in net.parameters().items():
        if name.endswith("bias"):  # zeros would hide mistakes
            value[...] = rng.standard_normal(value.shape)
    return net, rng.standard_normal((n, 4)), targets(rng, n)


def exported(kind):
    found = [getattr(nets, name) for name in nets.__all__]
    return {thing for thing in found if isinstance(thing, type) and issubclass(thing, kind)}


def test_every_loss_and_regularizer_is_checked():
    assert set(LOSSES) == exported(Loss) - {Loss}
    assert {L1, L2} == exported(Regularizer) - {Regularizer}


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_composed_networks(loss, regularizer):
    middle = Tanh(), Dense(5, 6, bias=False), BatchNorm(6), Sigmoid(), Dense(6, 5), ReLU()
    net, x, y = problem(loss, *middle)
    found = gradient_check(net, x, y, loss(), regularizer)
    assert found.ratio < GRADIENT_RATIO, found
    assert found.verdict == "right"


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_in_a_network(name):
    rng = np.random.default_rng(0)
    layer = LAYERS[name]()
    layers = Dense(6, 4), Tanh(), layer, Dense(layer.out_features or 4, 3)
    net = Sequential(*layers, seed=3, dtype="float64", device="cpu")
    x, y = rng.standard_normal((7, 6)), rng.integers(0, 3, 7)
    found = gradient_check(net, x, y, SoftmaxCrossEntropy(), L2(0.1))
    assert found.ratio < GRADIENT_RATIO, found


class Faulty(Dense):
    """A Dense layer whose gradient of one parameter is off by a factor."""

    def __init__(self, name, factor):
        super().__init__(5, 5)
        self.name, self.factor = name, factor

    def backward(self, dy, input_grad=True):
        dx = super().backward(dy, input_grad)
        self.grads[self.name][...] *= self.factor
        return dx


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.0, "right"), (1 + 1e-5, "probably right"), (1 + 1e-3, "look again"), (1.1, "wrong"),
     (-1.0, "wrong"), (np.nan, "wrong")],
)  # fmt: skip
def test_a_planted_mistake_is_told_by_its_size_and_named(name, factor, verdict):
    net, x, y = problem(MeanSquaredError, Tanh(), Faulty(name, factor))
    found = gradient_check(net, x, y, MeanSquaredError())
    assert found.verdict == verdict, found
    if factor != 1:
        assert found.worst == f"2.{name}"
        assert f"2.{name}" in str(found)


def test_the_penalty_is_part_of_the_cost():
    """Without it in J, or without it in the gradient, the ratio would be far off."""

    class Forgotten(L2):
        def add_gradient(self, net, m):
            pass

    net, x, y = problem(SoftmaxCrossEntropy)
    assert gradient_check(net, x, y, SoftmaxCrossEntropy(), L2(1.0)).verdict == "right"
    assert gradient_check(net, x, y, SoftmaxCrossEntropy(), Forgotten(1.0)).verdict == "wrong"


class Noise(Layer):
    """Adds noise in training, and counts how often."""

    stochastic = True
    calls = 0

    def forward(self, x, train=False):
        self.calls += train
        return x + np.random.default_rng(self.calls).standard_normal(x.shape) * train

    def backward(self, dy, input_grad=True):
        return dy


def test_dropout_is_off_and_draws_nothing():
    net, x, y = problem(SoftmaxCrossEntropy, Tanh(), Dropout(0.5))
    state = net.layers[2].state()
    assert gradient_check(net, x, y, SoftmaxCrossEntropy(), L2(0.1)).ratio < GRADIENT_RATIO
    assert net.layers[2].state() == state


def test_layers_that_draw_random_numbers_are_left_out():
    noise = Noise()
    net, x, y = problem(SoftmaxCrossEntropy, Tanh(), noise)
    assert gradient_check(net, x, y, SoftmaxCrossEntropy()).verdict == "right"
    assert noise.calls == 0
    Noise.stochastic = False
    try:
        assert gradient_check(net, x, y, SoftmaxCrossEntropy()).verdict == "wrong"
    finally:
        Noise.stochastic = True


def test_parameters_and_running_statistics_stay_as_they_are_to_the_bit():
    net, x, y = problem(SoftmaxCrossEntropy, BatchNorm(5), ReLU())
    net.forward(x, train=True)  # running statistics that are not the first ones
    kept = {name: value.tobytes() for name, value in net.state_dict().items()}
    x_kept, y_kept = x.tobytes(), y.tobytes()
    gradient_check(net, x, y, SoftmaxCrossEntropy(), L2(0.1))
    assert {name: value.tobytes() for name, value in net.state_dict().items()} == kept
    assert (x.tobytes(), y.tobytes()) == (x_kept, y_kept)


def test_they_do_where_it_fails_midway_too():
    class Fails(Tanh):
        calls = 0

        def forward(self, x, train=False):
            self.calls += 1
            if self.calls == 9:
                raise RuntimeError("planted")
            return super().forward(x, train)

    net, x, y = problem(SoftmaxCrossEntropy, BatchNorm(5), Fails())
    kept = {name: value.tobytes() for name, value in net.state_dict().items()}
    with pytest.raises(RuntimeError, match="planted"):
        gradient_check(net, x, y, SoftmaxCrossEntropy())
    assert {name: value.tobytes() for name, value in net.state_dict().items()} == kept


def test_a_gradient_of_zero_that_is_right():
    net = Sequential(Dense(2, 3, init="zeros"), Tanh(), Dense(3, 1), dtype="float64", device="cpu")
    net.parameters().flat[...] = 0
    found = gradient_check(net, np.ones((2, 2)), np.zeros(2), MeanSquaredError())
    assert (found.ratio, found.verdict) == (0.0, "right")


def test_on_each_device(reference):
    rng = np.random.default_rng(0)
    layers = Dense(3, 4), BatchNorm(4), Tanh(), Dense(4, 2)
    net = Sequential(*layers, dtype="float64", device=reference.device)
    x, y = rng.standard_normal((6, 3)), rng.integers(0, 2, 6)
    assert gradient_check(net, x, y, SoftmaxCrossEntropy(), L1(0.1)).ratio < GRADIENT_RATIO


def refused():
    x, y = np.ones((4, 4)), np.array([0, 1, 2, 0])
    yield {}, TypeError, r"net is float32; expected float64.*dtype='float64'"
    yield {"net": Sequential(Tanh(), dtype="float64", device="cpu")}, ValueError, "without param"
    good = problem(SoftmaxCrossEntropy)[0]
    yield {"net": good, "epsilon": 0}, ValueError, "epsilon is 0; expected a finite number > 0"
    yield {"net": good, "loss": SoftmaxCrossEntropy}, TypeError, "expected an instance such as"
    yield {"net": good, "regularizer": 0.1}, TypeError, "regularizer is 0.1"
    yield {"net": good, "x": x[:, :2]}, ValueError, r"x of data has shape \(4, 2\)"
    yield {"net": good, "x": x * np.nan}, ValueError, "x of data holds values that are not finite"
    yield {"net": good, "y": y + 1}, ValueError, r"y of data: labels hold 3; expected 0\.\.2"
    normed = problem(SoftmaxCrossEntropy, BatchNorm(5))[0]
    yield {"net": normed, "x": x[:1], "y": y[:1]}, ValueError, "data has 1 sample, but"


@pytest.mark.parametrize(("change", "error", "message"), list(refused()))
def test_refuses(change, error, message):
    net = Sequential(Dense(4, 3), device="cpu")
    given = {"net": net, "x": np.ones((4, 4)), "y": np.array([0, 1, 2, 0])}
    with pytest.raises(error, match=message):
        gradient_check(**{"loss": SoftmaxCrossEntropy(), **given, **change})
