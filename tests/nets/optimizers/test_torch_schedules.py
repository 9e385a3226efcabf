"""Schedules and the callback for plateaus against PyTorch's own, which are called step by step."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from onepass.nets import (
    SGD,
    Cosine,
    CosineRestarts,
    ExponentialDecay,
    History,
    LinearDecay,
    MeanSquaredError,
    OneCycle,
    Polynomial,
    ReduceOnPlateau,
    Staircase,
    Warmup,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
lr_scheduler = pytest.importorskip("torch.optim.lr_scheduler", exc_type=ImportError)

STEPS = 60


def optimizer(lr):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)


def rates(lr, make, steps=STEPS):
    """The rate of each update of a PyTorch loop."""
    made = optimizer(lr)
    scheduler = make(made)
    found = []
    for k in range(steps):
        found.append(made.param_groups[0]["lr"])
        made.step()
        if k < steps - 1:  # OneCycleLR refuses one more than it has
            scheduler.step()
    return found


def one_cycle(**options):
    return (
        OneCycle(0.3, STEPS, **options),
        1.0,
        lambda o: lr_scheduler.OneCycleLR(o, 0.3, total_steps=STEPS, **options),
    )


def sequence(optimizer, makers, milestones):
    parts = [make(optimizer) for make in makers]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones)


CASES = {
    "LinearDecay": (
        LinearDecay(0.1, 40, end=0.02),
        0.2,
        lambda o: lr_scheduler.LinearLR(o, 0.5, 0.1, total_iters=40),
    ),
    "a rise": (
        LinearDecay(0.2 / 3, 5, end=0.2),
        0.2,
        lambda o: lr_scheduler.LinearLR(o),
    ),
    "Polynomial": (
        Polynomial(0.2, 40, power=1.7),
        0.2,
        lambda o: lr_scheduler.PolynomialLR(o, total_iters=40, power=1.7),
    ),
    "Cosine": (
        Cosine(0.2, STEPS, end=0.03),
        0.2,
        lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.03),
    ),
    "CosineRestarts": (
        CosineRestarts(0.2, 7, growth=2, end=0.03),
        0.2,
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 7, T_mult=2, eta_min=0.03),
    ),
    "CosineRestarts of one length": (
        CosineRestarts(0.2, 7),
        0.2,
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 7),
    ),
    "OneCycle": one_cycle(),
    "OneCycle of three phases": one_cycle(three_phase=True),
    "OneCycle, linear": one_cycle(
        anneal_strategy="linear", pct_start=0.21, div_factor=7.0, final_div_factor=11.0
    ),
    "OneCycle, linear, of three phases": one_cycle(
        anneal_strategy="linear", pct_start=0.41, div_factor=7.0, three_phase=True
    ),
    "warm-up, then Cosine": (
        Warmup(10, start=0.02).then(Cosine(0.2, 40)).then(Staircase(0.2, 0.5, 3, per="step")),
        0.2,
        lambda o: sequence(
            o,
            [
                lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=10),
                lambda o: lr_scheduler.CosineAnnealingLR(o, 40),
                lambda o: lr_scheduler.StepLR(o, 3, 0.5),
            ],
            [10, 50],
        ),
    ),
    "left before it is done": (
        ExponentialDecay(0.2, 0.9, per="step").then(Cosine(0.2, 30), at=20),
        0.2,
        lambda o: sequence(
            o,
            [
                lambda o: lr_scheduler.ExponentialLR(o, 0.9),
                lambda o: lr_scheduler.CosineAnnealingLR(o, 30),
            ],
            [20],
        ),
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # SequentialLR's own
@pytest.mark.parametrize("name", CASES)
def test_has_the_rates_of_pytorch(name):
    schedule, lr, make = CASES[name]
    steps = 50 if name == "left before it is done" else STEPS
    found = [schedule(0, step) for step in range(1, steps + 1)]
    np.testing.assert_allclose(found, rates(lr, make, steps), rtol=1e-11, atol=1e-15)


OPTIONS = {
    "as it is": {},
    "a larger factor": {"factor": 0.5, "patience": 3},
    "no patience": {"factor": 0.7, "patience": 0},
    "a cooldown": {"factor": 0.5, "patience": 1, "cooldown": 4},
    "a threshold": {"factor": 0.5, "patience": 2, "threshold": 0.1},
    "absolute": {"factor": 0.5, "patience": 2, "threshold": 0.02, "threshold_mode": "abs"},
    "the larger, the better": {"factor": 0.5, "patience": 2, "mode": "max"},
    "a bound": {"factor": 0.5, "patience": 1, "min_lr": 0.02},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_reduces_when_pytorch_does(name, seed):
    options = OPTIONS[name]
    rng = np.random.default_rng(seed)
    figures = np.abs(rng.standard_normal(90)) * np.exp(-np.arange(90) / 25) + 0.2
    theirs = optimizer(0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(theirs, eps=0, **options)
    history = History(metric_name="mae")
    run = SimpleNamespace(
        history=history,
        loss=MeanSquaredError(),
        validated=True,
        schedule=None,
        optimizer=SGD([np.zeros(1)], lr=0.1),
    )
    callback = ReduceOnPlateau(**options)
    callback.on_start(run)
    changes = 0
    for k, figure in enumerate(figures):
        history.val_loss.append(nan_at(k, figure, seed))
        before = run.optimizer.lr
        callback.on_epoch(run)
        scheduler.step(history.val_loss[-1])
        assert run.optimizer.lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-13), k
        assert callback.bad_epochs == scheduler.num_bad_epochs
        assert callback.cooldown_left == max(scheduler.cooldown_counter, 0)
        changes += run.optimizer.lr != before
    assert changes


def nan_at(k, figure, seed):
    """Some figures are nan: never an improvement."""
    return float("nan") if seed == 3 and k % 17 == 5 else float(figure)
