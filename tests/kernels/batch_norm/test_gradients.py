"""The oracle by hand, both passes by two-sided differences, and proof that limits see mistakes."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from cases.batch_norm import assert_batch_norm, in_memory_order, make
from oracles import batch_norm as batchnorm
from tolerances import DTYPES, GRADIENT_RATIO

# --- by hand --------------------------------------------------------------------------------------
# Channel 0 holds 1, 3, 5, 7: mean 4, variance (9 + 1 + 1 + 9)/4 = 5. Channel 1 is 2 throughout.
# eps = 4: the roots are 3 and 2. xhat = (-1, -1/3, 1/3, 1) and 0.
X = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0], [7.0, 2.0]])
GAMMA, BETA = np.array([3.0, 5.0]), np.array([-1.0, 0.5])
Z = np.array([[-4.0, 0.5], [-2.0, 0.5], [0.0, 0.5], [2.0, 0.5]])


def test_oracle_forward_by_hand():
    batch = batchnorm.forward(X, GAMMA, BETA, eps=4.0)
    np.testing.assert_allclose(batch.y, Z, atol=1e-15)
    assert batch.mean.tolist() == [4.0, 2.0]
    assert batch.var.tolist() == [5.0, 0.0]
    assert batch.inv_std.tolist() == [1 / 3, 0.5]
    relu = batchnorm.forward(X, GAMMA, BETA, eps=4.0, activation="relu").y
    np.testing.assert_allclose(relu, np.maximum(Z, 0.0), atol=1e-15)
    plain = batchnorm.forward(X.T, eps=4.0, channel_axis=0).y
    np.testing.assert_allclose(plain, [[-1, -1 / 3, 1 / 3, 1], [0, 0, 0, 0]], atol=1e-15)


def test_oracle_running_statistics_by_hand():
    batch = batchnorm.forward(X, GAMMA, BETA, eps=4.0)
    mean, var = batchnorm.running_statistics([0.0, 10.0], [1.0, 4.0], batch, 4, momentum=0.25)
    assert mean.tolist() == [1.0, 8.0]  # 3/4 * 10 + 1/4 * 2
    assert var.tolist() == pytest.approx([0.75 + 0.25 * 20 / 3, 3.0], rel=1e-15)


def test_oracle_inference_by_hand():
    y = batchnorm.inference(X, GAMMA, BETA, [4.0, 0.0], [5.0, 21.0], eps=4.0)
    np.testing.assert_allclose(y, np.column_stack([Z[:, 0], [2.5] * 4]), atol=1e-15)


def test_oracle_backward_by_hand():
    """dy = (1, 0, 0, 0): dbeta = 1, dgamma = -1; dx = (gamma/root)(dy - 1/4 + xhat/4)."""
    dy = np.zeros((4, 2))
    dy[0] = 1.0
    dx, dgamma, dbeta = batchnorm.backward(dy, X, GAMMA, BETA, eps=4.0)
    np.testing.assert_allclose(dx[:, 0], [0.5, -1 / 3, -1 / 6, 0.0], atol=1e-15)
    np.testing.assert_allclose(dx[:, 1], [1.875, -0.625, -0.625, -0.625], atol=1e-15)
    np.testing.assert_allclose(dgamma, [-1.0, 0.0], atol=1e-15)
    assert dbeta.tolist() == [1.0, 1.0]
    # the relu's gradient at z = -4 is 0, so nothing is left of channel 0
    dx, dgamma, dbeta = batchnorm.backward(dy, X, GAMMA, BETA, eps=4.0, activation="relu")
    assert not dx[:, 0].any()
    assert (dgamma[0], *dbeta) == (0.0, 0.0, 1.0)


# --- two-sided differences ------------------------------------------------------------------------
def two_sided(function, array, h=1e-5):
    """d function / d array by (f(a + h) - f(a - h)) / 2h, element by element."""
    slope = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + h
        high = function()
        array[index] = kept - h
        slope[index] = (high - function()) / (2 * h)
        array[index] = kept
    return slope


def ratio(approx, grad):
    difference = np.linalg.norm(approx - grad)
    return difference / (np.linalg.norm(approx) + np.linalg.norm(grad))


def smooth_case(shape, channel_axis, activation, order=None):
    """A case in which every z is far from the relu's kink, compared with the step h."""
    for seed in itertools.count():
        case = make(
            shape, channel_axis, dtype="float64", activation=activation, order=order, seed=seed
        )
        z = batchnorm.forward(case.x, case.gamma, case.beta, **case.options).z
        if np.abs(z).min() > 2e-3:
            if activation:
                assert 0.2 < (z > 0).mean() < 0.8
            return case._replace(dy=np.random.default_rng(seed).standard_normal(shape))


CASES = [
    ((6, 3), 1, None),
    ((2, 3, 7), 1, None),
    ((3, 2, 2, 4), -1, None),
    ((3, 5, 4), 0, None),
    ((2, 3, 2, 3), 1, (0, 2, 3, 1)),
]


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(("shape", "channel_axis", "order"), CASES)
def test_oracle_gradients_agree_with_two_sided_differences(shape, channel_axis, order, activation):
    case = smooth_case(shape, channel_axis, activation, order)
    x, dy, gamma, beta = case[:4]

    def loss():
        return float((batchnorm.forward(x, gamma, beta, **case.options).y * dy).sum())

    grads = batchnorm.backward(dy, x, gamma, beta, **case.options)
    for array, grad in zip((x, gamma, beta), grads, strict=True):
        assert ratio(two_sided(loss, array), grad) < GRADIENT_RATIO


@pytest.mark.slow
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(("shape", "channel_axis", "order"), CASES)
def test_gradients_agree_with_two_sided_differences(engine, shape, channel_axis, order, activation):
    if "float64" not in engine.dtypes:
        pytest.skip(f"{engine.name} does not take float64")
    case = smooth_case(shape, channel_axis, activation, order)
    forward, backward = engine.kernel("batch_norm_forward"), engine.kernel("batch_norm_backward")
    host = [np.copy(array, order="K") for array in (case.x, case.gamma, case.beta)]

    def run():
        return forward(*map(engine.asarray, host), **case.options)

    def loss():
        return float((engine.to_numpy(run()[0]) * case.dy).sum())

    dy = engine.asarray(in_memory_order(case.dy, order))
    grads = map(engine.to_numpy, backward(dy, run()[1]))
    for name, array, grad in zip(("x", "gamma", "beta"), host, grads, strict=True):
        assert ratio(two_sided(loss, array), grad) < GRADIENT_RATIO, name


# --- mistakes people make, each of which the limits must see at every dtype -----------------------
def implementation(mistake=""):
    """Both passes from the oracle, computed in float64 and rounded once, with one mistake."""

    def forward(x, gamma, beta, running_mean, running_var, *, momentum, **options):
        m = x.size // x.shape[options["channel_axis"]]
        batch = batchnorm.forward(x, gamma, beta, **options)
        y, mean, var, inv_std = batch.y, batch.mean, batch.var, batch.inv_std
        if mistake == "unbiased variance normalizes":
            inv_std = 1 / np.sqrt(var * m / (m - 1) + options["eps"])
        if mistake == "eps outside the root":
            inv_std = 1 / (np.sqrt(var) + options["eps"])
        if mistake == "eps left out":
            inv_std = 1 / np.sqrt(var)
        if mistake == "last value left out of the mean":
            mean = mean - batchnorm.rows(x, options["channel_axis"])[:, -1] / m
        if mean is not batch.mean or inv_std is not batch.inv_std:
            fixed = options | {"eps": 0.0}
            y = batchnorm.inference(x, gamma, beta, mean, inv_std**-2, **fixed)
        if mistake == "no activation":
            y = batch.z
        stored = batch._replace(
            var=var * (m - 1) / m if mistake == "biased variance stored" else var,
            mean=mean,
        )
        weight = 1 - momentum if mistake == "momentum turned round" else momentum
        news = batchnorm.running_statistics(running_mean, running_var, stored, m, weight)
        running_mean[...], running_var[...] = news
        compute = "float64" if x.dtype == "float64" else "float32"
        saved = SimpleNamespace(mean=mean.astype(compute), inv_std=inv_std.astype(compute))
        saved.again = (x.copy(), gamma, beta, options)
        if mistake == "x is normalized in place":
            x[...] = y
        return y.astype(x.dtype), saved

    def backward(dy, saved):
        x, gamma, beta, options = saved.again
        axis = options["channel_axis"]
        if mistake == "activation forgotten in the gradient":
            options = options | {"activation": None}
        dx, dgamma, dbeta = batchnorm.backward(dy, x, gamma, beta, **options)
        if mistake == "activation forgotten in dgamma":
            dgamma = batchnorm.backward(dy, x, gamma, beta, eps=options["eps"], channel_axis=axis)[
                1
            ]
        m = x.size // x.shape[axis]
        batch = batchnorm.forward(x, None, None, eps=options["eps"], channel_axis=axis)
        xhat, rate = batchnorm.rows(batch.z, axis), (gamma * batch.inv_std / m)[:, None]
        extra = {
            "xhat term missing in dx": rate * xhat * dgamma[:, None],
            "dbeta term missing in dx": rate * dbeta[:, None] + 0 * xhat,
            "dx divided by m - 1": batchnorm.rows(dx, axis) / (m - 1),
            "gamma missing in dx": batchnorm.rows(dx, axis) * (1 / np.float64(gamma) - 1)[:, None],
        }.get(mistake, 0 * xhat)
        dx = dx + batchnorm.from_rows(extra, x.shape, axis)
        if mistake == "dgamma with x for xhat":
            dgamma = dgamma / batch.inv_std + batch.mean * dbeta
        if mistake == "dbeta is a mean":
            dbeta = dbeta / m
        return dx.astype(x.dtype), dgamma.astype(gamma.dtype), dbeta.astype(beta.dtype)

    return forward, backward


MISTAKES = {
    "unbiased variance normalizes": "y",
    "eps outside the root": "y",
    "eps left out": "y",
    "last value left out of the mean": "y",
    "no activation": "y",
    "biased variance stored": "running_var",
    "momentum turned round": "running_mean",
    "activation forgotten in the gradient": "dx",
    "activation forgotten in dgamma": "dgamma",
    "xhat term missing in dx": "dx",
    "dbeta term missing in dx": "dx",
    "dx divided by m - 1": "dx",
    "gamma missing in dx": "dx",
    "dgamma with x for xhat": "dgamma",
    "dbeta is a mean": "dbeta",
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_limits_catch_a_mistake_and_pass_the_oracle(mistake, dtype):
    case = make((4, 3, 6, 5), dtype=dtype, activation="relu")
    assert_batch_norm(*implementation(), case)
    with pytest.raises(AssertionError, match=f"{MISTAKES[mistake]}: element .* eps of"):
        assert_batch_norm(*implementation(mistake), case)


def test_limits_catch_a_written_input():
    with pytest.raises(AssertionError, match="x was written"):
        assert_batch_norm(*implementation("x is normalized in place"), make((8, 3)))


@pytest.mark.parametrize("m", [1000, 100_000])
def test_limits_catch_one_value_left_out_of_many(m):
    case = make((m, 2), dtype="float32")
    assert_batch_norm(*implementation(), case)
    with pytest.raises(AssertionError, match="eps of float32"):
        assert_batch_norm(*implementation("last value left out of the mean"), case)


def test_ratio_of_two_sided_differences_sees_a_small_mistake():
    grad = np.random.default_rng(0).standard_normal(60)
    assert ratio(grad * (1 + 1e-6), grad) > GRADIENT_RATIO
    assert math.isclose(ratio(grad, 0.5 * grad), 1 / 3)
