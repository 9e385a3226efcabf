"""Optimizers: one formula each, one kernel call a step, clipping, and nothing half done."""

from __future__ import annotations

from math import sqrt
from types import MappingProxyType

import numpy as np
import pytest
from cases.six_gradients import KINDS, SHAPES, flat_parameters, frozen, start, write_grads
from onepass import kernels, nets
from onepass.kernels import launch as launching
from onepass.kernels.rule_engines.numba_cpu import NumbaEngine
from onepass.kernels.rules import nadam as nadam_rule
from onepass.nets import (
    SGD,
    Adadelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    Dense,
    Lion,
    Momentum,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    Sequential,
)
from onepass.nets.optimizers.frame import optimizer as stepping

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


def dampened(p, gradients, lr=1e-2, b=0.9, d=0.0):
    v = None
    for g in gradients:
        v = g if v is None else b * v + (1 - d) * g
        p -= lr * v
    return p


def nesterov(p, gradients, lr=1e-2, b=0.9):
    v = 0.0
    for g in gradients:
        v = b * v + g
        p -= lr * (g + b * v)
    return p


def adagrad(p, gradients, lr=1e-2, eps=1e-10, h=0.0, decay=0.0):
    for t, g in enumerate(gradients):
        h += g * g
        p -= lr / (1 + t * decay) * g / (sqrt(h) + eps)
    return p


def rmsprop(p, gradients, lr=1e-2, a=0.99, eps=1e-8, inside=False, b=0.0, centered=False):
    s = mean = buffer = 0.0
    for g in gradients:
        s = a * s + (1 - a) * g * g
        mean = a * mean + (1 - a) * g
        below = s - mean**2 if centered else s
        buffer = b * buffer + g / (sqrt(below + eps) if inside else sqrt(below) + eps)
        p -= lr * buffer
    return p


def adam(
    p, gradients, lr=1e-3, b1=0.9, b2=0.999, eps=1e-8, decay=0.0, l2=0.0, largest=False,
    uncorrected=False,
):  # fmt: skip
    m = v = top = 0.0
    for t, gradient in enumerate(gradients, 1):
        g = gradient + l2 * p
        p *= 1 - lr * decay
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        top = max(top, v)
        added = eps / sqrt(1 - b2**t) if uncorrected else eps
        p -= lr * m / (1 - b1**t) / (sqrt((top if largest else v) / (1 - b2**t)) + added)
    return p


def nadam(p, gradients, lr=2e-3, b1=0.9, b2=0.999, eps=1e-8, psi=4e-3):
    m = v = 0.0
    product = 1.0
    for t, g in enumerate(gradients, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        mu, ahead = (b1 * (1 - 0.5 * 0.96 ** (k * psi)) for k in (t, t + 1))
        product *= mu
        mbar = ahead * m / (1 - product * ahead) + (1 - mu) * g / (1 - product)
        p -= lr * mbar / (sqrt(v / (1 - b2**t)) + eps)
    return p


def radam(p, gradients, lr=1e-3, b1=0.9, b2=0.999, eps=1e-8):
    m = v = 0.0
    most = 2 / (1 - b2) - 1
    for t, g in enumerate(gradients, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        move, worth = m / (1 - b1**t), most - 2 * t * b2**t / (1 - b2**t)
        if worth > 5:
            share = (worth - 4) * (worth - 2) * most / ((most - 4) * (most - 2) * worth)
            move *= sqrt(share * (1 - b2**t)) / (sqrt(v) + eps)
        p -= lr * move
    return p


def adamax(p, gradients, lr=2e-3, b1=0.9, b2=0.999, eps=1e-8):
    m = u = 0.0
    for t, g in enumerate(gradients, 1):
        m = b1 * m + (1 - b1) * g
        u = max(b2 * u, abs(g) + eps)
        p -= lr / (1 - b1**t) * m / u
    return p


def adadelta(p, gradients, lr=1.0, rho=0.9, eps=1e-6):
    s = a = 0.0
    for g in gradients:
        s = rho * s + (1 - rho) * g * g
        delta = sqrt(a + eps) / sqrt(s + eps) * g
        a = rho * a + (1 - rho) * delta * delta
        p -= lr * delta
    return p


def lion(p, gradients, lr=1e-4, b1=0.9, b2=0.99, decay=0.0):
    m = 0.0
    for g in gradients:
        p *= 1 - lr * decay
        c = b1 * m + (1 - b1) * g
        p -= lr * ((c > 0) - (c < 0))
        m = b2 * m + (1 - b2) * g
    return p


CASES = {
    "nadam": (NAdam, {}, nadam),
    "nadam-decay": (NAdam, {"momentum_decay": 1.0}, lambda p, g: nadam(p, g, psi=1.0)),
    "radam": (RAdam, {}, radam),  # the sixth step is the first that is rectified
    "radam-0.9": (RAdam, {"betas": (0.5, 0.9)}, lambda p, g: radam(p, g, b1=0.5, b2=0.9)),
    "adamax": (Adamax, {}, adamax),
    "adadelta": (Adadelta, {}, adadelta),
    "adadelta-rho": (
        Adadelta,
        {"rho": 0.5, "eps": 0.01, "lr": 0.5},
        lambda p, g: adadelta(p, g, lr=0.5, rho=0.5, eps=0.01),
    ),
    "lion": (Lion, {}, lion),
    "lion-decay": (Lion, {"lr": 0.1, "weight_decay": 0.5}, lambda p, g: lion(p, g, 0.1, decay=0.5)),
    "sgd": (SGD, {}, sgd),
    "sgd-lr": (SGD, {"lr": 0.3}, lambda p, g: sgd(p, g, lr=0.3)),
    "sgd-maximize": (SGD, {"maximize": True}, lambda p, g: sgd(p, [-x for x in g])),
    "momentum": (Momentum, {}, heavy_ball),
    "momentum-averaged": (Momentum, {"form": "averaged"}, averaged),
    "momentum-velocity": (Momentum, {"form": "velocity"}, velocity),
    "momentum-nesterov": (Momentum, {"nesterov": True}, nesterov),
    "momentum-0.5": (Momentum, {"momentum": 0.5}, lambda p, g: heavy_ball(p, g, b=0.5)),
    "adagrad": (AdaGrad, {}, adagrad),
    "momentum-dampening": (Momentum, {"dampening": 0.3}, lambda p, g: dampened(p, g, d=0.3)),
    "adagrad-start": (
        AdaGrad,
        {"initial_accumulator_value": 0.1},
        lambda p, g: adagrad(p, g, h=0.1),
    ),
    "adagrad-decay": (AdaGrad, {"lr_decay": 0.5}, lambda p, g: adagrad(p, g, decay=0.5)),
    "rmsprop-momentum": (RMSprop, {"momentum": 0.8}, lambda p, g: rmsprop(p, g, b=0.8)),
    "rmsprop-centered": (RMSprop, {"centered": True}, lambda p, g: rmsprop(p, g, centered=True)),
    "rmsprop-both": (
        RMSprop,
        {"centered": True, "momentum": 0.8, "eps": 0.01},
        lambda p, g: rmsprop(p, g, b=0.8, centered=True, eps=0.01),
    ),
    "adam-uncorrected": (
        Adam,
        {"eps": 0.01, "eps_uncorrected": True},
        lambda p, g: adam(p, g, eps=0.01, uncorrected=True),
    ),
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


@pytest.mark.parametrize(
    ("options", "states"),
    [
        ({}, ["square_avg"]),
        ({"momentum": 0.9}, ["square_avg", "momentum_buffer"]),
        ({"centered": True}, ["square_avg", "grad_avg"]),
        ({"momentum": 0.9, "centered": True}, ["square_avg", "momentum_buffer", "grad_avg"]),
    ],
)
@pytest.mark.parametrize("flat", [False, True])
def test_rmsprop_keeps_what_its_options_need_and_no_more(options, states, flat):
    params, gradients = start()
    optimizer = RMSprop(flat_parameters(params) if flat else params, **options)
    assert list(optimizer.state_dict()["state"]) == states
    optimizer.step(gradients[0])
    on, before = {"momentum": 0.5, "centered": True}, frozen(optimizer.state_dict())
    for name, value in on.items():
        off = type(value)(0)
        other = off if name in options else value
        with pytest.raises(ValueError, match=rf"{name}=.*the states would be.*make a new one"):
            setattr(optimizer, name, other)
        with pytest.raises(ValueError, match="make a new one"):
            optimizer.tune(lr=0.5, **{name: other})
    assert frozen(optimizer.state_dict()) == before
    if "momentum" in options:
        optimizer.momentum = 0.5
    optimizer.step(gradients[1])
    twin, _ = start(1)
    other = RMSprop(twin)  # all of it is taken: the options, and with them the states
    other.load_state_dict(optimizer.state_dict())
    assert frozen(other.state_dict()) == frozen(optimizer.state_dict())
    for gradient in gradients[2:4]:
        optimizer.step(gradient)
        other.step(gradient)
    assert frozen(other.state_dict()) == frozen(optimizer.state_dict())


def test_nadam_s_product_is_the_same_whatever_was_asked_for_before():
    """So that a run that goes on from a checkpoint goes on bit for bit."""
    betas, decay = 0.9, 0.0123
    asked = [nadam_rule.nadam_product(betas, decay, t) for t in range(1, 500)]
    nadam_rule._found.cache_clear()
    assert nadam_rule.nadam_product(betas, decay, 321) == asked[320]
    assert [nadam_rule.nadam_product(betas, decay, t) for t in range(1, 500)] == asked
    by_hand = betas**2 * (1 - 0.5 * 0.96**decay) * (1 - 0.5 * 0.96 ** (2 * decay))
    assert asked[1] == pytest.approx(by_hand, rel=1e-15)
    assert asked[-1] == 0 == nadam_rule.nadam_product(betas, decay, 10**15)
    assert len(nadam_rule._found(betas, decay)) < 500
    assert nadam_rule.nadam_product(0.0, decay, 1) == 0
    assert nadam_rule.nadam_product(0.5, 0.0, 3) == 0.25**3


def test_a_variance_that_rounding_takes_below_zero_is_none():
    """PyTorch's parameter is NaN after 1,700 steps."""
    params = [np.ones(64, "float32")]
    grads = [np.linspace(0.1, 2, 64, dtype="float32")]
    for options in ({}, {"momentum": 0.5}):
        optimizer = RMSprop(params, lr=1e-9, centered=True, **options)
        for _ in range(3000):
            optimizer.step(grads)
        (s,), (a,) = (
            optimizer.state_dict()["state"][k].values() for k in ("square_avg", "grad_avg")
        )
        assert (s - a * a < 0).any(), "or this shows nothing"
        assert np.isfinite(params[0]).all()


@pytest.mark.parametrize("storage", ["list", "flat"])
def test_adagrad_s_initial_value_is_in_every_element(storage):
    params = list(start()[0].values()) if storage == "list" else flat_parameters(start()[0])
    state = AdaGrad(params, initial_accumulator_value=0.25).state_dict()["state"]["sum_sq"]
    assert all((array == 0.25).all() for array in state.values())
    with pytest.raises(ValueError, match="initial_accumulator_value is -1"):
        AdaGrad(params, initial_accumulator_value=-1)


@pytest.mark.parametrize("beside", [{"nesterov": True}, {"form": "averaged"}])
def test_dampening_beside_what_has_none_is_refused_when_made_and_set(beside):
    with pytest.raises(ValueError, match=r"dampening is 0\.5 beside"):
        Momentum([np.zeros(1)], dampening=0.5, **beside)
    optimizer = Momentum([np.zeros(1)], **beside)
    with pytest.raises(ValueError, match=r"dampening is 0\.5 beside"):
        optimizer.dampening = 0.5
    assert optimizer.dampening == 0
    state = optimizer.state_dict()
    state["hyper"]["dampening"] = 0.5
    with pytest.raises(ValueError, match=r"dampening is 0\.5 beside"):
        optimizer.load_state_dict(state)
    assert optimizer.dampening == 0


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_gradients_are_left_untouched(kind):
    params, (gradient, *_) = start()
    before = frozen(gradient)
    kind(params, clip_norm=0.1, weight_decay=0.1).step(gradient)
    assert frozen(gradient) == before


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_one_launch_a_step_for_sixty_arrays(kind, monkeypatch):
    layers = [Dense(3, 3) for _ in range(30)]
    net = Sequential(*layers, device="cpu")
    assert len(net.parameters()) == 60
    sizes, original = [], launching.launch

    def spy(prepared, arrays, engine):
        sizes.append(arrays[0].size)
        return original(prepared, arrays, engine)

    monkeypatch.setattr(launching, "launch", spy)
    optimizer = kind(net.parameters(), engine="array")
    optimizer.step()
    optimizer.step(net.parameters().grads)
    assert sizes == [30 * 12] * 2
    sizes.clear()
    params, grads = list(net.parameters().values()), list(net.parameters().grads.values())
    kind(params, engine="array").step(grads)
    assert sizes == [9, 3] * 30
    sizes.clear()
    for arrays in (params, net.parameters()):  # compiles, by whichever way a list's order takes
        kind(arrays).step(grads if arrays is params else None)
    together, launched = [], NumbaEngine.quick_each

    def spy_together(self, rule, columns, *others):
        together.append((len(columns[0]), launched(self, rule, columns, *others)))
        return together[-1][1]

    monkeypatch.setattr(NumbaEngine, "quick_each", spy_together)
    for arrays in (net.parameters(), params):
        kind(arrays).step(grads if arrays is params else None)
    assert (sizes, together) == ([], [(1, True), (60, True)])


def test_the_networks_own_gradients_are_not_copied(monkeypatch):
    seen = []
    monkeypatch.setattr(stepping, "launch_all", lambda *given: seen.append(given[1]))
    parameters = flat_parameters(start()[0])
    SGD(parameters).step(parameters.grads)
    assert seen[0][0][0] is parameters.flat
    assert seen[0][1][0] is parameters.flat_grads


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


def test_the_norm_of_a_list_a_dict_and_one_array_is_the_same():
    arrays = np.arange(12.0).reshape(2, 6)
    expected = sqrt(sum(k * k for k in range(12)))
    named = dict(zip("ab", arrays, strict=True))
    for given in (
        list(arrays),
        iter(arrays),
        named,
        MappingProxyType(named),
        arrays,
        arrays.ravel(),
    ):
        assert kernels.global_norm(given) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_writes_nothing(bad):
    params, (gradient, *_) = start()
    gradient["2.bias"][1] = bad
    optimizer = Adam(params, clip_norm=1.0)
    before = frozen((params, optimizer.state_dict()))
    with pytest.raises(FloatingPointError, match="the norm of the gradients is"):
        optimizer.step(gradient)
    assert frozen((params, optimizer.state_dict())) == before
