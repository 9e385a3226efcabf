"""Activations, and layers made of them, against PyTorch: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from cases.activation import KINDS, make
from onepass import kernels
from onepass.nets import (
    ELU,
    GELU,
    Dense,
    LeakyReLU,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from oracles import activation as oracle
from tolerances import LIMITS, assert_close

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)

functional = torch.nn.functional
THEIRS = {
    "linear": lambda z: z,
    "relu": torch.relu,
    "leaky_relu": lambda z, slope=0.01: functional.leaky_relu(z, slope),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh"),
    "silu": functional.silu,
    "softplus": functional.softplus,
}
FACTOR = 2.0  # both sides round


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients(kind, dtype):
    case = make((129, 37), kind, dtype)
    x, bias = (torch.from_numpy(a.copy()).requires_grad_() for a in (case.x, case.bias))
    want = THEIRS[kind](x + bias, **case.options)
    want.backward(torch.from_numpy(case.dy))
    options = {"bias": case.bias, **case.options}
    y = kernels.activation_forward(case.x, kind, **options)
    limit = LIMITS[dtype][0] * FACTOR
    scale = oracle.size(case.z, kind, dtype, **case.options)
    if kind.startswith("gelu"):  # they take 1 + erf or 1 + tanh, which leaves few digits
        scale = np.maximum(scale, np.abs(case.z))
    assert_close(y, want.detach().numpy(), dtype, scale=scale, limit=limit, what="y")
    sums = np.empty(37, dtype)
    told = case.x if kind in oracle.FROM_Z else want.detach().numpy()
    dz = kernels.activation_backward(case.dy, told, kind, bias_grad=sums, **options)
    scale = np.abs(case.dy)  # where y is near 1, they square it, which leaves few digits
    scale = scale * (1 + oracle.size(case.z, kind, dtype, True, **case.options))
    if kind == "gelu_tanh":
        scale = scale * (1 + np.abs(case.z**3))
    assert_close(dz, x.grad.numpy(), dtype, scale=scale, limit=limit, what="dz")
    scale = scale.sum(axis=0)
    assert_close(sums, bias.grad.numpy(), dtype, scale=scale, limit=limit, what="bias_grad")


@pytest.mark.parametrize("value", [-np.inf, -0.0, 0.0, np.inf, np.nan])
@pytest.mark.parametrize("kind", KINDS)
def test_special_numbers(kind, value):
    x = np.full((2, 3), value, "float32")
    if kind == "gelu" and value == np.inf:
        pytest.skip("on some processors theirs is NaN in float32, and inf in float64")
    want = THEIRS[kind](torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(kernels.activation_forward(x, kind), want, rtol=3e-7)


LAYERS = {
    "linear": (Linear, torch.nn.Identity),
    "relu": (ReLU, torch.nn.ReLU),
    "leaky_relu": (lambda: LeakyReLU(0.2), lambda: torch.nn.LeakyReLU(0.2)),
    "sigmoid": (Sigmoid, torch.nn.Sigmoid),
    "tanh": (Tanh, torch.nn.Tanh),
    "elu": (lambda: ELU(0.7), lambda: torch.nn.ELU(0.7)),
    "gelu": (GELU, torch.nn.GELU),
    "gelu_tanh": (lambda: GELU("tanh"), lambda: torch.nn.GELU(approximate="tanh")),
    "silu": (SiLU, torch.nn.SiLU),
    "softplus": (lambda: Softplus(2.0, 3.0), lambda: torch.nn.Softplus(2.0, 3.0)),
    "softmax": (Softmax, lambda: torch.nn.Softmax(-1)),
}


@pytest.mark.parametrize(
    ("name", "fused"), [*((name, False) for name in LAYERS), *((kind, True) for kind in KINDS)]
)
def test_a_network(name, fused):
    ours, theirs = (make() for make in LAYERS[name])
    options = {"slope": 0.2, "alpha": 0.7, "beta": 2.0, "threshold": 3.0}
    first = [Dense(5, 7, activation=name, **options)] if fused else [Dense(5, 7), ours]
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
