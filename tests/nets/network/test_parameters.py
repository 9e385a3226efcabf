"""Parameters: views into one buffer, through writing, moving, pickling and copying."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from onepass.nets import Dense, Parameters, ReLU, Sequential

SHAPES = {"0.weight": (3, 4), "0.bias": (4,), "2.weight": (4, 2), "scale": ()}
TOTAL = 12 + 4 + 8 + 1


def make(dtype: str = "float32", device: str = "cpu") -> Parameters:
    parameters = Parameters(SHAPES, dtype=dtype, device=device)
    parameters.flat[...] = parameters.backend.asarray(np.arange(TOTAL, dtype=dtype))
    parameters.flat_grads[...] = parameters.backend.asarray(-np.arange(TOTAL, dtype=dtype))
    return parameters


def assert_views(parameters: Parameters) -> None:
    """Every array is a view of its own place: what is written through it shows in the buffer."""
    to_numpy = parameters.backend.to_numpy
    for views, flat in (
        (parameters, parameters.flat),
        (parameters.grads, parameters.flat_grads),
    ):
        start = 0
        for name, shape in SHAPES.items():
            size = int(np.prod(shape))
            views[name][...] = 100 + start
            assert views[name].shape == shape
            assert (to_numpy(flat)[start : start + size] == 100 + start).all()
            start += size
        assert start == flat.size == TOTAL
        assert flat.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arrays_are_views_into_one_buffer(dtype):
    parameters = make(dtype)
    assert parameters.dtype == parameters["0.bias"].dtype == parameters.grads["0.bias"].dtype
    assert parameters.dtype == dtype
    assert_views(parameters)


def test_names_keep_the_order_of_the_shapes():
    parameters = make()
    assert list(parameters) == list(parameters.grads) == list(SHAPES)
    np.testing.assert_array_equal(parameters["0.weight"], np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(parameters["scale"], TOTAL - 1)


def test_buffers_start_at_zero_and_apart():
    parameters = Parameters(SHAPES, device="cpu")
    parameters.flat[...] = 1
    assert not parameters.flat_grads.any()


def test_names_cannot_be_bound_to_other_arrays():
    parameters = make()
    with pytest.raises(TypeError):
        parameters["0.bias"] = np.ones(4)  # type: ignore[index]
    with pytest.raises(TypeError):
        parameters.grads["0.bias"] = np.ones(4)  # type: ignore[index]


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_are_equal_independent_and_still_views(clone):
    parameters = make()
    twin = clone(parameters)
    np.testing.assert_array_equal(twin.flat, parameters.flat)
    np.testing.assert_array_equal(twin.flat_grads, parameters.flat_grads)
    assert_views(twin)
    np.testing.assert_array_equal(parameters.flat, np.arange(TOTAL))
    np.testing.assert_array_equal(parameters.flat_grads, -np.arange(TOTAL))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copied_network_is_bound_to_its_own_buffer(clone):
    net = Sequential(Dense(3, 4), ReLU(), Dense(4, 2), device="cpu")
    x = np.ones((2, 3), np.float32)
    before = net(x, train=True)
    twin = clone(net)
    np.testing.assert_array_equal(twin(x), before)
    twin.parameters().flat[...] = 0
    assert not twin(x).any()
    np.testing.assert_array_equal(net(x), before)
    twin.forward(x, train=True)
    twin.backward(np.ones((2, 2), np.float32))
    assert twin.parameters().grads["2.bias"].tolist() == [2, 2]
    assert not net.parameters().flat_grads.any()


def test_pickle_holds_each_number_once():
    net = Sequential(Dense(100, 50), ReLU(), Dense(50, 10), device="cpu")
    net.forward(np.ones((1000, 100)), train=True)
    buffers = net.parameters().flat.nbytes + net.parameters().flat_grads.nbytes
    assert len(pickle.dumps(net)) < buffers + 4096


def test_two_parameters_are_never_equal_and_can_be_keys():
    parameters = make()
    assert parameters == parameters
    assert parameters != make()
    assert {parameters: 1}[parameters] == 1


def test_move_to_the_same_device_changes_nothing():
    parameters = make()
    flat, view = parameters.flat, parameters["0.bias"]
    parameters.move("cpu")
    assert parameters.flat is flat
    assert parameters["0.bias"] is view


def test_move_and_back_keeps_object_values_and_views(reference):
    parameters = make()
    grads = parameters.grads
    for device in (reference.device, "cpu"):
        parameters.move(device)
        values = parameters.backend.to_numpy(parameters.flat)
        np.testing.assert_array_equal(values, np.arange(TOTAL))
        assert parameters.backend.device.startswith(device)
        assert grads["0.bias"].device == parameters["0.bias"].device
    assert_views(parameters)


def test_network_follows_its_parameters_to_another_device(reference):
    net = Sequential(Dense(3, 4), ReLU(), Dense(4, 2), device="cpu")
    x = np.ones((2, 3), np.float32)
    before = net(x)
    net.parameters().move(reference.device)
    np.testing.assert_allclose(net.backend.to_numpy(net(x)), before, rtol=1e-5)
    net.to("cpu")
    np.testing.assert_array_equal(net(x), before)


@pytest.mark.parametrize("dtype", ["int32", "complex64", "bool", ">f4"])
def test_refuses_other_dtypes(dtype):
    with pytest.raises(TypeError, match="expected float16, float32, float64"):
        Parameters(SHAPES, dtype=dtype, device="cpu")


def test_refuses_negative_lengths():
    with pytest.raises(ValueError, match=r"'w' is \(3, -1\)"):
        Parameters({"w": (3, -1)}, device="cpu")


def test_no_parameters_are_an_empty_buffer():
    parameters = Parameters({}, device="cpu")
    assert parameters.flat.shape == (0,)
    assert len(parameters) == 0
