"""The oracle of norms against central differences, numbers by hand, and PyTorch in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases.norms import OPERATIONS, assert_right, make
from tolerances import DTYPES

from oracles import norms as oracle

# operation, shape, options
CASES = {
    "layer norm": ("layer_norm", (4, 5), {}),
    "layer norm, three axes": ("layer_norm", (2, 3, 5), {"normalized_shape": 5}),
    "layer norm over two axes": ("layer_norm", (3, 2, 4), {"normalized_shape": (2, 4)}),
    "layer norm over all": ("layer_norm", (3, 4), {"normalized_shape": (3, 4), "eps": 0.1}),
    "RMS norm": ("rms_norm", (4, 5), {}),
    "RMS norm over two axes": ("rms_norm", (3, 2, 4), {"normalized_shape": (2, 4), "eps": 0.1}),
    "group norm": ("group_norm", (3, 6), {"groups": 2}),
    "instance norm": ("group_norm", (2, 3, 4), {"groups": 3}),
    "one group": ("group_norm", (2, 3, 4), {"groups": 1, "eps": 0.1}),
    "group norm of images": ("group_norm", (2, 4, 3, 2), {"groups": 2}),
}


def made(name, residual=False, seed=0):
    operation, shape, options = CASES[name]
    rng = np.random.default_rng(seed)
    x, dy, other = rng.standard_normal((3, *shape))
    vector = oracle.norm_of(operation, x, **options).vector
    gamma, beta = rng.standard_normal((2, *vector))
    beta = None if operation == "rms_norm" else beta
    return operation, x, dy, gamma, beta, other if residual else None, options


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_gradients_by_central_differences(name, residual, activation):
    operation, x, dy, gamma, beta, other, options = made(name, residual)
    options = {**options, "activation": activation}
    z = oracle.forward(operation, x, gamma, beta, residual=other, **options).z
    assert np.abs(z).min() > 1e-4, "too near the kink"
    found = oracle.backward(operation, dy, x, gamma, beta, residual=other, **options)

    def cost(arrays):
        x, gamma, beta, other = arrays
        y = oracle.forward(operation, x, gamma, beta, residual=other, **options).y
        return float((y * dy).sum())

    given = [x, gamma, beta, other]
    for k, gradient in enumerate((*found, found.dx)):
        if given[k] is None:
            continue
        approx = np.empty_like(given[k])
        for place in np.ndindex(given[k].shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = list(given)
                moved[k] = given[k].copy()
                moved[k][place] += step
                sides.append(cost(moved))
            approx[place] = (sides[0] - sides[1]) / 2e-5
        np.testing.assert_allclose(gradient, approx, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_equals_pytorch(name, bare, activation):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    operation, x, dy, gamma, beta, other, options = made(name, True)
    gamma, beta = (None, None) if bare else (gamma, beta)
    found = oracle.forward(
        operation, x, gamma, beta, residual=other, activation=activation, **options
    )
    given = [None if a is None else torch.tensor(a, requires_grad=True)
             for a in (x, gamma, beta, other)]  # fmt: skip
    functional, total = torch.nn.functional, given[0] + given[3]
    if operation == "group_norm":
        y = functional.group_norm(
            total, options["groups"], *given[1:3], eps=options.get("eps", 1e-5)
        )
    else:
        last = tuple(np.atleast_1d(options.get("normalized_shape", x.shape[-1])).tolist())
        if operation == "rms_norm":
            y = functional.rms_norm(total, last, given[1], eps=options.get("eps"))
        else:
            y = functional.layer_norm(total, last, *given[1:3], eps=options.get("eps", 1e-5))
    y = y if activation is None else getattr(functional, activation)(y)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(found.y, y.detach().numpy(), rtol=1e-12, atol=1e-13)
    gradients = oracle.backward(
        operation, dy, x, gamma, beta, residual=other, activation=activation, **options
    )
    for ours, theirs in zip((*gradients, gradients.dx), given, strict=True):
        if theirs is not None:
            np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-11, atol=1e-12)


def test_by_hand():
    """The row 1, 2, 3, 6: mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5, mean square 12.5."""
    x = np.array([[1.0, 2.0, 3.0, 6.0]])
    gamma, beta = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 0.0, 0.0, -1.0])
    root = math.sqrt(3.5 + 0.5)
    want = [[1 - 2 / root, -2 / root, 0, 12 / root - 1]]
    np.testing.assert_allclose(oracle.forward("layer_norm", x, gamma, beta, eps=0.5).y, want)
    want = [[1 / 5, 4 / 5, 9 / 5, 24 / 5]]  # the square root of 12.5 + 12.5
    np.testing.assert_allclose(oracle.forward("rms_norm", x, gamma, eps=12.5).y, want)
    # groups 1, 2 and 3, 6: deviations 0.5 and 1.5
    found = oracle.forward("group_norm", x, groups=2, eps=1e-30).y
    np.testing.assert_allclose(found, [[-1, 1, -1, 1]])


def test_activations_by_hand():
    z = np.array([-1.0, 0.0, 2.0])
    sigmoid = 1 / (1 + math.exp(1)), 0.5, 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(oracle.activated(z, "relu"), [0, 0, 2])
    np.testing.assert_allclose(oracle.activated(z, "silu"), z * sigmoid)
    want = [-0.15865525393145707, 0, 2 * 0.9772498680518208]  # tables of the normal distribution
    np.testing.assert_allclose(oracle.activated(z, "gelu"), want, rtol=1e-14)
    assert np.isnan(oracle.activated(np.array([np.nan]), "relu"))


def test_the_eps_of_rms_norm_is_that_of_the_dtype():
    for dtype in ("float16", "float32", "float64"):
        found = oracle.forward("rms_norm", np.zeros((1, 2), dtype) + 1).y
        want = 1 / math.sqrt(1 + float(np.finfo(dtype).eps))
        np.testing.assert_allclose(found, want, rtol=1e-15)


def test_a_constant_row_gives_beta_and_no_gradient():
    x, dy = np.full((2, 5), 7.25), np.arange(10.0).reshape(2, 5)
    beta = np.arange(5.0)
    assert (oracle.forward("layer_norm", x, None, beta).y == beta).all()
    found = oracle.backward("layer_norm", dy, x)
    np.testing.assert_allclose(found.dx.sum(axis=1), 0, atol=1e-12)
    assert (found.dgamma == 0).all()


# --- proof that the limits catch mistakes ---------------------------------------------------------
def results(case, **changed):
    """The oracle's own y, dx, dgamma and dbeta, of changed arrays or options."""
    given = {**case.arrays, **case.options} | changed
    y = oracle.forward(case.operation, **given).y
    return [y, *oracle.backward(case.operation, case.dy, **given)]


def without_eps(case):
    return results(case, eps=1e-30)


def unbiased(case):
    """n - 1 in place of n, in y."""
    n = case.norm.values
    return results(case, gamma=case.gamma * math.sqrt((n - 1) / n))[:1]


def eps_of_the_root(case):
    """Added to the deviation, in y."""
    x = case.norm.rows(case.x) + (0 if case.residual is None else case.norm.rows(case.residual))
    away, root = case.norm.center(x)
    wrong = np.sqrt(root**2 - case.norm.eps) + case.norm.eps
    z = case.norm.over_all(case.gamma, 1.0) * away / wrong + case.norm.over_all(case.beta, 0.0)
    return [case.norm.whole(oracle.activated(z, case.options["activation"]))]


def approximate_gelu(case):
    z = oracle.forward(case.operation, **case.arrays, **case.options).z
    inner = math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
    return [0.5 * z * (1 + np.tanh(inner))]


def root_taken_for_a_constant(case):
    """dx without the gradient that comes by the deviation."""
    y, norm = results(case)[0], case.norm
    _, root = norm.center(norm.rows(case.x))
    g = norm.rows(case.dy) * norm.over_all(case.gamma, 1.0) / root
    return [y, norm.whole(g - norm.mean(g) if norm.centered else g)]


def gradient_past_the_activation(case):
    return results(case)[:1] + results(case, activation=None)[1:]


def beta_left_out(case):
    return results(case, beta=None)[:1]


def row_left_out(case):
    """Of the sums over rows."""
    found, less = results(case), case._replace(dy=case.dy.copy())
    less.dy[-1] = 0
    return found[:2] + results(less)[2:]


def results_of(mistake, case):
    found = mistake(case)[: 3 if case.operation == "rms_norm" else 4]
    return [np.asarray(each).astype(case.x.dtype) for each in found]


MISTAKES = {
    without_eps: (None, "y"),
    unbiased: (None, "y"),
    eps_of_the_root: (None, "y"),
    approximate_gelu: ("gelu", "y"),
    root_taken_for_a_constant: (None, "dx"),
    gradient_past_the_activation: ("silu", "dx"),
    beta_left_out: (None, "y"),
    row_left_out: (None, "dgamma"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_seen(mistake, operation, dtype):
    if mistake is beta_left_out and operation == "rms_norm":
        pytest.skip("RMS norm has no beta")
    activation, where = MISTAKES[mistake]
    case = make(operation, dtype=dtype, activation=activation)
    assert_right(case, results_of(results, case))
    with pytest.raises(AssertionError, match=f"^{where}: element"):
        assert_right(case, results_of(mistake, case))
