"""The oracles against numbers worked out by hand, and proof that the limits catch mistakes."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
from tolerances import DTYPES, LIMITS, assert_close, assert_walk

from oracles import rules as oracles
from oracles.rules import (
    RULES,
    adadelta,
    adagrad,
    adam,
    adamax,
    amsgrad,
    lion,
    momentum,
    nadam,
    radam,
    rmsprop,
    sgd,
)

ROOT2 = math.sqrt(2.0)


# --- by hand: p = 1, g = 2 at both steps unless said; every state starts at 0 ---------------------
def take(rule, *grads, **options):
    """Run a rule on one number, a step for each gradient; the numbers it ends with."""
    (entry,) = (each for each in RULES.values() if each.oracle is rule)
    written = entry.written_with(options)
    numbers = dict.fromkeys(written, np.float64(0.0)) | {"param": np.float64(1.0)}
    for step, grad in enumerate(grads, start=1):
        counted = {"step": step} if "step" in entry.options else {}
        stepped = entry.call(rule, numbers | {"grad": np.float64(grad)}, counted | options)
        numbers = dict(zip(written, stepped, strict=True))
    return tuple(map(float, numbers.values()))


BY_HAND = [
    (sgd, (2, 2), {"lr": 0.25}, (0.0,)),  # 1 - 0.5 - 0.5
    (sgd, (2,), {"lr": 0.25, "weight_decay": 0.5}, (0.375,)),  # 1 - (2 + 0.5)/4
    (sgd, (2,), {"lr": 0.25, "weight_decay": 0.5, "maximize": True}, (1.375,)),  # 1 - (-2 + 0.5)/4
    (sgd, (2,), {"lr": 0.25, "weight_decay": 0.5, "grad_scale": 0.5}, (0.625,)),  # 1 - (1 + 0.5)/4
    # 1*(1 - 0.25*0.5) - 2/4
    (sgd, (2,), {"lr": 0.25, "weight_decay": 0.5, "decoupled": True}, (0.375,)),
    (sgd, (2,), {"lr": 0.25, "weight_decay": 0.5, "decoupled": True, "maximize": True}, (1.375,)),
    # v = 2, then 3; p = 1*0.875 - 0.5 = 0.375, then 0.375*0.875 - 0.75
    (
        momentum,
        (2, 2),
        {"lr": 0.25, "momentum": 0.5, "weight_decay": 0.5, "decoupled": True},
        (0.375 * 0.875 - 0.75, 3.0),
    ),
    # v = 2, then 1 + 2 = 3; p = 1 - 0.5 = 0.5, then 0.5 - 0.75
    (momentum, (2, 2), {"lr": 0.25, "momentum": 0.5}, (-0.25, 3.0)),
    # v = 1, then 0.5 + 1 = 1.5; p = 0.75, then 0.75 - 0.375
    (momentum, (2, 2), {"lr": 0.25, "momentum": 0.5, "form": "averaged"}, (0.375, 1.5)),
    # v = -0.5, then -0.25 - 0.5; p = 0.5, then -0.25
    (momentum, (2, 2), {"lr": 0.25, "momentum": 0.5, "form": "velocity"}, (-0.25, -0.75)),
    # v = 2: p = 1 - (2 + 1)/4 = 0.25; v = 3: p = 0.25 - (2 + 1.5)/4
    (momentum, (2, 2), {"lr": 0.25, "momentum": 0.5, "nesterov": True}, (-0.625, 3.0)),
    # v = 1: p = 1 - (1 + 0.5)/4
    (
        momentum,
        (2,),
        {"lr": 0.25, "momentum": 0.5, "form": "averaged", "nesterov": True},
        (0.625, 1.0),
    ),
    # v = -0.5: p = 1 - 0.25 - 0.5
    (
        momentum,
        (2,),
        {"lr": 0.25, "momentum": 0.5, "form": "velocity", "nesterov": True},
        (0.25, -0.5),
    ),
    # h = 9, then 25; p = 1 - 0.5*3/(3 + 1) = 0.625, then 0.625 - 0.5*4/(5 + 1)
    (adagrad, (3, 4), {"lr": 0.5, "eps": 1.0}, (0.625 - 1 / 3, 25.0)),
    # v = 2, then 1 + 2/2; p = 1 - 0.5, then 0.5 - 0.5
    (momentum, (2, 2), {"lr": 0.25, "momentum": 0.5, "dampening": 0.5}, (0.0, 2.0)),
    # as above, but the second step has half the rate
    (
        adagrad,
        (3, 4),
        {"lr": 0.5, "eps": 1.0, "lr_decay": 1.0},
        (0.625 - 1 / 6, 25.0),
    ),
    # s = 4, q = sqrt(8)/3 = b: p = 1 - sqrt(2)/3; g = 0: s = 2, b = sqrt(2)/3: sqrt(2)/6 off
    (
        rmsprop,
        (2 * ROOT2, 0),
        {"lr": 0.5, "alpha": 0.5, "eps": 1.0, "momentum": 0.5},
        (1 - ROOT2 / 2, 2.0, ROOT2 / 3),
    ),
    # s = 8, a = 2, sqrt(8 - 4) = 2: p = 1 - 0.5*4/(2 + 1)
    (rmsprop, (4,), {"lr": 0.5, "alpha": 0.5, "eps": 1.0, "centered": True}, (1 / 3, 8.0, 2.0)),
    # s = 8, a = 2, sqrt(8 - 4 + 5) = 3: p = 1 - 0.5*4/3
    (
        rmsprop,
        (4,),
        {"lr": 0.5, "alpha": 0.5, "eps": 5.0, "centered": True, "eps_inside_sqrt": True},
        (1 / 3, 8.0, 2.0),
    ),
    # b = 4/3: p = 1/3; g = 0: s = 4, a = 1, b = 2/3: p = 1/3 - 1/3
    (
        rmsprop,
        (4, 0),
        {"lr": 0.5, "alpha": 0.5, "eps": 1.0, "momentum": 0.5, "centered": True},
        (0.0, 4.0, 2 / 3, 1.0),
    ),
    # s = 8/2 = 4; p = 1 - 0.5*sqrt(8)/(2 + 1)
    (rmsprop, (2 * ROOT2,), {"lr": 0.5, "alpha": 0.5, "eps": 1.0}, (1 - ROOT2 / 3, 4.0)),
    # s = 16/2 = 8; p = 1 - 0.5*4/sqrt(8 + 1)
    (rmsprop, (4,), {"lr": 0.5, "alpha": 0.5, "eps": 1.0, "eps_inside_sqrt": True}, (1 / 3, 8.0)),
    # mhat = 2, vhat = 4: p = 1 - 0.5*2/(2 + 2)
    (adam, (2,), {"lr": 0.5, "betas": (0.5, 0.75), "eps": 2.0}, (0.75, 1.0, 1.0)),
    # m = 1, v = 1, rate = 0.5*sqrt(0.25)/0.5: p = 1 - 0.5*1/(1 + 1)
    (
        adam,
        (2,),
        {"lr": 0.5, "betas": (0.5, 0.75), "eps": 1.0, "eps_uncorrected": True},
        (0.75, 1.0, 1.0),
    ),
    # t = 2: m = 0.5 + 1 = 1.5, /0.75 = 2; v = 0.75 + 1 = 1.75, /0.4375 = 4; again 0.25 off
    (adam, (2, 2), {"lr": 0.5, "betas": (0.5, 0.75), "eps": 2.0}, (0.5, 1.5, 1.75)),
    # p = 1*(1 - 0.5*0.25) - 0.25; in the L2 form g = 2.25 instead: mhat = 2.25, sqrt(vhat) = 2.25
    (
        adam,
        (2,),
        {"lr": 0.5, "betas": (0.5, 0.75), "eps": 2.0, "decoupled": True, "weight_decay": 0.25},
        (0.625, 1.0, 1.0),
    ),
    (
        adam,
        (2,),
        {"lr": 0.5, "betas": (0.5, 0.75), "eps": 2.0, "weight_decay": 0.25},
        (1 - 0.5 * 2.25 / 4.25, 1.125, 2.25**2 / 4),
    ),
    # m = 1, v = 1; mu = 0.5*(1 - 0.48) = 0.26, then 0.5*(1 - 0.4608) = 0.2696, M = 0.26, 0.070096:
    # mbar = 0.2696/0.929904 + 0.74*2/0.74; vhat = 4
    (
        nadam,
        (2,),
        {"lr": 0.5, "betas": (0.5, 0.75), "eps": 2.0, "momentum_decay": 1.0},
        (1 - 0.5 * (0.2696 / 0.929904 + 2) / 4, 1.0, 1.0),
    ),
    # r = 3, and r_t never above it: p = 1 - 0.5*2, then m = 1.5, /0.75: again
    (radam, (2, 2), {"lr": 0.5, "betas": (0.5, 0.5), "eps": 1.0}, (-1.0, 1.5, 3.0)),
    # m = 1, /0.5; u = 2 + 1; p = 1 - 0.5*2/3; t = 2, g = 0: m = 0.5, /0.75; u = max(2.25, 1)
    (
        adamax,
        (2, 0),
        {"lr": 0.5, "betas": (0.5, 0.75), "eps": 1.0},
        (2 / 3 - 0.5 * (0.5 / 0.75) / 2.25, 0.5, 2.25),
    ),
    # s = 8, d = 1/3*4; a = 8/9: p = 1 - 0.5*4/3; g = 0: s = 4, d = 0, a = 4/9
    (adadelta, (4, 0), {"lr": 0.5, "rho": 0.5, "eps": 1.0}, (1 / 3, 4.0, 4 / 9)),
    # p = 1 - 0.25, m = 0.5; g = -1: c = 0.25 - 0.5 < 0: p = 1; m = 0.375 - 0.25
    (lion, (2, -1), {"lr": 0.25, "betas": (0.5, 0.75)}, (1.0, 0.125)),
    # p = 1*(1 - 0.25*0.5) - 0.25; g = 0 and m = 0.5: p = 0.625*0.875 - 0.25
    (
        lion,
        (2, 0),
        {"lr": 0.25, "betas": (0.5, 0.75), "weight_decay": 0.5},
        (0.625 * 0.875 - 0.25, 0.375),
    ),
    # no gradient has no sign
    (lion, (0,), {"lr": 0.25}, (1.0, 0.0)),
    # t = 1: m = 2, v = 4, vhat = 16: p = 1 - 0.5*4/(4 + 1) = 0.6
    # t = 2, g = 0: m = 1, /0.75; v = 3 < 4, so v_max stays 4, /0.4375 = 64/7
    (
        amsgrad,
        (4, 0),
        {"lr": 0.5, "betas": (0.5, 0.75), "eps": 1.0},
        (0.6 - 0.5 * (1 / 0.75) / (8 / math.sqrt(7) + 1), 1.0, 3.0, 4.0),
    ),
]


@pytest.mark.parametrize(("rule", "grads", "options", "expected"), BY_HAND)
def test_oracle_agrees_with_numbers_worked_out_by_hand(rule, grads, options, expected):
    assert take(rule, *grads, **options) == pytest.approx(expected, rel=1e-15, abs=1e-15)


# --- mistakes people make, each of which the limits must see at every dtype -----------------------
def in_place(rule):
    """A kernel from a pure function: computes in float64, stores what it returns."""

    def kernel(param, grad, *states, **options):
        out = rule(*(np.float64(array) for array in (param, grad, *states)), **options)
        for array, value in zip((param, *states), out, strict=True):
            array[...] = value

    return kernel


def eps_inside(p, g, m, v, *, step, lr, betas, eps):
    _, m, v = adam(p, g, m, v, step=step, betas=betas)
    return p - lr * m / (1 - betas[0] ** step) / np.sqrt(v / (1 - betas[1] ** step) + eps), m, v


def eps_before_correction(p, g, m, v, *, step, lr, betas, eps):
    _, m, v = adam(p, g, m, v, step=step, betas=betas)
    rate = lr * math.sqrt(1 - betas[1] ** step) / (1 - betas[0] ** step)
    return p - rate * m / (np.sqrt(v) + eps), m, v


def uncorrected(p, g, m, v, *, step, lr, betas, eps):
    _, m, v = adam(p, g, m, v, step=step, betas=betas)
    return p - lr * m / (np.sqrt(v) + eps), m, v


def coefficient_in_single(p, g, m, v, *, step, lr, betas, eps):
    betas = (betas[0], float(1 - (np.float32(1) - np.float32(betas[1]))))
    return adam(p, g, m, v, step=step, lr=lr, betas=betas, eps=eps)


def maximum_after_correction(p, g, m, v, top, *, step, lr, betas, eps):
    _, m, v = adam(p, g, m, v, step=step, betas=betas)
    top = np.maximum(top, v / (1 - betas[1] ** step))
    return p - lr * m / (1 - betas[0] ** step) / (np.sqrt(top) + eps), m, v, top


def nesterov_with_old_velocity(p, g, v, *, step, lr, momentum, nesterov):
    return p - lr * (g + momentum * v), momentum * v + g


def changed(rule, **change):
    """The rule with some options altered on their way in."""
    return lambda *arrays, **options: rule(
        *arrays, **options | {name: alter(options) for name, alter in change.items()}
    )


A = {"lr": 0.1, "eps": 1e-2, "betas": (0.9, 0.95)}
L2 = A | {"weight_decay": 0.05}
N = {"lr": 0.1, "momentum": 0.9, "nesterov": True}
MISTAKES = {
    "eps inside the root": ("adam_step", A, eps_inside),
    "eps before bias correction": ("adam_step", A, eps_before_correction),
    "no bias correction": ("adam_step", A, uncorrected),
    "betas swapped": ("adam_step", A, changed(adam, betas=lambda o: o["betas"][::-1])),
    "steps counted from 0": ("adam_step", A, changed(adam, step=lambda o: o["step"] + 1)),
    "L2 for AdamW": (
        "adam_step",
        L2 | {"decoupled": True},
        changed(adam, decoupled=lambda o: False),
    ),
    "AdamW for L2": ("adam_step", L2, changed(adam, decoupled=lambda o: True)),
    **{
        f"L2 for decoupled decay in {name}": (
            f"{name}_step",
            {"lr": 0.1, "weight_decay": 0.05, "decoupled": True},
            changed(rule, decoupled=lambda o: False),
        )
        for name, rule in {"momentum": momentum, "adagrad": adagrad, "rmsprop": rmsprop}.items()
    },
    "decay turned by maximize": (
        "adam_step",
        L2 | {"maximize": True},
        changed(
            adam,
            maximize=lambda o: False,
            grad_scale=lambda o: -1.0,
            weight_decay=lambda o: -o["weight_decay"],
        ),
    ),
    "maximum after correction": ("amsgrad_step", A, maximum_after_correction),
    "eps left out": ("adagrad_step", {"lr": 0.1, "eps": 1e-2}, changed(adagrad, eps=lambda o: 0.0)),
    "eps placement": (
        "rmsprop_step",
        {"lr": 0.1, "eps": 1e-2},
        changed(rmsprop, eps_inside_sqrt=lambda o: True),
    ),
    "decay scaled with grad": (
        "sgd_step",
        {"lr": 0.1, "weight_decay": 0.05, "grad_scale": 0.5},
        changed(sgd, weight_decay=lambda o: 0.025),
    ),
    "eps corrected": (
        "adam_step",
        A | {"eps_uncorrected": True},
        changed(adam, eps_uncorrected=lambda o: False),
    ),
    "dampened at once": (
        "momentum_step",
        {"lr": 0.1, "dampening": 0.3},
        changed(momentum, step=lambda o: o["step"] + 1),
    ),
    "rate decays at once": (
        "adagrad_step",
        {"lr": 0.1, "lr_decay": 0.1},
        changed(adagrad, step=lambda o: o["step"] + 1),
    ),
    "no look-ahead of NAdam": (
        "nadam_step",
        {"lr": 0.1, "betas": (0.9, 0.95), "eps": 1e-2},
        lambda *arrays, momentum_decay=0, **o: adam(*arrays, **o),
    ),
    "NAdam's step counted from 0": (
        "nadam_step",
        {"lr": 0.1},
        changed(nadam, step=lambda o: o["step"] + 1),
    ),
    "never rectified": (
        "radam_step",
        {"lr": 0.1, "eps": 1e-2, "betas": (0.8, 0.95)},
        changed(radam, step=lambda o: min(o["step"], 5)),
    ),
    "Adam for Adamax": (
        "adamax_step",
        {"lr": 0.1, "eps": 1e-2, "betas": (0.8, 0.7)},
        adam,
    ),
    "Adadelta's average of the step before": (
        "adadelta_step",
        {"lr": 0.5, "eps": 1e-2},
        lambda p, g, s, a, **o: adadelta(p, g, s, 0.9 * a, **o),
    ),
    "Lion's betas swapped": (
        "lion_step",
        {"lr": 0.1, "betas": (0.5, 0.8)},
        changed(lion, betas=lambda o: o["betas"][::-1]),
    ),
    "old velocity": ("momentum_step", N, nesterov_with_old_velocity),
    "no nesterov": ("momentum_step", N, changed(momentum, nesterov=lambda o: False)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MISTAKES)
def test_limits_catch_a_mistake_and_pass_the_oracle(name, dtype):
    rule, options, mistake = MISTAKES[name]
    assert_walk(in_place(RULES[rule].oracle), RULES[rule], options, dtype)
    with pytest.raises(AssertionError, match="eps of"):
        assert_walk(in_place(mistake), RULES[rule], options, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limits_catch_one_minus_beta_rounded_to_float32(dtype):
    with pytest.raises(AssertionError, match=f"v after step 1 .* eps of {dtype}"):
        assert_walk(
            in_place(coefficient_in_single),
            RULES["adam_step"],
            {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8},
            dtype,
        )


@pytest.mark.parametrize("name", [name for name in RULES if name != "sgd_step"])
def test_limits_catch_float16_arithmetic(name):
    def kernel(*arrays, **options):
        for array, value in zip(
            (arrays[0], *arrays[2:]), RULES[name].oracle(*arrays, **options), strict=True
        ):
            array[...] = value

    with pytest.raises(AssertionError, match="eps of float16"):
        assert_walk(kernel, RULES[name], {"lr": 0.1}, "float16")


def test_limits_catch_a_written_gradient():
    def kernel(param, grad, *, lr):
        param -= lr * grad
        grad[:] = 0

    with pytest.raises(AssertionError, match="grad was written"):
        assert_walk(kernel, RULES["sgd_step"], {"lr": 0.1}, "float64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_assert_close_counts_in_eps_and_names_the_element(dtype):
    eps, limit = float(np.finfo(dtype).eps), LIMITS[dtype][0]
    expected = np.ones((2, 3))
    actual = expected.astype(dtype)
    actual[1, 2] += math.ceil(limit) * eps
    assert_close(actual, expected, dtype, limit=math.ceil(limit))
    with pytest.raises(AssertionError, match=r"p: element \(1, 2\) is .* eps of .* 1 of 6"):
        assert_close(actual, expected, dtype, limit=math.ceil(limit) - 0.5, what="p")


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (np.nan, 1.0),
        (1.0, np.nan),
        (np.inf, 1.0),
        (np.inf, -np.inf),
        (np.nan, np.inf),
        (1.0, 1e300),
    ],
)
def test_assert_close_wants_inf_and_nan_alike(actual, expected):
    with pytest.raises(AssertionError, match="off"):
        assert_close(np.float32([1.0, actual]), np.float64([1.0, expected]), "float32")
    assert_close(np.float32([np.nan, np.inf]), np.float64([np.nan, 1e300]), "float32")


def test_every_oracle_is_in_the_table():
    public = {
        f"{name}_step"
        for name, thing in vars(oracles).items()
        if inspect.isfunction(thing)
        and thing.__module__ == oracles.__name__
        and not name.startswith("_")
        and name not in ("each", "slow_unless_short")
    }
    assert public == set(RULES)
