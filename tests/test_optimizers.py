"""Optimizers: one formula each, one kernel call a step, checkpoints, and steps never half done."""

from __future__ import annotations

import copy
import json
import pickle
from math import sqrt

import numpy as np
import pytest
from onepass import DeviceUnavailableError, get_backend, kernels, nets
from onepass.kernels.engines.array import ArrayEngine
from onepass.nets import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    AMSGrad,
    Dense,
    Momentum,
    Optimizer,
    Parameters,
    ReLU,
    RMSprop,
    Sequential,
    SoftmaxCrossEntropy,
)

SHAPES = {"0.weight": (3, 4), "0.bias": (4,), "2.weight": (4, 2), "2.bias": (2,)}
KINDS = {kind.__name__: kind for kind in (SGD, Momentum, AdaGrad, RMSprop, Adam, AdamW, AMSGrad)}


# Plain loops over Python floats: (p, list of g) -> p, one element at a time.


def sgd(p, gradients, lr=1e-2):
    for g in gradients:
        p -= lr * g
    return p


def heavy_ball(p, gradients, lr=1e-2, b=0.9):
    v = 0.0
    for g in gradients:
        v = b * v + g
        p -= lr * v
    return p


def averaged(p, gradients, lr=1e-2, b=0.9):
    v = 0.0
    for g in gradients:
        v = b * v + (1 - b) * g
        p -= lr * v
    return p


def velocity(p, gradients, lr=1e-2, b=0.9):
    v = 0.0
    for g in gradients:
        v = b * v - lr * g
        p += v
    return p


def nesterov(p, gradients, lr=1e-2, b=0.9):
    v = 0.0
    for g in gradients:
        v = b * v + g
        p -= lr * (g + b * v)
    return p


def adagrad(p, gradients, lr=1e-2, eps=1e-10):
    h = 0.0
    for g in gradients:
        h += g * g
        p -= lr * g / (sqrt(h) + eps)
    return p


def rmsprop(p, gradients, lr=1e-2, a=0.99, eps=1e-8, inside=False):
    s = 0.0
    for g in gradients:
        s = a * s + (1 - a) * g * g
        p -= lr * g / (sqrt(s + eps) if inside else sqrt(s) + eps)
    return p


def adam(p, gradients, lr=1e-3, b1=0.9, b2=0.999, eps=1e-8, decay=0.0, l2=0.0, largest=False):
    m = v = top = 0.0
    for t, gradient in enumerate(gradients, 1):
        g = gradient + l2 * p
        p *= 1 - lr * decay
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        vhat = v / (1 - b2**t)
        top = max(top, vhat)
        p -= lr * m / (1 - b1**t) / (sqrt(top if largest else vhat) + eps)
    return p


CASES = {
    "sgd": (SGD, {}, sgd),
    "sgd-lr": (SGD, {"lr": 0.3}, lambda p, g: sgd(p, g, lr=0.3)),
    "sgd-maximize": (SGD, {"maximize": True}, lambda p, g: sgd(p, [-x for x in g])),
    "momentum": (Momentum, {}, heavy_ball),
    "momentum-averaged": (Momentum, {"form": "averaged"}, averaged),
    "momentum-velocity": (Momentum, {"form": "velocity"}, velocity),
    "momentum-nesterov": (Momentum, {"nesterov": True}, nesterov),
    "momentum-0.5": (Momentum, {"momentum": 0.5}, lambda p, g: heavy_ball(p, g, b=0.5)),
    "adagrad": (AdaGrad, {}, adagrad),
    "adagrad-eps": (AdaGrad, {"eps": 0.1}, lambda p, g: adagrad(p, g, eps=0.1)),
    "rmsprop": (RMSprop, {}, rmsprop),
    "rmsprop-alpha": (RMSprop, {"alpha": 0.5}, lambda p, g: rmsprop(p, g, a=0.5)),
    "rmsprop-inside": (
        RMSprop,
        {"eps": 0.01, "eps_inside_sqrt": True},
        lambda p, g: rmsprop(p, g, eps=0.01, inside=True),
    ),
    "adam": (Adam, {}, adam),
    "adam-betas": (Adam, {"betas": (0.5, 0.7)}, lambda p, g: adam(p, g, b1=0.5, b2=0.7)),
    "adam-l2": (Adam, {"weight_decay": 0.1}, lambda p, g: adam(p, g, l2=0.1)),
    "adamw": (AdamW, {}, lambda p, g: adam(p, g, decay=1e-2)),
    "adamw-0.5": (AdamW, {"weight_decay": 0.5}, lambda p, g: adam(p, g, decay=0.5)),
    "amsgrad": (AMSGrad, {"lr": 0.1}, lambda p, g: adam(p, g, lr=0.1, largest=True)),
}


def start(seed=0, dtype="float64"):
    """(dict of parameters, list of six dicts of gradients that shrink, so AMSGrad differs)."""
    rng = np.random.default_rng(seed)
    params = {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}
    gradients = [
        {name: rng.standard_normal(shape).astype(dtype) / 2**k for name, shape in SHAPES.items()}
        for k in range(6)
    ]
    return params, gradients


def flat_parameters(values, device="cpu"):
    parameters = Parameters(SHAPES, dtype=values["0.bias"].dtype, device=device)
    for name, value in values.items():
        parameters[name][...] = parameters.backend.asarray(value)
    return parameters


def write_grads(parameters, gradients):
    for name, gradient in gradients.items():
        parameters.grads[name][...] = parameters.backend.asarray(gradient)


def frozen(value):
    """Every bit of a state_dict or of arrays, to compare."""
    return pickle.dumps(value)


def test_every_exported_optimizer_is_tested():
    exported = [getattr(nets, name) for name in nets.__all__]
    kinds = {kind for kind in exported if isinstance(kind, type) and issubclass(kind, Optimizer)}
    assert kinds - {Optimizer} == set(KINDS.values()) == {kind for kind, _, _ in CASES.values()}


@pytest.mark.parametrize("case", CASES)
def test_equals_a_plain_loop(case):
    kind, hyper, loop = CASES[case]
    params, gradients = start()
    expected = {
        name: [
            loop(float(p), [float(g[name].flat[k]) for g in gradients])
            for k, p in enumerate(params[name].flat)
        ]
        for name in params
    }
    optimizer = kind(params, **hyper)
    for gradient in gradients:
        optimizer.step(gradient)
    assert optimizer.steps == len(gradients)
    for name, values in expected.items():
        np.testing.assert_allclose(params[name].ravel(), values, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", CASES)
def test_list_dict_and_parameters_agree(case):
    kind, hyper, _ = CASES[case]
    hyper = hyper | {"clip_norm": 1.0}
    named, gradients = start()
    listed = [array.copy() for array in named.values()]
    flat, flat_given = flat_parameters(named), flat_parameters(named)
    by_name, by_index = kind(named, **hyper), kind(listed, **hyper)
    by_buffer, by_buffer_given = kind(flat, **hyper), kind(flat_given, **hyper)
    for gradient in gradients:
        by_name.step(gradient)
        by_index.step(list(gradient.values()))
        write_grads(flat, gradient)
        by_buffer.step()
        by_buffer_given.step(gradient)
    assert not flat_given.flat_grads.any(), "given gradients leave the network's own alone"
    for k, name in enumerate(SHAPES):
        for other in (listed[k], flat[name], flat_given[name]):
            np.testing.assert_allclose(other, named[name], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_gradients_are_left_untouched(kind):
    params, (gradient, *_) = start()
    before = frozen(gradient)
    kind(params, clip_norm=0.1, weight_decay=0.1).step(gradient)
    assert frozen(gradient) == before


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_one_kernel_call_a_step_for_sixty_arrays(kind, monkeypatch):
    layers = [Dense(3, 3) for _ in range(30)]
    net = Sequential(*layers, device="cpu")
    assert len(net.parameters()) == 60
    sizes = []
    name = f"{kind.rule}_step"
    original = getattr(kernels, name)

    def spy(param, *arrays, **options):
        sizes.append(param.size)
        return original(param, *arrays, **options)

    monkeypatch.setattr(kernels, name, spy)
    optimizer = kind(net.parameters())
    optimizer.step()
    optimizer.step(net.parameters().grads)
    assert sizes == [30 * 12] * 2
    sizes.clear()
    kind(list(net.parameters().values())).step(list(net.parameters().grads.values()))
    assert sizes == [9, 3] * 30


def test_the_networks_own_gradients_are_not_copied(monkeypatch):
    seen = []
    monkeypatch.setattr(kernels, "sgd_step", lambda param, grad, **_: seen.append((param, grad)))
    parameters = flat_parameters(start()[0])
    SGD(parameters).step(parameters.grads)
    assert seen[0][0] is parameters.flat
    assert seen[0][1] is parameters.flat_grads


def test_weight_decay_adds_to_the_gradient_and_maximize_climbs():
    array = np.full(3, 2.0)
    SGD([array], lr=0.1, weight_decay=0.5).step([np.ones(3)])
    np.testing.assert_allclose(array, 2 - 0.1 * (1 + 0.5 * 2))
    array = np.full(3, 2.0)
    SGD([array], lr=0.1, weight_decay=0.5, maximize=True).step([np.ones(3)])
    np.testing.assert_allclose(array, 2 - 0.1 * (-1 + 0.5 * 2))


@pytest.mark.parametrize(
    ("clip_norm", "grad_scale", "expected"),
    [
        (None, 1.0, (3, 4)),
        (10.0, 1.0, (3, 4)),
        (5.0, 1.0, (3, 4)),
        (1.0, 1.0, (0.6, 0.8)),
        (None, 0.5, (1.5, 2)),
        (2.5, 0.5, (1.5, 2)),
        (1.0, 0.5, (0.6, 0.8)),
        (1.0, 1e-6, (3e-6, 4e-6)),
    ],
)
def test_clipping_by_the_global_norm_after_grad_scale(clip_norm, grad_scale, expected):
    one, two = np.zeros(1), np.zeros((1, 1))
    optimizer = SGD([one, two], lr=1.0, clip_norm=clip_norm)
    optimizer.step([np.full(1, 3.0), np.full((1, 1), 4.0)], grad_scale=grad_scale)
    np.testing.assert_allclose((-one[0], -two[0, 0]), expected, rtol=1e-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_writes_nothing(bad):
    params, (gradient, *_) = start()
    gradient["2.bias"][1] = bad
    optimizer = Adam(params, clip_norm=1.0)
    before = frozen((params, optimizer.state_dict()))
    with pytest.raises(FloatingPointError, match="the norm of the gradients is"):
        optimizer.step(gradient)
    assert frozen((params, optimizer.state_dict())) == before


# Hyperparameters


def test_defaults_are_those_of_pytorch():
    arrays = [np.zeros(1)]
    common = {"weight_decay": 0.0, "maximize": False}
    adam_defaults = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, **common}
    assert SGD(arrays).hyper == {"lr": 1e-2, **common}
    momentum = {"lr": 1e-2, "momentum": 0.9, "form": "heavy-ball", "nesterov": False, **common}
    assert Momentum(arrays).hyper == momentum
    assert AdaGrad(arrays).hyper == {"lr": 1e-2, "eps": 1e-10, **common}
    rmsprop_defaults = {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "eps_inside_sqrt": False, **common}
    assert RMSprop(arrays).hyper == rmsprop_defaults
    assert Adam(arrays).hyper == AMSGrad(arrays).hyper == adam_defaults
    assert AdamW(arrays).hyper == adam_defaults | {"weight_decay": 1e-2}


def test_a_changed_hyperparameter_acts_on_the_next_step():
    array = np.zeros(1)
    optimizer = SGD([array], lr=1.0)
    optimizer.step([np.ones(1)])
    optimizer.lr *= 0.5
    assert optimizer.lr == 0.5
    optimizer.step([np.ones(1)])
    optimizer.maximize = True
    optimizer.clip_norm = 0.25
    optimizer.step([np.ones(1)])
    assert array[0] == -1 - 0.5 + 0.5 * 0.25


BAD_HYPER = [
    (SGD, "lr", -1.0, ValueError),
    (SGD, "lr", float("nan"), ValueError),
    (SGD, "lr", "0.1", TypeError),
    (SGD, "weight_decay", -0.1, ValueError),
    (SGD, "maximize", 1, TypeError),
    (SGD, "clip_norm", 0.0, ValueError),
    (SGD, "clip_norm", float("inf"), ValueError),
    (SGD, "clip_norm", True, TypeError),
    (SGD, "engine", "opencl", ValueError),
    (SGD, "engine", None, TypeError),
    (Momentum, "momentum", 1.0, ValueError),
    (Momentum, "form", "heavy", ValueError),
    (Momentum, "nesterov", "yes", TypeError),
    (AdaGrad, "eps", -1e-8, ValueError),
    (RMSprop, "alpha", 1.5, ValueError),
    (RMSprop, "eps_inside_sqrt", None, TypeError),
    (Adam, "betas", (0.9, 1.0), ValueError),
    (AdamW, "betas", 0.9, TypeError),
    (AMSGrad, "eps", -1.0, ValueError),
]


@pytest.mark.parametrize(("kind", "name", "value", "error"), BAD_HYPER)
def test_bad_hyperparameters_are_refused_when_made_and_when_set(kind, name, value, error):
    with pytest.raises(error, match=name):
        kind([np.zeros(1)], **{name: value})
    optimizer = kind([np.zeros(1)])
    before = optimizer.state_dict(), getattr(optimizer, name)
    with pytest.raises(error, match=name):
        setattr(optimizer, name, value)
    assert (optimizer.state_dict()["hyper"], getattr(optimizer, name)) == (
        before[0]["hyper"],
        before[1],
    )


def test_misspelt_hyperparameters_are_refused():
    optimizer = Adam([np.zeros(1)])
    with pytest.raises(AttributeError):
        optimizer.learning_rate = 0.1
    with pytest.raises(TypeError, match="Adam has no 'momentum'; expected some of lr, betas"):
        optimizer.tune(lr=0.5, momentum=0.9)
    with pytest.raises(TypeError):
        Adam([np.zeros(1)], momentum=0.9)
    with pytest.raises(TypeError):
        optimizer.hyper["lr"] = 1
    assert optimizer.lr == 1e-3


def test_tune_sets_all_or_nothing():
    optimizer = Adam([np.zeros(1)])
    with pytest.raises(ValueError, match="betas"):
        optimizer.tune(lr=0.5, betas=(0.9, 2))
    assert optimizer.lr == 1e-3
    optimizer.tune(lr=np.float32(0.5), betas=[0.5, 0.5])
    assert (type(optimizer.lr), optimizer.lr, optimizer.betas) == (float, 0.5, (0.5, 0.5))


def test_bad_grad_scale_is_refused():
    params, (gradient, *_) = start()
    before = frozen(params)
    with pytest.raises(ValueError, match="grad_scale"):
        SGD(params, clip_norm=1.0).step(gradient, grad_scale=float("nan"))
    assert frozen(params) == before


def test_an_engine_that_cannot_run_here_is_refused_when_made():
    with pytest.raises(RuntimeError, match="engine 'cupy'"):
        Adam([np.zeros(1)], engine="cupy")


@pytest.mark.parametrize("engine_name", ["auto", "array", "numba"])
def test_engine_is_passed_on(engine_name, monkeypatch):
    seen = []
    monkeypatch.setattr(kernels, "sgd_step", lambda *_, engine, **__: seen.append(engine))
    SGD([np.zeros(1)], engine=engine_name).step([np.ones(1)])
    assert seen == [engine_name]


# Arrays that are refused


def refused_params():
    shared = np.zeros(6)
    locked = np.zeros(3)
    locked.flags.writeable = False
    yield "one array", np.zeros(3), TypeError, r"put one array into a list: \[array\]"
    yield "generator", (np.zeros(3) for _ in range(2)), TypeError, "params is a generator"
    yield "no arrays", [], ValueError, "params are empty"
    yield "empty dict", {}, ValueError, "params are empty"
    yield "same twice", [shared, shared], ValueError, r"params\[0\] and params\[1\] overlap"
    yield "overlap", {"a": shared[:4], "b": shared[3:]}, ValueError, r"params\['a'\] and .*overlap"
    yield "integers", [np.zeros(3), np.zeros(3, int)], TypeError, r"params\[1\] has dtype int64"
    yield "list", {"w": [0.0]}, TypeError, r"params\['w'\] is a list"
    yield "read-only", [locked], ValueError, r"params\[0\] is read-only"
    yield "broadcast", [np.broadcast_to(shared, (2, 6))], ValueError, r"params\[0\]"
    yield "key", {1: np.zeros(3)}, TypeError, "name 1 is a int; expected a string"


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [pytest.param(*case, id=name) for name, *case in refused_params()],
)
def test_refuses_params(params, error, message):
    with pytest.raises(error, match=message):
        SGD(params)


def test_neighbouring_views_of_one_buffer_are_fine():
    buffer = np.zeros((4, 6))
    optimizer = SGD([buffer[:, :3], buffer[:, 3:]], lr=1.0)
    optimizer.step([np.full((4, 3), 1.0), np.full((4, 3), 2.0)])
    np.testing.assert_array_equal(buffer, [[-1] * 3 + [-2] * 3] * 4)


def refused_grads():
    """(change of a right dict of gradients, error, what the message says)."""
    yield "left out", lambda g: None, TypeError, "grads are left out"
    yield "list", lambda g: list(g.values()), TypeError, "grads is a list; expected a mapping"
    yield (
        "missing",
        lambda g: {k: v for k, v in g.items() if k != "2.bias"},
        ValueError,
        "grads lacks '2.bias'",
    )
    yield "extra", lambda g: g | {"x": g["2.bias"]}, ValueError, "has the unexpected 'x'"
    yield (
        "shape",
        lambda g: g | {"2.bias": np.zeros(3)},
        ValueError,
        r"grads\['2.bias'\] has shape \(3,\) but params\['2.bias'\] has \(2,\)",
    )
    yield (
        "dtype",
        lambda g: g | {"2.bias": np.zeros(2, "float32")},
        TypeError,
        r"grads\['2.bias'\] has dtype float32 but params\['2.bias'\] has float64",
    )
    yield "none", lambda g: g | {"2.bias": None}, TypeError, r"grads\['2.bias'\] is a NoneType"


CHANGES = [pytest.param(*case, id=name) for name, *case in refused_grads()]


@pytest.mark.parametrize("kind", [Adam, SGD])
@pytest.mark.parametrize(("change", "error", "message"), CHANGES)
def test_refused_gradients_write_nothing(kind, change, error, message):
    params, (gradient, *_) = start()
    optimizer = kind(params)
    optimizer.step(gradient)
    before = frozen((params, optimizer.state_dict()))
    with pytest.raises(error, match=message):
        optimizer.step(change(gradient))
    assert frozen((params, optimizer.state_dict())) == before
    assert optimizer.steps == 1


@pytest.mark.parametrize(("change", "error", "message"), CHANGES[1:])
def test_refused_gradients_of_a_network_write_nothing(change, error, message):
    params, (gradient, *_) = start()
    parameters = flat_parameters(params)
    optimizer = Adam(parameters)
    before = frozen((parameters.flat, optimizer.state_dict()))
    with pytest.raises(error, match=message):
        optimizer.step(change(gradient))
    assert frozen((parameters.flat, optimizer.state_dict())) == before


def test_a_list_of_another_length_is_refused():
    arrays = [np.zeros(2), np.zeros(3)]
    with pytest.raises(ValueError, match="grads lacks 1"):
        SGD(arrays).step([np.ones(2)])
    with pytest.raises(ValueError, match="grads has the unexpected 2"):
        SGD(arrays).step([np.ones(2), np.ones(3), np.ones(4)])
    assert not arrays[0].any()


def test_a_later_array_that_fails_stops_the_first_from_being_written():
    first, last = np.zeros(3), np.zeros(3)
    optimizer = Adam([first, last])
    last.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        optimizer.step([np.ones(3), np.ones(3)])
    assert not first.any()
    last.flags.writeable = True
    with pytest.raises(ValueError, match="overlap"):
        optimizer.step([np.ones(3), last])
    assert not first.any()
    assert optimizer.steps == 0


def test_an_engine_that_refuses_a_later_array_writes_nothing(monkeypatch):
    monkeypatch.setattr(ArrayEngine, "strided", False)
    first, last = np.zeros(3), np.zeros(6)[::2]
    with pytest.raises(ValueError, match="contiguous arrays only"):
        SGD([first, last], engine="array")
    optimizer = SGD([first, np.zeros(3)], engine="array")
    with pytest.raises(ValueError, match="contiguous arrays only"):
        optimizer.step([np.ones(3), np.ones(6)[::2]])
    assert not first.any()
    assert optimizer.steps == 0


# Checkpoints


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


@pytest.mark.parametrize("order", [(1, 0), (1, 1)])
@pytest.mark.parametrize("views", [False, True])
def test_a_gradient_that_lies_in_another_parameter_is_refused(order, views):
    params = [np.ones(3, "float32"), np.ones(3, "float32")]
    if views:
        params = list(np.ones((2, 3), "float32"))
    optimizer = SGD(params, lr=1.0)
    with pytest.raises(ValueError, match=r"params\[\d\].* and grads\[\d\].* overlap"):
        optimizer.step([params[k][:] if views else params[k] for k in order])
    assert [p.tolist() for p in params] == [[1.0] * 3] * 2
    assert optimizer.steps == 0


def test_gradients_interleaved_with_parameters_are_right():
    buffer = np.arange(12, dtype="float32")
    params = [buffer[0:6:3], buffer[6::3]]
    SGD(params, lr=1.0).step([buffer[1:6:3], buffer[7::3]])
    assert buffer.tolist() == [-1, 1, 2, -1, 4, 5, -1, 7, 8, -1, 10, 11]


def test_one_gradient_may_serve_two_parameters():
    params, grad = [np.ones(3, "float32"), np.zeros(3, "float32")], np.ones(3, "float32")
    SGD(params, lr=1.0).step([grad, grad])
    assert [p.tolist() for p in params] == [[0.0] * 3, [-1.0] * 3]
