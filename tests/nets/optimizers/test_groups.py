"""Parameter groups: each group's arrays go the way they would in an optimizer of their own."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import weakref

import numpy as np
import pytest
from cases.six_gradients import KINDS, SHAPES, flat_parameters, frozen, start, write_grads
from onepass.nets import (
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    Dense,
    Momentum,
    Parameters,
    ReLU,
    RMSprop,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    load,
    save,
)
from tolerances import DTYPES

GROUPS = {"*.bias": {"weight_decay": 0.0, "lr": 0.03}, "2.weight": {"maximize": True}}
OPTIONS = {"lr": 0.02, "weight_decay": 0.1, "decoupled": True}


def own_options(name):
    """The hyperparameters of a parameter, written out."""
    if name.endswith(".bias"):
        return OPTIONS | {"weight_decay": 0.0, "lr": 0.03}
    return OPTIONS | ({"maximize": True} if name == "2.weight" else {})


def placed(engine, storage, params):
    """The parameters in one kind of storage on an engine's device, and each by name."""
    if storage == "flat":
        found = flat_parameters(params, engine.device)
        return found, found
    there = {name: engine.asarray(value) for name, value in params.items()}
    return there, there


def step(optimizer, engine, storage, gradient):
    if storage == "flat":
        write_grads(optimizer.params, gradient)
        optimizer.step()
    else:
        optimizer.step({name: engine.asarray(value) for name, value in gradient.items()})


@pytest.mark.parametrize("storage", ["flat", "dict"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_each_group_goes_the_way_of_an_optimizer_of_its_own(engine, kind, dtype, storage):
    params, gradients = start(dtype=dtype)
    alone = {name: engine.asarray(value) for name, value in params.items()}
    each = {name: kind([alone[name]], **own_options(name), engine=engine.name) for name in SHAPES}
    target, named = placed(engine, storage, params)
    optimizer = kind(target, **OPTIONS, groups=GROUPS, engine=engine.name)
    for gradient in gradients:
        step(optimizer, engine, storage, gradient)
        for name, own in each.items():
            own.step([engine.asarray(gradient[name])])
    for name in SHAPES:
        assert engine.to_numpy(named[name]).tobytes() == engine.to_numpy(alone[name]).tobytes()
    states = optimizer.state_dict()["state"]
    for state, arrays in states.items():
        for name, array in arrays.items():
            assert array.tobytes() == each[name].state_dict()["state"][state][0].tobytes()


def test_l2_decay_of_one_group_leaves_the_others_alone(engine):
    params, gradients = start(dtype="float32")
    plain = {name: engine.asarray(value) for name, value in params.items()}
    without = Adam(plain, lr=0.02, engine=engine.name)
    target, named = placed(engine, "flat", params)
    optimizer = Adam(target, lr=0.02, weight_decay=0.1, no_decay="1-D", engine=engine.name)
    for gradient in gradients:
        step(optimizer, engine, "flat", gradient)
        without.step({name: engine.asarray(value) for name, value in gradient.items()})
    for name, shape in SHAPES.items():
        same = (engine.to_numpy(named[name]) == engine.to_numpy(plain[name])).all()
        assert same == (len(shape) == 1)


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_pytorch_s_list_of_groups(engine, clip_norm):
    params, gradients = start(dtype="float32")
    a, b, c, d = (engine.asarray(value) for value in params.values())
    options = {"engine": engine.name, "clip_norm": clip_norm}
    optimizer = Adam(
        [{"params": [a, b], "weight_decay": 0.5, "lr": 3e-2}, {"params": iter([c])}, {"params": d}],
        lr=1e-2,
        **options,
    )
    assert [group["lr"] for group in optimizer.param_groups] == [3e-2, 1e-2, 1e-2]
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 1, 1]
    assert optimizer.param_groups[1]["params"][0] is c
    target = {name: engine.asarray(value) for name, value in params.items()}
    groups = {"0.*": {"weight_decay": 0.5, "lr": 3e-2}}
    by_name = Adam(target, lr=1e-2, groups=groups, **options)
    for gradient in gradients:
        there = {name: engine.asarray(value) for name, value in gradient.items()}
        optimizer.step([*there.values()])
        by_name.step(there)
    for array, other in zip((a, b, c, d), target.values(), strict=True):
        assert engine.to_numpy(array).tobytes() == engine.to_numpy(other).tobytes()


def test_they_follow_pytorch():
    torch = pytest.importorskip("torch")
    params, gradients = start()
    theirs = [torch.tensor(value, requires_grad=True) for value in params.values()]
    ours = [value.copy() for value in params.values()]

    def groups(arrays):
        return [
            {"params": arrays[:2], "lr": 0.03, "weight_decay": 0.2},
            {"params": arrays[2:], "betas": (0.5, 0.75), "eps": 1e-3},
        ]

    optimizer = Adam(groups(ours), lr=0.01)
    reference = torch.optim.Adam(groups(theirs), lr=0.01)
    schedule = torch.optim.lr_scheduler.ExponentialLR(reference, 0.9)
    for gradient in gradients:
        for array, grad in zip(theirs, gradient.values(), strict=True):
            array.grad = torch.tensor(grad)
        optimizer.step([*gradient.values()])
        reference.step()
        schedule.step()
        optimizer.lr *= 0.9
    for array, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array, other.detach().numpy(), rtol=1e-11)


# --- reading and changing -------------------------------------------------------------------------
def test_groups_are_read_and_changed():
    target = flat_parameters(start()[0])
    optimizer = AdamW(target, lr=0.1, groups={"*.bias": {"lr": 0.3}}, no_decay="1-D")
    weights, biases = optimizer.param_groups
    assert dict(biases) == {"params": biases["params"], **optimizer.hyper} | {
        "lr": 0.3,
        "weight_decay": 0.0,
    }
    assert [array.shape for array in weights["params"]] == [(3, 4), (4, 2)]
    assert all(np.shares_memory(array, target.flat) for array in weights["params"])
    optimizer.lr = 0.01
    assert (weights["lr"], biases["lr"]) == (0.01, pytest.approx(0.03, rel=1e-15))
    biases["lr"] = 0.5
    assert (optimizer.lr, weights["lr"], biases["lr"]) == (0.01, 0.01, 0.5)
    optimizer.weight_decay = 0.25
    assert (weights["weight_decay"], biases["weight_decay"]) == (0.25, 0.0)
    for name, value, error in (("lr", -1.0, ValueError), ("momentum", 0.9, TypeError)):
        before = [dict(group, params=None) for group in optimizer.param_groups]
        with pytest.raises(error):
            biases[name] = value
        assert [dict(group, params=None) for group in optimizer.param_groups] == before
    with pytest.raises(TypeError, match="params can't be set"):
        biases["params"] = []


def test_an_lr_that_was_0_comes_back_in_proportion():
    optimizer = SGD(flat_parameters(start()[0]), lr=0.1, groups={"*.bias": {"lr": 0.2}})
    biases = optimizer.param_groups[1]
    optimizer.lr = 0.0
    assert biases["lr"] == 0.0
    optimizer.lr = 0.05
    assert biases["lr"] == 0.1


def test_rules_that_differ_are_refused():
    groups = {"*.bias": {"nesterov": True}}
    with pytest.raises(ValueError, match="rules 'momentum' and 'nesterov'; expected one"):
        Momentum(flat_parameters(start()[0]), groups=groups)
    optimizer = Momentum(flat_parameters(start()[0]), groups={"*.bias": {"lr": 0.3}})
    with pytest.raises(ValueError, match="expected one rule"):
        optimizer.param_groups[0]["nesterov"] = True
    assert optimizer.param_groups[0]["nesterov"] is False
    optimizer.nesterov = True  # of all


BAD = {
    "unknown option": (
        {"*.bias": {"momentum": 0.9}},
        TypeError,
        "Adam has no 'momentum'; exp",
    ),
    "bad value": ({"*.bias": {"lr": -1}}, ValueError, "lr is -1"),
    "matches nothing": ({"*.gamma": {}}, ValueError, r"'\*.gamma' matches no parameter; there are"),
    "in two": (
        {"*.bias": {}, "0.*": {}},
        ValueError,
        r"'0.bias' is matched by groups\['\*.b",
    ),
    "no mapping": ({"*.bias": 0.1}, TypeError, r"groups\['\*.bias'\] is a float"),
    "no groups": ("*.bias", TypeError, "groups is a str"),
    "a list without params": ([{"lr": 0.1}], TypeError, r"groups\[0\] is a dict without 'params'"),
    "no pattern": ([{"params": [3]}], TypeError, r"groups\[0\] is \[3\]; expected a pattern"),
}


@pytest.mark.parametrize("case", BAD)
def test_groups_that_can_t_be_are_refused(case):
    groups, error, message = BAD[case]
    with pytest.raises(error, match=message):
        Adam(flat_parameters(start()[0]), groups=groups)


def test_lists_of_groups_that_can_t_be_are_refused():
    a, b = np.ones(3), np.ones(2)
    refused = [
        ([{"params": [a]}, {"params": [b, a]}], ValueError, r"groups params\[0\] and params\[1\]"),
        ([{"params": [a]}, b], TypeError, r"params\[1\] is a ndarray; expected groups"),
        ([{"params": []}], ValueError, r"params\[0\]\['params'\] are empty"),
        ([{"params": [a], "lrr": 1}], TypeError, "Adam has no 'lrr'"),
        ([{"lr": 1}], TypeError, "a dict without 'params'"),
        ([{"params": [a]}, {"params": [a[1:]]}], ValueError, "overlap in memory"),
    ]
    for params, error, message in refused:
        with pytest.raises(error, match=message):
            Adam(params)
    with pytest.raises(TypeError, match="groups choose arrays by name, but params are a list"):
        Adam([a, b], groups={"*": {}})
    with pytest.raises(TypeError, match="params are groups, and groups are given"):
        Adam([{"params": [a]}], groups={"*": {}})


@pytest.mark.parametrize(
    ("choice", "spared"),
    [
        ("1-D", ["0.bias", "2.bias"]),
        ("0.*", ["0.weight", "0.bias"]),
        (["2.bias", "0.b*"], ["0.bias", "2.bias"]),
        (lambda name, array: array.size > 10, ["0.weight"]),
    ],
)
def test_ways_to_say_what_has_no_decay(choice, spared):
    optimizer = AdamW(flat_parameters(start()[0]), no_decay=choice)
    for group in optimizer.param_groups:
        for key in group.keys_of:
            assert group["weight_decay"] == (0.0 if key in spared else 0.01)


def test_a_name_is_taken_before_it_is_a_pattern():
    params = {"w[0]": np.ones(2), "w0": np.ones(2), "1-D": np.ones((2, 2))}
    optimizer = SGD(params, groups={"w[0]": {"lr": 1.0}}, no_decay="1-D", weight_decay=0.1)
    assert [group.keys_of for group in optimizer.param_groups] == [("w0",), ("1-D",), ("w[0]",)]


# --- frozen parameters ----------------------------------------------------------------------------
@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("storage", ["flat", "dict"])
def test_frozen_parameters_stay(engine, storage, clip_norm):
    params, gradients = start(dtype="float32")
    options = {"clip_norm": clip_norm, "engine": engine.name}
    target, named = placed(engine, storage, params)
    optimizer = Adam(target, frozen="0.*", **options)
    rest = {name: engine.asarray(params[name]) for name in ("2.weight", "2.bias")}
    alone = Adam(rest, **options)
    for gradient in gradients:
        step(optimizer, engine, storage, gradient)
        alone.step({name: engine.asarray(gradient[name]) for name in rest})
    for name in SHAPES:
        want = params[name] if name.startswith("0.") else engine.to_numpy(rest[name])
        if clip_norm is None:
            assert engine.to_numpy(named[name]).tobytes() == want.tobytes()
        else:
            np.testing.assert_allclose(engine.to_numpy(named[name]), want, rtol=1e-5)
    assert optimizer.frozen == ("0.weight", "0.bias")
    assert not optimizer.state_dict()["state"]["m"]["0.weight"].any()


@pytest.mark.parametrize("storage", ["flat", "list", "dict"])
def test_a_gradient_of_none_leaves_its_parameter_as_it_is_in_that_step(engine, storage):
    params, (first, second, third, *_) = start(dtype="float32")
    target, named = placed(engine, "flat" if storage == "flat" else "dict", params)
    options = {"engine": engine.name, "clip_norm": 1.0}
    optimizer = Adam([*target.values()] if storage == "list" else target, **options)
    there = [{k: engine.asarray(v) for k, v in g.items()} for g in (first, second, third)]
    there[1]["0.bias"] = None

    def give(gradient):
        optimizer.step([*gradient.values()] if storage == "list" else gradient)

    give(there[0])
    before = {name: engine.to_numpy(array).tobytes() for name, array in named.items()}
    states = optimizer.state_dict()["state"]
    give(there[1])
    key = 1 if storage == "list" else "0.bias"
    for name, array in named.items():
        assert (engine.to_numpy(array).tobytes() == before[name]) == (name == "0.bias")
    for state, arrays in optimizer.state_dict()["state"].items():
        assert arrays[key].tobytes() == states[state][key].tobytes()
    assert optimizer.steps == 2
    give(there[2])
    before = {name: engine.to_numpy(array).tobytes() for name, array in named.items()}
    give(dict.fromkeys(there[0]))  # nobody has one
    assert {name: engine.to_numpy(array).tobytes() for name, array in named.items()} == before
    assert optimizer.steps == 4


@pytest.mark.parametrize("storage", ["flat", "dict"])
def test_the_only_one_that_is_stepped_has_its_own_group(engine, storage):
    params, gradients = start(dtype="float32")
    target, named = placed(engine, storage, params)
    groups = {"*.bias": {"lr": 0.5}}
    optimizer = SGD(target, lr=0.1, groups=groups, frozen=["*.weight", "0.bias"],
                    engine=engine.name)  # fmt: skip
    for gradient in gradients:
        step(optimizer, engine, storage, gradient)
    want = params["2.bias"].astype("float64") - 0.5 * sum(g["2.bias"] for g in gradients)
    np.testing.assert_allclose(engine.to_numpy(named["2.bias"]), want, rtol=1e-5)


def test_a_large_one_alone_has_its_own_group():
    a, b = np.ones(10, "float32"), np.ones(3_000_000, "float32")
    optimizer = SGD([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
    optimizer.step([None, np.ones_like(b)])
    assert (a == 1).all()
    assert (b == 0.5).all()


def test_what_is_frozen_is_told_when_it_is_made():
    optimizer = SGD([np.zeros(2)])
    with pytest.raises(AttributeError):
        optimizer.frozen = (0,)


def test_all_of_them_can_be_frozen(reference):
    net = network(reference.device)
    before = net.backend.to_numpy(net.parameters().flat)
    optimizer = AdamW(net.parameters(), frozen="*", groups={"3.*": {"lr": 1.0}})
    history = fit(net, (X, Y), optimizer=optimizer, epochs=1, **TRAIN)
    assert history.path == "all of the optimizer's parameters are frozen"
    assert (net.backend.to_numpy(net.parameters().flat) == before).all()


def test_an_optimizer_is_let_go_at_once_with_its_states():
    """On a GPU they are much of the memory."""
    optimizer = Adam([np.ones(3)], groups=None)
    group, known = optimizer.param_groups[0], weakref.ref(optimizer)
    gc.disable()
    try:
        optimizer.step([np.ones(3)])
        del optimizer
        assert known() is None
    finally:
        gc.enable()
    with pytest.raises(ReferenceError, match="the optimizer of this group is gone"):
        group["lr"] = 0.1


def test_gradients_of_earlier_steps_are_let_go():
    params = [np.ones(3), np.ones(2)]
    optimizer = SGD(params, frozen=lambda name, array: name == 0)
    gradient = np.ones(2)
    known = weakref.ref(gradient)
    optimizer.step([None, gradient])
    del gradient
    gc.collect()
    assert known() is None


# --- checkpoints ----------------------------------------------------------------------------------
def grouped(kind=Adam, **options):
    target = flat_parameters(start()[0])
    given = {"lr": 0.02, "weight_decay": 0.1, "groups": GROUPS, "frozen": ["0.bias"]}
    return target, kind(target, **given | options)


def test_a_checkpoint_holds_groups():
    target, optimizer = grouped()
    gradients = start()[1]
    for gradient in gradients[:3]:
        optimizer.step(gradient)
    optimizer.lr = 0.015
    optimizer.param_groups[0]["weight_decay"] = 0.3
    state = pickle.loads(pickle.dumps(optimizer.state_dict()))
    other, resumed = grouped()
    other.flat[...] = target.flat
    resumed.load_state_dict(state)
    for made in (resumed, copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert repr(made) == repr(optimizer)
        assert frozen(made.state_dict()) == frozen(optimizer.state_dict())
    copied, twin = copy.deepcopy((target, optimizer))
    for gradient in gradients[3:]:
        for each in (optimizer, resumed, twin):
            each.step(gradient)
            each.lr *= 0.7
    assert target.flat.tobytes() == other.flat.tobytes() == copied.flat.tobytes()
    twin.param_groups[0]["lr"] = 1.0
    assert optimizer.param_groups[0]["lr"] != 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": None}, "state is of other groups: state has"),
        ({"groups": {"*.bias": {}}}, "state is of other groups"),
        ({"frozen": None}, r"frozen \['0.bias'\]; expected \[\]"),
    ],
)
def test_a_checkpoint_of_other_groups_is_refused(options, message):
    _, optimizer = grouped()
    _, other = grouped(**options)
    before = frozen(other.state_dict())
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match=re.compile("other groups|frozen")):
        optimizer.load_state_dict(other.state_dict())
    assert frozen(other.state_dict()) == before


def network(device="cpu", dtype="float32"):
    return Sequential(
        Dense(6, 8), BatchNorm(8), ReLU(), Dense(8, 3), device=device, dtype=dtype, seed=1
    )


RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6)).astype("float32"), RNG.integers(0, 3, 40)
TRAIN = {"loss": SoftmaxCrossEntropy(), "batch_size": 8, "progress": False, "seed": 3}
GROUPED = {"no_decay": "1-D", "groups": {"3.*": {"lr": 0.003}}, "weight_decay": 0.1}


def test_a_file_holds_groups(tmp_path):
    whole, half = network(), network()
    optimizer = AdamW(half.parameters(), **GROUPED, frozen="1.beta")
    path = tmp_path / "net.safetensors"
    fit(half, (X, Y), optimizer=optimizer, epochs=1, **TRAIN)
    save(path, half, optimizer=optimizer)
    saved = load(path, device="cpu")
    assert repr(saved.optimizer) == repr(optimizer)
    own = AdamW(whole.parameters(), **GROUPED, frozen="1.beta")
    fit(whole, (X, Y), optimizer=own, epochs=1, **TRAIN)
    for net, each in ((whole, own), (saved.net, saved.optimizer)):
        fit(net, (X, Y), optimizer=each, epochs=2, **TRAIN)
    assert whole.parameters().flat.tobytes() == saved.net.parameters().flat.tobytes()
    assert not saved.net.parameters()["1.beta"].any()


def test_a_file_holds_states_that_a_group_asks_for(tmp_path):
    net = network()
    optimizer = RMSprop(net.parameters(), groups=[{"params": "*", "momentum": 0.5}])
    fit(net, (X, Y), optimizer=optimizer, epochs=1, **TRAIN)
    save(tmp_path / "net.safetensors", net, optimizer=optimizer)
    saved = load(tmp_path / "net.safetensors", device="cpu")
    assert repr(saved.optimizer) == repr(optimizer)
    assert frozen(saved.optimizer.state_dict()) == frozen(optimizer.state_dict())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda s: s["groups"][0].update(params=None), TypeError),
        (lambda s: s["groups"][0].update(hyper=None), TypeError),
        (lambda s: s["groups"][0].update(lr_of=-1.0), ValueError),
        (lambda s: s["groups"][0].update(hyper={"lrr": 1.0}), TypeError),
        (lambda s: s.update(groups=3), TypeError),
        (lambda s: s.update(groups=[]), ValueError),
        (lambda s: s.update(frozen=3), ValueError),
    ],
)
def test_a_damaged_checkpoint_is_refused(change, error):
    _, optimizer = grouped()
    before = optimizer.state_dict()
    state = copy.deepcopy(before)
    change(state)
    with pytest.raises(error, match="state" if error is ValueError else "state|lrr"):
        optimizer.load_state_dict(state)
    assert frozen(optimizer.state_dict()) == frozen(before)


# --- training -------------------------------------------------------------------------------------
class Watched(AdamW):
    """An optimizer whose steps are not captured."""

    __slots__ = ()

    def step(self, grads=None, *, grad_scale=1.0):
        super().step(grads, grad_scale=grad_scale)


@pytest.mark.parametrize("more", [{}, {"clip_norm": 0.2}, {"frozen": "0.*"}])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_captured_steps_have_groups(reference, dtype, more):
    """As steps layer by layer have them; a bias before a batch norm has no gradient but rounding.

    Groups with a coefficient for each run, and runs that are left out: whole, they would show.
    """
    found = {}
    for kind in (AdamW, Watched):
        net = Sequential(
            Dense(6, 8), ReLU(), Dense(8, 3), seed=1, dtype=dtype, device=reference.device
        )
        groups = {"2.*": {"lr": 0.003, "weight_decay": 0.3}}
        optimizer = kind(net.parameters(), groups=groups, no_decay="1-D", **more)
        history = fit(net, (X, Y), optimizer=optimizer, epochs=2, **TRAIN)
        assert (history.path == "captured") == (kind is AdamW), history.path
        found[kind] = net.backend.to_numpy(net.parameters().flat)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(found[AdamW], found[Watched], rtol=1e4 * eps, atol=1e3 * eps)


def test_large_groups_are_shared_by_threads(set_threads):
    """Runs that helpers cut anywhere: the same bits as on one thread."""
    shapes = {"0.weight": (700, 900), "0.bias": (900,), "2.weight": (900, 301), "2.bias": (301,)}
    found = []
    for threads in (1, 2):
        set_threads(threads)
        params = Parameters(shapes, device="cpu")
        params.flat[...] = np.linspace(-1, 1, params.flat.size, dtype="float32")
        optimizer = AdamW(params, no_decay="1-D", groups={"2.*": {"lr": 0.1}})
        for k in range(3):
            params.flat_grads[...] = np.cos(np.arange(params.flat.size) * (k + 1))
            optimizer.step()
        found.append(params.flat.tobytes())
    assert found[0] == found[1]


def test_a_shallow_copy_has_groups_of_its_own():
    arrays = [np.ones(3), np.ones(2)]
    made = Adam([{"params": arrays[:1], "lr": 0.1}, {"params": arrays[1:]}], lr=0.01)
    copied = copy.copy(made)
    copied.param_groups[0]["lr"] = 0.5
    assert made.param_groups[0]["lr"] == 0.1
    del copied
    made.param_groups[0]["lr"] = 0.2
    assert made.param_groups[0]["params"][0] is arrays[0]
    assert made.param_groups[0]["lr"] == 0.2
