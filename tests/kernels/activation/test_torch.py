"""Activations, and layers made of them, against PyTorch: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from cases.activation import KINDS, make
from onepass import kernels
from onepass.nets import Dense, LeakyReLU, Linear, ReLU, Sequential, Sigmoid, Softmax, Tanh
from tolerances import LIMITS, assert_close

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)

THEIRS = {
    "linear": lambda z, slope: z,
    "relu": lambda z, slope: torch.relu(z),
    "leaky_relu": torch.nn.functional.leaky_relu,
    "sigmoid": lambda z, slope: torch.sigmoid(z),
    "tanh": lambda z, slope: torch.tanh(z),
}
FACTOR = 2.0  # both sides round


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients(kind, dtype):
    case = make((129, 37), kind, dtype)
    x, bias = (torch.from_numpy(a.copy()).requires_grad_() for a in (case.x, case.bias))
    want = THEIRS[kind](x + bias, case.slope)
    want.backward(torch.from_numpy(case.dy))
    options = {"slope": case.slope}
    y = kernels.activation_forward(case.x, kind, bias=case.bias, **options)
    limit = LIMITS[dtype][0] * FACTOR
    assert_close(y, want.detach().numpy(), dtype, limit=limit, what="y")
    sums = np.empty(37, dtype)
    dz = kernels.activation_backward(
        case.dy, want.detach().numpy(), kind, bias_grad=sums, **options
    )
    scale = np.abs(case.dy)  # where y is near 1, they square it, which leaves few digits
    assert_close(dz, x.grad.numpy(), dtype, scale=scale, limit=limit, what="dz")
    scale = scale.sum(axis=0)
    assert_close(sums, bias.grad.numpy(), dtype, scale=scale, limit=limit, what="bias_grad")


@pytest.mark.parametrize("value", [-np.inf, -0.0, 0.0, np.inf, np.nan])
@pytest.mark.parametrize("kind", KINDS)
def test_special_numbers(kind, value):
    x = np.full((2, 3), value, "float32")
    want = THEIRS[kind](torch.from_numpy(x), 0.5).numpy()
    np.testing.assert_array_equal(kernels.activation_forward(x, kind, slope=0.5), want)


LAYERS = {
    "linear": (Linear, torch.nn.Identity),
    "relu": (ReLU, torch.nn.ReLU),
    "leaky_relu": (lambda: LeakyReLU(0.2), lambda: torch.nn.LeakyReLU(0.2)),
    "sigmoid": (Sigmoid, torch.nn.Sigmoid),
    "tanh": (Tanh, torch.nn.Tanh),
    "softmax": (Softmax, lambda: torch.nn.Softmax(-1)),
}


@pytest.mark.parametrize(
    ("name", "fused"), [*((name, False) for name in LAYERS), *((kind, True) for kind in KINDS)]
)
def test_a_network(name, fused):
    ours, theirs = (make() for make in LAYERS[name])
    first = [Dense(5, 7, activation=name, slope=0.2)] if fused else [Dense(5, 7), ours]
    net = Sequential(*first, Dense(7, 3), seed=1, dtype="float64", device="cpu")
    layers = torch.nn.Linear(5, 7).double(), torch.nn.Linear(7, 3).double()
    places = (0, len(first))
    with torch.no_grad():
        for layer, place in zip(layers, places, strict=True):
            layer.weight.copy_(torch.from_numpy(net.parameters()[f"{place}.weight"].T.copy()))
            layer.bias.copy_(torch.from_numpy(net.parameters()[f"{place}.bias"].copy()))
    model = torch.nn.Sequential(layers[0], theirs, layers[1])
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((9, 5)), rng.standard_normal((9, 3))
    given = torch.from_numpy(x).requires_grad_()
    want = model(given)
    want.backward(torch.from_numpy(dy))
    np.testing.assert_allclose(net.forward(x, train=True), want.detach().numpy(), 1e-12)
    np.testing.assert_allclose(net.backward(dy), given.grad.numpy(), 1e-12, 1e-14)
    for layer, place in zip(layers, places, strict=True):
        for each, grad in (("weight", layer.weight.grad.T), ("bias", layer.bias.grad)):
            found = net.parameters().grads[f"{place}.{each}"]
            np.testing.assert_allclose(found, grad.numpy(), 1e-12, 1e-14)
