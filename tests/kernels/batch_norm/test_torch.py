"""Batch normalization against torch.nn.functional.batch_norm: values, gradients, statistics."""

from __future__ import annotations

import numpy as np
import pytest
from cases.batch_norm import assert_summed, make, needs, passes
from oracles import batch_norm as batchnorm

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)

# shape, channel axis
LAYOUTS = {
    "N C": ((19, 7), 1),
    "N C L": ((5, 7, 31), 1),
    "N C H W": ((4, 6, 9, 7), 1),
    "N C D H W": ((2, 3, 4, 5, 6), 1),
    "N H W C": ((4, 9, 7, 6), -1),
    "N L C": ((5, 31, 33), -1),
}
FACTOR = 2.0  # both sides round


def tensor(array, grad=False):
    return torch.from_numpy(array.copy()).requires_grad_(grad)


def theirs(x, gamma, beta, running, case, training, **options):
    """torch's y for a channel at any axis: it wants the channel second."""
    axis = case.options["channel_axis"]
    y = torch.nn.functional.batch_norm(
        x.movedim(axis, 1), *running, gamma, beta, training, eps=case.options["eps"], **options
    )
    y = torch.relu(y) if case.options["activation"] else y
    return y.movedim(1, axis)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_agrees_with_torch(engine, layout, dtype, activation):
    needs(engine, dtype)
    case = make(*LAYOUTS[layout], dtype=dtype, activation=activation, seed=2)
    x, gamma, beta = (tensor(a, grad=True) for a in (case.x, case.gamma, case.beta))
    running = [tensor(a) for a in case[4:6]]
    expected = theirs(x, gamma, beta, running, case, True, momentum=0.3)
    expected.backward(tensor(case.dy))

    given_ = [engine.asarray(getattr(case, name)) for name in case._fields if name != "options"]
    forward, backward = passes(engine)
    y, saved = forward(given_[0], *given_[2:], momentum=0.3, **case.options)
    ours = (y, *backward(given_[1], saved), *given_[4:])
    terms = batchnorm.terms(case.x, case.dy, case.gamma, case.beta, **case.options)
    results = {
        "y": (expected.detach(), terms.y),
        "dx": (x.grad, terms.dx),
        "dgamma": (gamma.grad, terms.dgamma),
        "dbeta": (beta.grad, terms.dbeta),
        "running_mean": (running[0], np.abs(case.running_mean) + terms.mean),
        "running_var": (running[1], 0.0),
    }
    for got, (name, (want, scale)) in zip(ours, results.items(), strict=True):
        factor = FACTOR * engine.factor
        assert_summed(engine.to_numpy(got), want.numpy(), scale, dtype, factor, name)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_inference_agrees_with_torch(engine, layout, dtype, activation):
    needs(engine, dtype)
    case = make(*LAYOUTS[layout], dtype=dtype, activation=activation, seed=3)
    x, gamma, beta, *running = (tensor(a) for a in (case.x, *case[2:6]))
    want = theirs(x, gamma, beta, running, case, False)
    given_ = [engine.asarray(a) for a in (case.x, *case[2:6])]
    y = engine.to_numpy(engine.kernel("batch_norm_inference")(*given_, **case.options))
    sizes = (np.abs(case.x), np.abs(case.gamma), np.abs(case.beta), -np.abs(case.running_mean))
    terms = batchnorm.inference(*sizes, case.running_var, **case.options)
    assert_summed(y, want.numpy(), terms, dtype, FACTOR * engine.factor, "y")


def test_defaults_are_those_of_torch(engine):
    """eps and momentum; gamma and beta left out; statistics over five batches, then eval mode."""
    rng, layer = np.random.default_rng(4), torch.nn.BatchNorm2d(3, affine=False)
    running = [engine.asarray(a) for a in (np.zeros(3, "float32"), np.ones(3, "float32"))]
    for _ in range(5):
        x = rng.normal(1.0, 0.01, (4, 3, 6, 5)).astype("float32")  # eps shows
        want = layer(torch.from_numpy(x)).numpy()
        y, _ = passes(engine)[0](engine.asarray(x), None, None, *running)
        size = np.full(x.shape, 100.0)
        assert_summed(engine.to_numpy(y), want, size, "float32", FACTOR * engine.factor, "y")
    for got, want in zip(running, (layer.running_mean, layer.running_var), strict=True):
        np.testing.assert_allclose(engine.to_numpy(got), want.numpy(), rtol=1e-6)
    want = layer.eval()(torch.from_numpy(x)).numpy()
    y = engine.kernel("batch_norm_inference")(engine.asarray(x), None, None, *running)
    np.testing.assert_allclose(engine.to_numpy(y), want, rtol=1e-5, atol=1e-5)


def test_channels_last_memory_agrees_with_torch(engine):
    """N C H W arrays over channels-last memory, as torch.channels_last keeps them."""
    case = make((4, 6, 9, 7), order=(0, 2, 3, 1), activation="relu", seed=5)
    x, gamma, beta = (tensor(a, grad=True) for a in (case.x, case.gamma, case.beta))
    last = x.to(memory_format=torch.channels_last)
    theirs(last, gamma, beta, (None, None), case, True).backward(tensor(case.dy))
    given_ = [engine.asarray(a) for a in case[:4]]
    forward, backward = passes(engine)
    _, saved = forward(given_[0], *given_[2:], **case.options)
    terms = batchnorm.terms(case.x, case.dy, case.gamma, case.beta, **case.options)
    for got, want, scale in zip(
        backward(given_[1], saved), (x, gamma, beta), terms[2:], strict=True
    ):
        factor = FACTOR * engine.factor
        assert_summed(engine.to_numpy(got), want.grad.numpy(), scale, "float32", factor, "grad")
