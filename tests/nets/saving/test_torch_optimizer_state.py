"""An optimizer's state goes to PyTorch and back, and the steps go on as if it had stayed."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import onepass.nets as nets
import pytest
from onepass.nets import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    Dense,
    Momentum,
    ReLU,
    RMSprop,
    Sequential,
    load_torch_optimizer_state,
    load_torch_state,
    torch_optimizer_state,
    torch_state,
)
from onepass.nets.saving.torch_optimizers import KINDS

TOLERANCE = {"rtol": 1e-11, "atol": 1e-14}
SHAPES = (4, 3), (3,), (3, 2), ()
GROUPED = (0, 2), (1, 3)  # indices of SHAPES
OWN = {"lr": 0.02, "weight_decay": 0.0}  # of the second group
# name -> (optimizer here, class in torch.optim, options there, the same here)
CASES = {
    "sgd": ("SGD", "SGD", {"lr": 0.1, "weight_decay": 0.01}, {}),
    "sgd, maximize": ("SGD", "SGD", {"lr": 0.1, "maximize": True}, {}),
    "momentum": ("Momentum", "SGD", {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.01}, {}),
    "nesterov": ("Momentum", "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}, {}),
    "dampening": ("Momentum", "SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.4}, {}),
    "adagrad": ("AdaGrad", "Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.01}, {}),
    "adagrad, from a value": (
        "AdaGrad",
        "Adagrad",
        {"lr": 0.1, "initial_accumulator_value": 0.3},
        {},
    ),
    "rmsprop": ("RMSprop", "RMSprop", {"alpha": 0.9, "eps": 1e-6, "weight_decay": 0.01}, {}),
    "rmsprop, centered": ("RMSprop", "RMSprop", {"centered": True}, {}),
    "rmsprop, momentum": ("RMSprop", "RMSprop", {"momentum": 0.7}, {}),
    "rmsprop, both": ("RMSprop", "RMSprop", {"momentum": 0.7, "centered": True}, {}),
    "adam": ("Adam", "Adam", {"betas": (0.8, 0.95), "weight_decay": 0.01, "maximize": True}, {}),
    "adam, decoupled": (
        "Adam",
        "Adam",
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"decoupled": True},
    ),
    "adamw": ("AdamW", "AdamW", {"weight_decay": 0.1, "eps": 1e-5}, {}),
    "amsgrad": ("AMSGrad", "Adam", {"amsgrad": True, "betas": (0.8, 0.9)}, {}),
    "amsgrad, decoupled": (
        "AMSGrad",
        "AdamW",
        {"amsgrad": True, "weight_decay": 0.1},
        {"decoupled": True},
    ),
    "adadelta": ("Adadelta", "Adadelta", {"rho": 0.8, "eps": 1e-5, "weight_decay": 0.01}, {}),
    "adamax": ("Adamax", "Adamax", {"betas": (0.8, 0.9), "weight_decay": 0.01}, {}),
    "nadam": ("NAdam", "NAdam", {"betas": (0.8, 0.9), "momentum_decay": 0.01}, {}),
    "nadam, decoupled": (
        "NAdam",
        "NAdam",
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"decoupled": True},
    ),
    "radam": ("RAdam", "RAdam", {"betas": (0.8, 0.9), "weight_decay": 0.01}, {}),
    "radam, decoupled": (
        "RAdam",
        "RAdam",
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"decoupled": True},
    ),
}
OURS_ALONE = {nets.Lion}


@pytest.fixture
def torch():
    """PyTorch, whose scalars of an optimizer (NAdam's product) are of the default dtype."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def draws(seed, times):
    rng = np.random.default_rng(seed)
    return [[rng.standard_normal(shape) for shape in SHAPES] for _ in range(times)]


def grouped(params, own=OWN):
    first, second = ([params[k] for k in keys] for keys in GROUPED)
    return [{"params": first}, {"params": second, **own}]


def pair(torch, case, **more):
    """An optimizer of PyTorch's, one here with no options but what is no option there, and the
    parameters of each."""
    ours, theirs, options, same = CASES[case]
    (start,) = draws(0, 1)
    tensors = [torch.tensor(value, requires_grad=True) for value in start]
    arrays = [np.array(value) for value in start]
    there = getattr(torch.optim, theirs)(grouped(tensors), **options)
    here = getattr(nets, ours)(grouped(arrays, {}), **same, **more)
    return there, tensors, here, arrays


def step_there(torch, optimizer, tensors, gradients):
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = torch.tensor(gradient)
    optimizer.step()


def step_here(optimizer, gradients):
    optimizer.step([gradients[k] for keys in GROUPED for k in keys])


def assert_same(arrays, tensors):
    for array, tensor in zip(arrays, tensors, strict=True):
        np.testing.assert_allclose(array, tensor.detach().numpy(), **TOLERANCE)


def numbers(state):
    """A state_dict of PyTorch's without tensors, to compare."""
    return {
        "state": {
            number: {name: np.asarray(value) for name, value in own.items()}
            for number, own in state["state"].items()
        },
        "param_groups": state["param_groups"],
    }


# --- to and fro -----------------------------------------------------------------------------------
@pytest.mark.parametrize("before", [0, 1, 7])
@pytest.mark.parametrize("case", CASES)
def test_what_pytorch_began_goes_on_here(torch, case, before):
    there, tensors, here, arrays = pair(torch, case)
    for gradients in draws(1, before):
        step_there(torch, there, tensors, gradients)
    for array, tensor in zip(arrays, tensors, strict=True):
        array[...] = tensor.detach().numpy()
    load_torch_optimizer_state(here, there.state_dict())
    for gradients in draws(2, 4):
        step_there(torch, there, tensors, gradients)
        step_here(here, gradients)
        assert_same(arrays, tensors)
    assert not np.allclose(arrays[0], draws(0, 1)[0][0])


@pytest.mark.parametrize("before", [0, 1, 7])
@pytest.mark.parametrize("case", CASES)
def test_what_began_here_goes_on_in_pytorch(torch, case, before):
    there, tensors, here, arrays = pair(torch, case)
    load_torch_optimizer_state(here, there.state_dict())  # its options
    for gradients in draws(1, before):
        step_here(here, gradients)
    with torch.no_grad():
        for array, tensor in zip(arrays, tensors, strict=True):
            tensor.copy_(torch.tensor(array))
    fresh = type(there)(grouped(tensors, {}))
    fresh.load_state_dict(torch_optimizer_state(here))
    for gradients in draws(2, 4):
        step_there(torch, fresh, tensors, gradients)
        step_here(here, gradients)
        assert_same(arrays, tensors)


@pytest.mark.parametrize("case", CASES)
def test_a_state_comes_back_as_it_went(torch, case):
    there, tensors, here, _ = pair(torch, case)
    for gradients in draws(1, 3):
        step_there(torch, there, tensors, gradients)
    state = numbers(there.state_dict())
    load_torch_optimizer_state(here, there.state_dict())
    back = numbers(torch_optimizer_state(here))
    assert back["state"].keys() == state["state"].keys()
    for number, own in state["state"].items():
        assert back["state"][number].keys() == own.keys()
        for name, value in own.items():
            found = back["state"][number][name]
            assert (found.shape, found.dtype) == (value.shape, value.dtype)
            np.testing.assert_allclose(found, value, rtol=1e-15)
    for mine, given in zip(back["param_groups"], state["param_groups"], strict=True):
        given = given | {"initial_accumulator_value": 0} if "lr_decay" in given else given
        assert mine == given


def test_states_come_to_where_the_parameters_are(engine, torch):
    there, tensors, _, _ = pair(torch, "adam")
    for gradients in draws(1, 3):
        step_there(torch, there, tensors, gradients)
    arrays = [engine.asarray(tensor.detach().numpy().copy()) for tensor in tensors]
    here = Adam(grouped(arrays, {}), use_ema=True, engine=engine.name)
    load_torch_optimizer_state(here, there.state_dict())
    np.testing.assert_array_equal(engine.to_numpy(here.averages[0]), engine.to_numpy(arrays[0]))
    for gradients in draws(2, 3):
        step_there(torch, there, tensors, gradients)
        step_here(here, [engine.asarray(np.array(gradient)) for gradient in gradients])
    assert_same(map(engine.to_numpy, arrays), tensors)
    state = torch_optimizer_state(here)["state"]
    assert_same([state[0]["exp_avg"]], [there.state_dict()["state"][0]["exp_avg"]])


def torch_network(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one = torch.nn.Linear(5, 4, bias=False)
            self.norm = torch.nn.BatchNorm1d(4)
            self.two = torch.nn.Linear(4, 3)

        def forward(self, x):
            return self.two(torch.relu(self.norm(self.one(x))))

    return Net()


def our_network():
    layers = Dense(5, 4, bias=False), BatchNorm(4, eps=1e-5), ReLU(), Dense(4, 3)
    return Sequential(*layers, dtype="float64", device="cpu")


def by_axes(module):
    """What practice has: weights decay, biases and norms do not."""
    params = [*module.parameters()]
    weights = [p for p in params if p.ndim > 1]
    return [{"params": weights}, {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0}]


def gradients_there(torch, module, seed):
    x = torch.tensor(np.random.default_rng(seed).standard_normal((8, 5)))
    module.zero_grad()
    (module(x) ** 2).sum().backward()


def take_gradients(net, module):
    """Those of PyTorch's, by hand: the order of modules and the turned weights are told here."""
    theirs = {name: p.grad.numpy() for name, p in module.named_parameters()}
    for ours, name in {"0": "one", "1": "norm", "3": "two"}.items():
        for key, other in (("weight", "weight"), ("bias", "bias"), ("gamma", "weight")):
            if f"{ours}.{key}" in net.parameters():
                gradient = theirs[f"{name}.{other}"]
                net.parameters().grads[f"{ours}.{key}"][...] = (
                    gradient.T if gradient.ndim == 2 else gradient
                )
        if f"{ours}.beta" in net.parameters():
            net.parameters().grads[f"{ours}.beta"][...] = theirs[f"{name}.bias"]


@pytest.mark.parametrize("storage", ["flat", "dict"])
def test_a_network_goes_over_with_its_optimizer_and_back(torch, storage):
    module, net = torch_network(torch), our_network()
    there = torch.optim.AdamW(by_axes(module), lr=0.01, weight_decay=0.1)
    for seed in range(3):
        gradients_there(torch, module, seed)
        there.step()
    load_torch_state(net, module.state_dict())
    params = net.parameters() if storage == "flat" else dict(net.parameters())
    here = AdamW(params, lr=1.0, no_decay="1-D")
    load_torch_optimizer_state(here, there.state_dict(), net)
    assert [group["weight_decay"] for group in here.param_groups] == [0.1, 0.0]
    for seed in range(3, 6):
        gradients_there(torch, module, seed)
        take_gradients(net, module)
        there.step()
        here.step(None if storage == "flat" else dict(net.parameters().grads))
    again = torch_network(torch)
    again.load_state_dict(torch_state(net, like=again.state_dict()))
    for mine, theirs in zip(again.parameters(), module.parameters(), strict=True):
        np.testing.assert_allclose(mine.detach(), theirs.detach(), **TOLERANCE)
    other = torch.optim.AdamW(by_axes(again))
    other.load_state_dict(torch_optimizer_state(here, net))
    for seed in range(6, 8):
        for trained, optimizer in ((module, there), (again, other)):
            gradients_there(torch, trained, seed)
            optimizer.step()
        for mine, theirs in zip(again.parameters(), module.parameters(), strict=True):
            np.testing.assert_allclose(mine.detach(), theirs.detach(), rtol=1e-9, atol=1e-12)


def test_a_frozen_parameter_has_no_state(torch):
    there, tensors, _, _ = pair(torch, "adam")
    for tensor, gradient in zip(tensors, draws(1, 1)[0], strict=True):
        tensor.grad = torch.tensor(gradient)
    tensors[2].grad = None
    there.step()
    arrays = grouped([*map(np.array, draws(0, 1)[0])], {})
    here = Adam(arrays, frozen=lambda key, array: key == 1)  # the second of the first group
    load_torch_optimizer_state(here, there.state_dict())
    assert here.steps == 1
    assert torch_optimizer_state(here)["state"].keys() == {0, 2, 3}


def test_options_in_tensors_and_what_schedules_leave_are_taken(torch):
    value = torch.ones(2, requires_grad=True)
    named = [("weight", value)]  # whose names PyTorch keeps in the group
    there = torch.optim.Adam(named, lr=torch.tensor(0.5), foreach=False, fused=True)
    torch.optim.lr_scheduler.StepLR(there, 1)
    here = Adam([np.ones(2)])
    load_torch_optimizer_state(here, there.state_dict())
    assert here.lr == 0.5


def test_a_product_of_other_options_is_refused(torch):
    """PyTorch keeps what came of the options so far; here it comes of those of now."""
    there, tensors, here, _ = pair(torch, "nadam")
    for gradients in draws(1, 3):
        step_there(torch, there, tensors, gradients)
    state = there.state_dict()
    state["param_groups"][1]["momentum_decay"] = 0.5
    words = r"\[2\]\['mu_product'\] is 0\.0.*; expected 0\.0.*, which comes of 3 steps"
    with pytest.raises(ValueError, match=words):
        load_torch_optimizer_state(here, state)
    assert here.steps == 0


def test_a_product_in_float32_is_near_enough(torch):
    """NAdam's, which PyTorch keeps in the default dtype and rounds in each step."""
    torch.set_default_dtype(torch.float32)
    there, tensors, here, _ = pair(torch, "nadam")
    there.param_groups[0]["betas"] = there.param_groups[1]["betas"] = (0.999, 0.9)
    for _ in range(40):
        step_there(torch, there, tensors, [np.ones(shape) for shape in SHAPES])
    assert there.state_dict()["state"][0]["mu_product"].dtype == torch.float32
    load_torch_optimizer_state(here, there.state_dict())
    assert here.steps == 40


def test_averages_begin_with_the_parameters_or_stay(torch):
    there, tensors, here, arrays = pair(torch, "adam", use_ema=True, ema_momentum=0.5)
    for gradients in draws(1, 3):
        step_there(torch, there, tensors, gradients)
    load_torch_optimizer_state(here, there.state_dict())
    before = {key: average.copy() for key, average in here.averages.items()}
    np.testing.assert_array_equal(before[0], arrays[0])
    step_here(here, draws(2, 1)[0])
    np.testing.assert_allclose(here.averages[0], (before[0] + arrays[0]) / 2)
    kept = here.averages[0].copy()
    load_torch_optimizer_state(here, there.state_dict())
    np.testing.assert_array_equal(here.averages[0], kept)
    assert torch_optimizer_state(here)["state"][0].keys() == {"step", "exp_avg", "exp_avg_sq"}


def test_clipping_stays(torch):
    there, _, here, _ = pair(torch, "adam", clip_norm=0.5, clip_value=0.1)
    load_torch_optimizer_state(here, there.state_dict())
    assert (here.clip_norm, here.clip_value) == (0.5, 0.1)


def test_an_older_adamw_does_not_say_that_it_is_decoupled(torch):
    there, _, here, _ = pair(torch, "adamw")
    state = there.state_dict()
    for group in state["param_groups"]:
        del group["decoupled_weight_decay"], group["maximize"]
    load_torch_optimizer_state(here, state)
    assert (here.decoupled, here.maximize) == (True, False)


def test_a_schedule_moves_loaded_groups_in_proportion(torch):
    there, _, here, _ = pair(torch, "adam")
    load_torch_optimizer_state(here, there.state_dict())
    assert [group["lr"] for group in here.param_groups] == [1e-3, 0.02]
    here.lr = 1e-4
    assert [group["lr"] for group in here.param_groups] == pytest.approx([1e-4, 2e-3])


def test_an_option_of_a_group_alone_stays_one(torch):
    """Setting the optimizer's own then leaves that group alone, as before."""
    decay = {"weight_decay": 0.0}
    here = AdamW([{"params": [np.ones(2)], **decay}, {"params": [np.ones(2)]}], weight_decay=0.3)
    tensors = [torch.ones(2, requires_grad=True) for _ in range(2)]
    groups = [{"params": [tensors[0]], **decay}, {"params": [tensors[1]], "weight_decay": 0.1}]
    load_torch_optimizer_state(here, torch.optim.AdamW(groups).state_dict())
    here.weight_decay = 0.2
    assert [group["weight_decay"] for group in here.param_groups] == [0.0, 0.2]


def test_a_momentum_that_never_stepped_is_dampened_as_in_pytorch(torch):
    there, _, here, _ = pair(torch, "dampening")
    here.step([np.ones(array.shape) for group in here.param_groups for array in group["params"]])
    load_torch_optimizer_state(here, there.state_dict())
    assert here.steps == 0


# --- the table ------------------------------------------------------------------------------------
def test_every_optimizer_is_in_the_table_or_known_to_be_ours_alone():
    shipped = {kind for kind in OPTIMIZERS.values() if kind.__module__.startswith("onepass.")}
    assert shipped == {*KINDS} | OURS_ALONE
    assert {ours for ours, *_ in CASES.values()} == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("ours", KINDS, ids=lambda kind: kind.__name__)
def test_every_option_and_state_is_translated(ours):
    kind, optimizer = KINDS[ours], ours([np.ones(2)])
    assert {*kind.options} | {*kind.apart} == {*optimizer.hyper}
    assert {*kind.states} >= {*optimizer.state_dict()["state"]}


@pytest.mark.parametrize("ours", KINDS, ids=lambda kind: kind.__name__)
def test_a_group_has_the_options_of_pytorch(torch, ours):
    optimizer = getattr(torch.optim, KINDS[ours].name)([torch.ones(2)])
    (theirs,) = optimizer.state_dict()["param_groups"]
    (mine,) = torch_optimizer_state(ours([np.ones(2)]))["param_groups"]
    assert mine.keys() == theirs.keys()


# --- bad input ------------------------------------------------------------------------------------
def without(name):
    def change(state):
        del state["param_groups"][1][name]

    return change


def with_option(name, value, group=1):
    def change(state):
        state["param_groups"][group][name] = value

    return change


def with_state(number, **values):
    def change(state):
        state["state"][number].update(values)

    return change


def without_state(number):
    def change(state):
        del state["state"][number]

    return change


def with_all(**values):
    def change(state):
        state.clear()
        state.update(values)

    return change


def one_group(state):
    state["param_groups"] = [
        state["param_groups"][0] | {"params": [0, 1, 2, 3]},
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_all(state={}), "state lacks 'param_groups'"),
        (with_all(state={}, param_groups=7), r"state\['param_groups'\] is a int; expected a list"),
        (with_all(state={}, param_groups=[{}, {}]), r"\['param_groups'\]\[0\] is {}; .*'params'"),
        (with_all(state={}, param_groups=[]), "state has 0 groups"),
        (one_group, "state has 1 group of 4 parameters, but the optimizer has 2 groups of 2, 2"),
        (with_option("params", [0, 3]), r"parameters \[0, 1, 0, 3\]; expected each number once"),
        (
            with_option("params", [np.ones(3), 3]),
            r"\[1\] is .*; expected a mapping whose 'params' are",
        ),
        (with_option("params", [2, 9]), r"state\['state'\] has 3, which no group has"),
        (without("betas"), r"\['param_groups'\]\[1\] lacks 'betas'; .* torch.optim.Adam"),
        (with_option("lr_scale", 0.5), r"\['param_groups'\]\[1\] has the unknown 'lr_scale'"),
        (with_option("amsgrad", True), "has amsgrad=True; it goes into AMSGrad here, not into Ada"),
        (with_option("lr", -1.0), "lr is -1.0; expected a finite number >= 0"),
        (with_option("lr", "fast"), "lr is 'fast'"),
        (with_option("betas", (0.9, 1.5)), r"betas\[1\] is 1.5"),
        (with_state(1, exp_avg=np.zeros(4)), r"\[1\]\['exp_avg'\] has shape \(4,\); expected \(3"),
        (with_state(1, exp_avg="text"), r"\[1\]\['exp_avg'\] is a str"),
        (with_state(1, square_avg=np.zeros(3)), r"\[1\] has the unexpected 'square_avg'"),
        (with_state(1, exp_avg=None), r"state\['state'\]\[1\] lacks 'exp_avg'"),
        (with_state(1, step=9.0), "steps of its parameters: 2 of .0, 2, 3., 9 of .1.; expected on"),
        (with_state(1, step=2.5), r"\[1\]\['step'\] is 2.5; expected a whole number"),
        (without_state(3), "0 of .3., 2 of .0, 1, 2.; expected one number, .* can be frozen"),
    ],
)
def test_a_state_that_does_not_fit_is_named_and_nothing_is_written(torch, change, words):
    there, tensors, here, _ = pair(torch, "adam")
    for gradients in draws(1, 2):
        step_there(torch, there, tensors, gradients)
        step_here(here, gradients)
    state = there.state_dict()
    change(state)
    before = pickle.dumps(here.state_dict())
    with pytest.raises((TypeError, ValueError), match=words):
        load_torch_optimizer_state(here, state)
    assert pickle.dumps(here.state_dict()) == before


@pytest.mark.parametrize(
    ("case", "other", "words"),
    [
        ("rmsprop", Adam, "lacks 'betas', .*it goes into RMSprop here, not into Adam"),
        ("momentum", SGD, "has momentum=0.8; it goes into Momentum here, not into SGD"),
        ("sgd", RMSprop, "it goes into SGD or Momentum here, not into RMSprop"),
    ],
)
def test_another_optimizers_state_is_told(torch, case, other, words):
    there, *_ = pair(torch, case)
    here = other(grouped([np.ones(shape) for shape in SHAPES]))
    with pytest.raises(ValueError, match=words):
        load_torch_optimizer_state(here, there.state_dict())


def test_groups_with_different_states_are_told(torch):
    tensors = [torch.ones(shape, requires_grad=True) for shape in SHAPES]
    there = torch.optim.RMSprop(grouped(tensors, {"momentum": 0.9}))
    step_there(torch, there, tensors, draws(1, 1)[0])
    here = RMSprop(grouped([np.ones(shape) for shape in SHAPES], {}))
    with pytest.raises(ValueError, match="group 0: square_avg; group 1: square_avg, momentum_buff"):
        load_torch_optimizer_state(here, there.state_dict())


def test_momenta_that_began_apart_are_told_where_dampening_shows_it(torch):
    for dampening in (0.0, 0.5):
        tensors = [torch.ones(shape, requires_grad=True) for shape in SHAPES]
        there = torch.optim.SGD(grouped(tensors), lr=0.1, momentum=0.9, dampening=dampening)
        tensors[0].grad = torch.ones(SHAPES[0])
        there.step()
        here = Momentum(grouped([np.ones(shape) for shape in SHAPES], {}))
        if dampening:
            with pytest.raises(ValueError, match="different numbers of steps"):
                load_torch_optimizer_state(here, there.state_dict())
        else:
            load_torch_optimizer_state(here, there.state_dict())
            assert here.steps == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda p: Adam(p, eps_uncorrected=True),
            "group 0 of Adam has eps_uncorrected=True",
        ),
        (lambda p: RMSprop(p, eps_inside_sqrt=True), "expected eps_inside_sqrt=False"),
        (lambda p: Momentum(p, form="velocity"), "form='velocity', which torch.optim.SGD can't do"),
        (lambda p: SGD(p, decoupled=True, weight_decay=0.1), "expected decoupled=False"),
    ],
)
def test_what_pytorch_cannot_do_does_not_go_out(torch, make, words):
    with pytest.raises(ValueError, match=words):
        torch_optimizer_state(make([np.ones(2)]))


def test_decoupled_decay_of_nothing_goes_out(torch):
    (group,) = torch_optimizer_state(SGD([np.ones(2)], decoupled=True))["param_groups"]
    assert group["weight_decay"] == 0


def test_a_networks_optimizer_needs_the_network(torch):
    net = our_network()
    with pytest.raises(TypeError, match="net is missing; expected net=, the network"):
        torch_optimizer_state(Adam(net.parameters()))
    with pytest.raises(ValueError, match="a parameter 0, and net has none of that name"):
        torch_optimizer_state(Adam([np.ones(2)]), net)


def test_optimizers_of_ones_own_are_not_taken_for_others(torch):
    class Mine(Adam):
        pass

    for load in (torch_optimizer_state, lambda mine: load_torch_optimizer_state(mine, {})):
        with pytest.raises(TypeError, match="Mine has no counterpart in torch"):
            load(Mine([np.ones(2)]))
        with pytest.raises(TypeError, match="optimizer is a list"):
            load([])


def test_without_torch_the_error_tells(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch"):
        torch_optimizer_state(Adam([np.ones(2)]))
