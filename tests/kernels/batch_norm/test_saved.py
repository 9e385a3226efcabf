"""`saved` between forward and backward: pickled, changed, of other memory; and what bit others."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from cases.resized import resize
from onepass import kernels
from onepass.nets import BatchNorm, Dense, Layer, Sequential


def arrays(permuted=False):
    """x, dy, gamma, beta; permuted: channels first by strides, in channels-last memory."""
    draw = np.random.default_rng(0)
    x, dy = draw.standard_normal((2, 4, 5, 6, 3)).astype("float32")
    if not permuted:
        x, dy = (np.ascontiguousarray(np.moveaxis(a, -1, 1)) for a in (x, dy))
    else:
        x, dy = (np.moveaxis(a, -1, 1) for a in (x, dy))
    return x, dy, np.ones(3, "float32"), np.zeros(3, "float32")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("permuted", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_a_pickled_saved_gives_the_same_gradients(protocol, permuted, together):
    x, dy, gamma, beta = arrays(permuted)
    _, saved = kernels.batch_norm_forward(x, gamma, beta)
    expected = kernels.batch_norm_backward(dy, saved)
    other, again = pickle.loads(pickle.dumps((dy, saved), protocol=protocol))
    found = kernels.batch_norm_backward(other if together else dy, again)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_memory_that_shrank_is_refused():
    x = np.random.default_rng(0).standard_normal((5000, 4)).astype("float32")
    _, saved = kernels.batch_norm_forward(x, None, None)
    resize(x, (10, 4))
    with pytest.raises(ValueError, match=r"saved was changed.*\(10, 4\).*expected \(5000, 4\)"):
        kernels.batch_norm_backward(np.ones((10, 4), "float32"), saved)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kept", np.zeros((3, 2), "float32")),
        ("kept", np.zeros((3, 3), "float64")),
        ("kept", np.zeros((3, 6), "float32")[:, ::2]),
        ("gamma", np.ones(2, "float32")),
        ("beta", np.ones((3, 1), "float32")),
    ],
)
def test_what_does_not_fit_is_refused(name, value):
    x, dy, gamma, beta = arrays()
    _, saved = kernels.batch_norm_forward(x, gamma, beta)
    setattr(saved, name, value)
    with pytest.raises(ValueError, match="saved was changed since the forward"):
        kernels.batch_norm_backward(dy, saved)


@pytest.mark.parametrize("engine", ["array", "auto"])
def test_byte_swapped_doubles_are_computed_in_double(engine):
    x = np.random.default_rng(0).standard_normal((50, 4)) + 1000
    y, saved = kernels.batch_norm_forward(x.astype(">f8"), None, None, engine=engine)
    np.testing.assert_allclose(y, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-9)
    assert saved.mean.dtype == "float64"


@pytest.mark.parametrize("engine", ["array", "numba"])
@pytest.mark.parametrize(
    ("dtype", "value"), [("float32", 2e38), ("float64", 1e9 + 0.1), ("float64", 1e13 + 0.1)]
)
def test_a_large_constant_is_zero(engine, dtype, value):
    x = np.full((1000, 3), value, dtype)
    y, _ = kernels.batch_norm_forward(x, None, None, engine=engine)
    np.testing.assert_allclose(y, 0.0, atol=1e-6)


def test_a_bright_first_row_costs_no_precision():
    x = np.random.default_rng(0).normal(0, 0.01, (4, 2, 64, 64)).astype("float32")
    x[:, :, 0] = 1.0
    _, saved = kernels.batch_norm_forward(x, None, None, engine="numba")
    expected = 1 / np.sqrt(x.astype("float64").var(axis=(0, 2, 3)) + 1e-5)
    np.testing.assert_allclose(saved.inv_std, expected, rtol=1e-6)


def test_a_copy_of_a_network_leaves_its_running_statistics_alone():
    net = Sequential(BatchNorm(4), device="cpu")
    twin = copy.copy(net)
    net.forward(np.ones((3, 4), "float32"), train=True)
    assert (net.state_dict()["0.running_mean"] == np.float32(0.1)).all()
    assert (twin.state_dict()["0.running_mean"] == 0).all()


def test_staying_on_a_device_keeps_the_buffers():
    net = Sequential(BatchNorm(4), device="cpu")
    mean = net.buffers()["0.running_mean"]
    assert net.to("cpu").buffers()["0.running_mean"] is mean


def test_one_name_for_a_parameter_and_a_buffer_is_refused():
    class Both(BatchNorm):
        def initial_buffers(self):
            return {**super().initial_buffers(), "gamma": np.zeros(4)}

    with pytest.raises(ValueError, match="a parameter and a buffer 'gamma'"):
        Sequential(Both(4), device="cpu")


def test_a_layer_that_binds_two_mappings_still_works():
    class Old(Dense):
        def bind(self, params, grads):
            super().bind(params, grads)

    assert isinstance(Old(4, 2), Layer)
    assert Sequential(Old(4, 2), device="cpu").forward(np.ones((1, 4))).shape == (1, 2)


@pytest.mark.parametrize(
    ("option", "value"), [("momentum", 2), ("eps", 0), ("eps", -1.0), ("activation", "tanh")]
)
def test_a_layer_checks_its_options_when_it_is_made(option, value):
    with pytest.raises(ValueError, match=f"{option} is"):
        BatchNorm(4, **{option: value})
