"""Optimizers: hyperparameters, their defaults, checks and changes between steps."""

from __future__ import annotations

import numpy as np
import pytest
from cases.six_gradients import frozen, start
from onepass import nets
from onepass.nets import (
    SGD,
    Adadelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    Lion,
    Momentum,
    NAdam,
    RAdam,
    RMSprop,
)
from onepass.nets.optimizers.frame import optimizer as stepping


def test_defaults_are_those_of_pytorch():
    arrays = [np.zeros(1)]
    common = {"weight_decay": 0.0, "decoupled": False, "maximize": False}
    adam_defaults = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "eps_uncorrected": False}
    adam_defaults |= common
    assert SGD(arrays).hyper == {"lr": 1e-2, **common}
    momentum = {"lr": 1e-2, "momentum": 0.9, "form": "heavy-ball", "nesterov": False}
    assert Momentum(arrays).hyper == momentum | {"dampening": 0.0, **common}
    assert AdaGrad(arrays).hyper == {"lr": 1e-2, "eps": 1e-10, "lr_decay": 0.0, **common}
    rmsprop_defaults = {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "eps_inside_sqrt": False}
    rmsprop_defaults |= {"momentum": 0.0, "centered": False, **common}
    assert RMSprop(arrays).hyper == rmsprop_defaults
    assert Adam(arrays).hyper == AMSGrad(arrays).hyper == adam_defaults
    del adam_defaults["eps_uncorrected"]
    assert RAdam(arrays).hyper == adam_defaults
    assert Adamax(arrays).hyper == adam_defaults | {"lr": 2e-3}
    assert NAdam(arrays).hyper == adam_defaults | {"lr": 2e-3, "momentum_decay": 4e-3}
    assert Adadelta(arrays).hyper == {"lr": 1.0, "rho": 0.9, "eps": 1e-6, **common}
    assert Lion(arrays).hyper == {"lr": 1e-4, "betas": (0.9, 0.99), **common, "decoupled": True}
    adam_defaults["eps_uncorrected"] = False
    assert AdamW(arrays).hyper == adam_defaults | {"weight_decay": 1e-2, "decoupled": True}


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
    (Momentum, "dampening", 1.5, ValueError),
    (AdaGrad, "eps", -1e-8, ValueError),
    (AdaGrad, "lr_decay", -1.0, ValueError),
    (RMSprop, "momentum", 1.0, ValueError),
    (RMSprop, "centered", 1, TypeError),
    (Adam, "eps_uncorrected", 1, TypeError),
    (RMSprop, "alpha", 1.5, ValueError),
    (RMSprop, "eps_inside_sqrt", None, TypeError),
    (Adam, "betas", (0.9, 1.0), ValueError),
    (AdamW, "betas", 0.9, TypeError),
    (AMSGrad, "eps", -1.0, ValueError),
    (NAdam, "momentum_decay", -1.0, ValueError),
    (RAdam, "betas", (0.9, 1.0), ValueError),
    (Adamax, "eps", -1.0, ValueError),
    (Adadelta, "rho", 1.0, ValueError),
    (Lion, "betas", 0.9, TypeError),
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


def test_hyperparameters_of_layers_schedules_and_fit_may_be_arrays_of_one():
    half = np.array(0.5)
    made = [
        Adam([np.zeros(3)], lr=half, betas=np.array([0.5, 0.75]), eps=half, clip_norm=half),
        nets.BatchNorm(np.array(3), momentum=half, eps=half),
        nets.Dropout(half),
        nets.LeakyReLU(half),
        nets.ExponentialDecay(half, half),
        nets.EarlyStopping(patience=np.array(2), min_delta=half),
        nets.L2(half),
    ]
    numbers = [
        Adam([np.zeros(3)], lr=0.5, betas=(0.5, 0.75), eps=0.5, clip_norm=0.5),
        nets.BatchNorm(3, momentum=0.5, eps=0.5),
        nets.Dropout(0.5),
        nets.LeakyReLU(0.5),
        nets.ExponentialDecay(0.5, 0.5),
        nets.EarlyStopping(patience=2, min_delta=0.5),
        nets.L2(0.5),
    ]
    assert list(map(repr, made)) == list(map(repr, numbers))
    made[0].lr = np.array(0.25)
    assert (made[0].lr, type(made[0].lr)) == (0.25, float)


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
    monkeypatch.setattr(stepping, "launch_all", lambda *given: seen.append(given[2]))
    SGD([np.zeros(1)], engine=engine_name).step([np.ones(1)])
    assert seen == [engine_name]
