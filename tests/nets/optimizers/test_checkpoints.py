"""Optimizers: checkpoints, copies, and states that follow the network to another device."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from cases.six_gradients import KINDS, SHAPES, flat_parameters, frozen, start, write_grads
from onepass import DeviceUnavailableError, get_backend
from onepass.nets import (
    SGD,
    Adam,
    AMSGrad,
    BatchNorm,
    Dense,
    Optimizer,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
)


def trained(kind, storage, steps=3):
    """(parameters, optimizer) after some steps, stored as a dict, a list or Parameters."""
    params, gradients = start()
    if storage == "flat":
        target = flat_parameters(params)
    else:
        target = params if storage == "dict" else list(params.values())
    optimizer = kind(target, lr=0.05, clip_norm=3.0)
    for gradient in gradients[:steps]:
        advance(optimizer, gradient)
    return target, optimizer


def advance(optimizer, gradient):
    optimizer.step(list(gradient.values()) if isinstance(optimizer.params, list) else gradient)


def values(target):
    arrays = target if isinstance(target, list) else list(target.values())
    return np.concatenate([array.ravel() for array in arrays])


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("source", "goal"),
    [("dict", "dict"), ("flat", "flat"), ("list", "list"), ("dict", "flat"), ("flat", "dict")],
)
def test_training_goes_on_from_a_checkpoint(kind, source, goal):
    target, optimizer = trained(kind, source)
    (other, _), (reset, _) = trained(kind, goal), trained(kind, goal)
    resumed = kind(other)
    resumed.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    assert (resumed.steps, resumed.lr, resumed.clip_norm) == (3, 0.05, 3.0)
    restarted = kind(reset, lr=0.05, clip_norm=3.0)
    for gradient in start()[1][3:]:
        advance(optimizer, gradient)
        advance(resumed, gradient)
        advance(restarted, gradient)
    np.testing.assert_allclose(values(other), values(target), rtol=1e-13, atol=1e-15)
    if kind.states:
        assert not np.allclose(values(reset), values(target), rtol=1e-6), "states must matter here"


@pytest.mark.parametrize("storage", ["dict", "list", "flat"])
def test_state_dict_is_plain_and_independent(storage):
    _, optimizer = trained(AMSGrad, storage)
    state = optimizer.state_dict()
    assert list(state) == ["optimizer", "step", "hyper", "state"]
    assert (state["optimizer"], state["step"]) == ("AMSGrad", 3)
    json.dumps([state["optimizer"], state["step"], state["hyper"]])
    assert list(state["state"]) == ["m", "v", "v_max"]
    keys = list(range(4)) if storage == "list" else list(SHAPES)
    for arrays in state["state"].values():
        assert list(arrays) == keys
        for array, shape in zip(arrays.values(), SHAPES.values(), strict=True):
            assert type(array) is np.ndarray
            assert array.shape == shape
    before = frozen(optimizer.state_dict())
    for arrays in state["state"].values():
        for array in arrays.values():
            array[...] = np.nan
    assert frozen(optimizer.state_dict()) == before
    loaded = pickle.loads(before)
    optimizer.load_state_dict(loaded)
    loaded["state"]["m"][keys[0]][...] = np.nan
    assert frozen(optimizer.state_dict()) == before


def refused_states():
    def put(state, *path_and_value):
        *path, last, value = path_and_value
        place = state
        for key in path:
            place = place[key]
        if value is KeyError:
            del place[last]
        else:
            place[last] = value
        return state

    def case(name, path, value, error, message):
        return pytest.param(lambda s: put(s, *path, value), error, message, id=name)

    bias = ("state", "m", "2.bias")
    yield case("class", ["optimizer"], "AMSGrad", ValueError, "is of AMSGrad; expected one of Adam")
    yield case("no step", ["step"], KeyError, ValueError, "state lacks 'step'")
    yield case("negative", ["step"], -1, ValueError, r"state\['step'\] is -1")
    yield case("fraction", ["step"], 1.5, ValueError, r"state\['step'\] is 1.5")
    yield case("text", ["step"], "3", TypeError, r"state\['step'\] is '3'")
    yield case("extra", ["epoch"], 3, ValueError, "state has the unexpected 'epoch'")
    yield case("no lr", ["hyper", "lr"], KeyError, ValueError, r"state\['hyper'\] lacks 'lr'")
    yield case("bad lr", ["hyper", "lr"], -1, ValueError, "lr is -1")
    yield case("clip", ["hyper", "clip_norm"], -1, ValueError, "clip_norm is -1")
    yield case("no v", ["state", "v"], KeyError, ValueError, r"state\['state'\] lacks 'v'")
    yield case("name", bias, KeyError, ValueError, r"state\['state'\]\['m'\] lacks '2.bias'")
    yield case("shape", bias, np.zeros(3), ValueError, r"\['2.bias'\] has shape \(3,\); expected")
    yield case("dtype", bias, np.zeros(2, "f4"), TypeError, "has dtype float32; expected float64")
    yield case("list", bias, [0.0, 0.0], TypeError, "is a list; expected a NumPy array")
    yield case("no dict", ["state", "m"], None, TypeError, "is a NoneType; expected a mapping")


@pytest.mark.parametrize("storage", ["dict", "flat"])
@pytest.mark.parametrize(("change", "error", "message"), list(refused_states()))
def test_refused_state_loads_nothing(storage, change, error, message):
    _, source = trained(Adam, storage)
    _, optimizer = trained(Adam, storage, steps=1)
    optimizer.lr = 0.5
    before = frozen(optimizer.state_dict())
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(change(source.state_dict()))
    assert frozen(optimizer.state_dict()) == before


def old_amsgrad(state):
    """As one was that kept the maximum of the corrected average."""
    del state["hyper"]["decoupled"]
    return state


def test_an_old_maximum_of_amsgrad_is_refused_with_what_to_do():
    _, optimizer = trained(AMSGrad, "dict")
    goal = AMSGrad(start()[0])
    before = frozen(goal.state_dict())
    state = old_amsgrad(optimizer.state_dict())
    with pytest.raises(
        ValueError, match=r"corrected average.*put copies of state.*False for state"
    ):
        goal.load_state_dict(state)
    assert frozen(goal.state_dict()) == before
    state["state"]["v_max"] = {name: v.copy() for name, v in state["state"]["v"].items()}
    state["hyper"]["decoupled"] = False
    goal.load_state_dict(state)
    assert (goal.steps, goal.decoupled) == (3, False)
    with pytest.raises(ValueError, match="is of Adam; expected one of AMSGrad"):
        goal.load_state_dict(old_amsgrad(Adam(start()[0]).state_dict()))
    with pytest.raises(TypeError, match="state is a list; expected a mapping"):
        goal.load_state_dict([])


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_older_checkpoint_has_the_default_of_what_it_lacks(kind):
    _, optimizer = trained(kind, "dict")
    state = optimizer.state_dict()
    names = {**Optimizer.defaults, **kind.defaults}
    for name in names.keys() - {"decoupled"}:
        del state["hyper"][name]
    goal = kind(start()[0])
    goal.load_state_dict(state)
    assert goal.hyper == optimizer.hyper


def test_a_fresh_state_can_be_loaded():
    optimizer = Adam([np.zeros(2)])
    state = optimizer.state_dict()
    optimizer.step([np.ones(2)])
    optimizer.load_state_dict(state)
    assert optimizer.steps == 0
    assert not optimizer.state_dict()["state"]["m"][0].any()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copied_network_and_optimizer_stay_together_and_apart_from_the_first(clone):
    def train(net, optimizer):
        rng = np.random.default_rng(1)
        for _ in range(3):
            logits = net.forward(rng.standard_normal((4, 3)), train=True)
            net.backward(SoftmaxCrossEntropy()(logits, np.array([0, 1, 0, 1]))[1])
            optimizer.step()

    net = Sequential(Dense(3, 4), ReLU(), Dense(4, 2), device="cpu")
    pair = net, Adam(net.parameters())
    train(*pair)
    twin = clone(pair)
    before = net.state_dict()
    train(*twin)
    for name, value in before.items():
        np.testing.assert_array_equal(net.parameters()[name], value)
    train(*pair)
    np.testing.assert_array_equal(twin[0].parameters().flat, net.parameters().flat)
    assert twin[1].params is twin[0].parameters()


@pytest.fixture
def joblib():
    return pytest.importorskip("joblib", reason="comes with scikit-learn")


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_network_and_optimizer_learn_on_in_a_worker_of_joblib(mode, joblib, tmp_path):
    """Which gets arrays of a megabyte and more as maps of a file."""

    def train(net, optimizer):
        rng = np.random.default_rng(1)
        for _ in range(3):
            logits = net.forward(rng.standard_normal((4, 3)), train=True)
            net.backward(SoftmaxCrossEntropy()(logits, np.array([0, 1, 0, 1]))[1])
            optimizer.step()
        return {**net.state_dict(), **optimizer.state_dict()["state"]["v"]}

    net = Sequential(Dense(3, 4), BatchNorm(4), Dense(4, 2), device="cpu")
    pair = net, Adam(net.parameters())
    train(*pair)
    joblib.dump(pair, tmp_path / "pair")
    twin = joblib.load(tmp_path / "pair", mmap_mode=mode)
    assert type(twin[0].parameters().flat) is np.ndarray, "a map would miss the quick path"
    assert twin[1].params is twin[0].parameters()
    learnt, expected = train(*twin), train(*pair)
    another = train(*joblib.load(tmp_path / "pair"))
    for name, value in expected.items():
        np.testing.assert_array_equal(learnt[name], value)
        np.testing.assert_array_equal(another[name], value, err_msg="one wrote into the file")


def test_separate_arrays_that_are_mapped_read_only_are_refused_not_replaced(joblib, tmp_path):
    params = [np.ones(3, np.float32)]
    joblib.dump((params, SGD(params)), tmp_path / "pair")
    twin, optimizer = joblib.load(tmp_path / "pair", mmap_mode="r")
    with pytest.raises(ValueError, match=r"params\[0\] is read-only"):
        optimizer.step([np.ones(3, np.float32)])
    assert twin[0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("own", [{}, {"note": "mine"}])
def test_an_optimizer_with_attributes_of_its_own_is_copied_whole(own):
    class Mine(Adam):
        pass

    optimizer = Mine([np.zeros(2)])
    vars(optimizer).update(own)
    optimizer.step([np.ones(2)])
    twin = copy.deepcopy(optimizer)
    optimizer.step([np.ones(2)])
    assert vars(twin) == own
    assert twin.steps == 1
    twin.step([np.ones(2)])
    np.testing.assert_array_equal(twin.params[0], optimizer.params[0])


# Devices


def test_states_follow_the_network_to_another_device_and_back(reference):
    params, gradients = start()
    still, moving = flat_parameters(params), flat_parameters(params)
    one, two = Adam(still), Adam(moving)
    for gradient, device in zip(gradients, ["cpu", reference.device] * 3, strict=True):
        moving.move(device)
        write_grads(still, gradient)
        write_grads(moving, gradient)
        one.step()
        two.step()
    moved = reference.to_numpy(moving.flat)
    np.testing.assert_allclose(moved, still.flat, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_each_device_agrees_with_the_cpu(kind, reference):
    params, gradients = start()
    there = {name: reference.asarray(value) for name, value in params.items()}
    one, two = kind(params, clip_norm=1.0), kind(there, clip_norm=1.0)
    for gradient in gradients:
        one.step(gradient)
        two.step({name: reference.asarray(value) for name, value in gradient.items()})
    for name, value in params.items():
        np.testing.assert_allclose(reference.to_numpy(there[name]), value, rtol=1e-11, atol=1e-13)
    two.load_state_dict(one.state_dict())
    assert frozen(two.state_dict()) == frozen(one.state_dict())


@pytest.mark.gpu
def test_gradients_on_another_device_write_nothing():
    try:
        gpu = get_backend("cuda")
    except DeviceUnavailableError as error:
        pytest.skip(str(error))
    params, (gradient, *_) = start()
    optimizer = SGD(params)
    before = frozen(params)
    with pytest.raises(TypeError, match=r"grads\['2.bias'\]. is on cuda:0 but"):
        optimizer.step(gradient | {"2.bias": gpu.asarray(gradient["2.bias"])})
    assert frozen(params) == before
