"""L1 and L2: the formulas, what they leave out, and that they train as the course says."""

from __future__ import annotations

import numpy as np
import pytest
from cases.training import bits, data, network, train
from onepass.nets import L1, L2, SGD, BatchNorm, Dense, Sequential, SoftmaxCrossEntropy

LOSS = SoftmaxCrossEntropy()


def normed(dtype="float64", device="cpu"):
    """A network with every kind of parameter, none of them zero."""
    layers = Dense(3, 4), BatchNorm(4), Dense(4, 2)
    net = Sequential(*layers, seed=1, dtype=dtype, device=device)
    values = np.random.default_rng(2).uniform(0.5, 2.0, net.parameters().flat.shape)
    signs = np.where(np.arange(values.size) % 2, 1.0, -1.0)
    net.parameters().flat[...] = net.backend.asarray((values * signs).astype(dtype))
    return net


def expected(net, regularizer, m):
    """(penalty, {name: gradient}) by Python's floats and the formula."""
    penalty, gradients = 0.0, {}
    for name, w in net.state_dict().items():
        if name not in net.parameters():
            continue
        counted = regularizer.biases or name.endswith("weight")
        w = w.astype("float64") * counted
        if isinstance(regularizer, L2):
            penalty += regularizer.lam / (2 * m) * sum(v * v for v in w.ravel().tolist())
            gradients[name] = regularizer.lam / m * w
        else:
            penalty += regularizer.lam / m * sum(abs(v) for v in w.ravel().tolist())
            gradients[name] = regularizer.lam / m * np.sign(w)
    return penalty, gradients


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("regularizer", [L1(0.3), L2(0.3), L1(0.3, biases=True), L2(3, True)])
def test_equals_the_formula(reference, regularizer, dtype):
    net = normed(dtype, reference.device)
    net.parameters().flat_grads[...] = 1
    kept = bits(net)
    penalty, gradients = expected(net, regularizer, 7)
    found = regularizer.penalty(net, 7)
    assert found.shape == ()
    assert float(found) == pytest.approx(penalty, rel=1e-12 if dtype == "float64" else 1e-6)
    regularizer.add_gradient(net, 7)
    rounding = 2 * float(np.finfo(dtype).eps)
    for name, gradient in gradients.items():
        added = reference.to_numpy(net.parameters().grads[name])
        np.testing.assert_allclose(added, 1 + gradient, rtol=rounding, err_msg=name)
    assert bits(net) == kept, "the parameters were written"


def test_a_penalty_that_float16_could_not_add_up():
    net = Sequential(Dense(256, 256, bias=False), dtype="float16", device="cpu")
    net.parameters().flat[...] = 100
    assert float(L2(2.0).penalty(net, 1)) == 256 * 256 * 1e4
    assert float(L1(1.0).penalty(net, 1)) == 256 * 256 * 100
    net.parameters().flat_grads[...] = 0
    L2(1e-4).add_gradient(net, 1000)  # 1e-7 would be a denormal in float16, off by a fifth
    np.testing.assert_allclose(net.parameters().flat_grads, 1e-5, rtol=0.01)


def test_l1_of_a_weight_that_is_zero_adds_nothing():
    net = Sequential(Dense(2, 1, bias=False), dtype="float64", device="cpu")
    net.parameters()["0.weight"][...] = [[0.0], [-3.0]]
    net.parameters().flat_grads[...] = 0
    L1(2.0).add_gradient(net, 4)
    np.testing.assert_array_equal(net.parameters().grads["0.weight"], [[0.0], [-0.5]])


@pytest.mark.parametrize("batch_size", [60, 16])
def test_l2_is_weight_decay_for_plain_gradient_descent(batch_size):
    """W := (1 - lr lambda/m) W - lr dW, biases without the factor; m is the whole set."""
    lam, lr, (x, y) = 3.0, 0.5, data()
    net, by_hand = network(dtype="float64"), network(dtype="float64")
    optimizer = SGD(net.parameters(), lr=lr)
    train(net, (x, y), optimizer=optimizer, regularizer=L2(lam), epochs=2, batch_size=batch_size)
    rng = np.random.default_rng(0)
    for _ in range(2):
        order = rng.permutation(60)
        for start in range(0, 60, batch_size):
            rows = order[start : start + batch_size]
            _, gradient = LOSS(by_hand.forward(x[rows], train=True), y[rows])
            by_hand.backward(gradient)
            for name, w in by_hand.parameters().items():
                decay = 1 - lr * lam / 60 if w.ndim == 2 else 1.0
                w[...] = decay * w - lr * by_hand.parameters().grads[name]
    for name, w in net.parameters().items():
        np.testing.assert_allclose(w, by_hand.parameters()[name], rtol=1e-11, atol=1e-14)


def test_l2_of_everything_is_the_optimizers_weight_decay():
    one, two = network(dtype="float64"), network(dtype="float64")
    train(one, regularizer=L2(3.0, biases=True))
    train(two, optimizer=SGD(two.parameters(), lr=0.1, weight_decay=3.0 / 60))
    np.testing.assert_allclose(one.parameters().flat, two.parameters().flat, rtol=1e-11)


def test_the_reported_loss_is_the_cost_and_validation_has_no_penalty():
    net, pair = network(dtype="float64"), data()
    plain = float(LOSS(net(pair[0]), pair[1])[0])
    cost = plain + float(L2(5.0).penalty(net, 60)) + float(L1(0.1).penalty(net, 60))
    still = SGD(net.parameters(), lr=0.0)
    _, history = train(
        net, pair, optimizer=still, regularizer=[L2(5.0), L1(0.1)], epochs=1, validation=pair
    )
    assert history.loss[0] == pytest.approx(cost, rel=1e-12)
    assert history.val_loss[0] == pytest.approx(plain, rel=1e-12)
    assert cost > 1.1 * plain


def test_both_make_weights_small():
    def sizes(regularizer):
        net, _ = train(regularizer=regularizer, epochs=60)
        return np.abs(net.parameters()["0.weight"])

    free, squared, absolute = sizes(None), sizes(L2(3.0)), sizes(L1(3.0))
    assert squared.sum() < 0.8 * free.sum()
    assert (absolute < 0.02).sum() > 4 > (free < 0.02).sum()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: L2(-1), ValueError, "lam is -1; expected a finite number >= 0"),
        (lambda: L1(np.nan), ValueError, "lam is nan"),
        (lambda: L2("1"), TypeError, "lam is '1'"),
        (lambda: L2(1, biases=2), TypeError, "biases is 2"),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("given", [0.1, "l2", L2, [L2(1.0), 0.1]])
def test_fit_refuses_what_is_no_regularizer_before_anything_is_written(given):
    net = network()
    kept = bits(net)
    with pytest.raises(TypeError, match=r"regularizer is .*; expected one such as L2\(0.1\)"):
        train(net, regularizer=given)
    assert bits(net) == kept


def test_names():
    assert repr([L1(0.5), L2(2, biases=True)]) == "[L1(0.5), L2(2.0, biases=True)]"
