"""Learning-rate schedules: the formulas, the counting of epochs and steps, saving, refusals."""

from __future__ import annotations

import json
from math import floor, inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass.nets import (
    SCHEDULES,
    ExponentialDecay,
    InverseSqrtDecay,
    InverseTimeDecay,
    Manual,
    Schedule,
    Staircase,
    schedule_from,
)

# The formulas, written again from the course: epoch from 0, step from 1.
FORMULAS = {
    "InverseTimeDecay": (
        InverseTimeDecay(0.2, decay=0.7),
        lambda epoch, step: 0.2 / (1 + 0.7 * epoch),
    ),
    "ExponentialDecay": (ExponentialDecay(0.3), lambda epoch, step: 0.95**epoch * 0.3),
    "InverseSqrtDecay": (
        InverseSqrtDecay(0.5, k=0.8),
        lambda epoch, step: 0.8 / (epoch + 1) ** 0.5 * 0.5,
    ),
    "InverseSqrtDecay per step": (
        InverseSqrtDecay(0.5, k=0.8, per="step"),
        lambda epoch, step: 0.8 / step**0.5 * 0.5,
    ),
    "Staircase": (
        Staircase(0.4, factor=0.1, every=3),
        lambda epoch, step: 0.4 * 10.0 ** -floor(epoch / 3),
    ),
    "Manual": (
        Manual([(7, 0.01), (0, 0.1), [3, 0.05]]),
        lambda epoch, step: 0.1 if epoch < 3 else 0.05 if epoch < 7 else 0.01,
    ),
    "Manual function": (
        Manual(lambda epoch, step: 1 / (epoch + step)),
        lambda epoch, step: 1 / (epoch + step),
    ),
}
GOOD = [schedule for name, (schedule, _) in FORMULAS.items() if name != "Manual function"]


def test_every_schedule_is_tested():
    assert {type(schedule).__name__ for schedule, _ in FORMULAS.values()} == set(SCHEDULES)
    assert set(SCHEDULES.values()) == set(Schedule.__subclasses__())


@pytest.mark.parametrize("name", FORMULAS)
@given(epoch=st.integers(0, 400), step=st.integers(1, 10**7))
def test_is_the_formula(name, epoch, step):
    schedule, formula = FORMULAS[name]
    lr = schedule(epoch, step)
    assert type(lr) is float
    assert lr == pytest.approx(formula(epoch, step), rel=1e-13)


@pytest.mark.parametrize("schedule", GOOD, ids=repr)
@given(epoch=st.integers(0, 400), step=st.integers(1, 10**7))
def test_decays_never_rise(schedule, epoch, step):
    assert 0 < schedule(epoch + 1, step + 1) <= schedule(epoch, step)


def test_the_first_epoch_has_the_rate_it_was_made_with():
    assert InverseTimeDecay(0.2, 1.0)(0, 1) == 0.2
    assert ExponentialDecay(0.2)(0, 1) == 0.2
    assert Staircase(0.2)(0, 1) == 0.2
    assert InverseSqrtDecay(0.2, k=3)(0, 5) == pytest.approx(0.6)
    assert InverseSqrtDecay(0.2, k=3, per="step")(4, 1) == pytest.approx(0.6)


def test_stairs_drop_at_the_first_epoch_of_each_stair():
    schedule = Staircase(1.0, factor=0.5, every=2)
    assert [schedule(epoch, 1) for epoch in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_milestones_begin_at_their_epoch():
    schedule = Manual({2: 0.5, 0: 1.0, 3: 0.25})
    assert [schedule(epoch, 1) for epoch in range(5)] == [1, 1, 0.5, 0.25, 0.25]


# Saving


@pytest.mark.parametrize("schedule", GOOD, ids=repr)
def test_goes_through_json_and_back(schedule):
    again = schedule_from(json.loads(json.dumps(schedule.config())))
    assert again == schedule
    assert repr(again) == repr(schedule)
    assert [again(e, 9 * e + 1) for e in range(30)] == [schedule(e, 9 * e + 1) for e in range(30)]
    assert schedule != Staircase(0.123)


def test_numpy_numbers_are_saved_as_json_has_them():
    schedule = Staircase(np.float32(0.5), factor=np.float64(0.5), every=np.int64(2))
    assert schedule_from(json.loads(json.dumps(schedule.config()))) == schedule
    milestones = Manual({np.int64(0): np.float32(0.5)})
    assert json.loads(json.dumps(milestones.config())) == {"type": "Manual", "rates": [[0, 0.5]]}


def test_a_config_is_a_copy():
    schedule = Manual({0: 0.1})
    schedule.config()["rates"][0][1] = 9.0
    assert schedule(0, 1) == 0.1


def test_defaults_may_be_left_out_of_a_config():
    assert schedule_from({"type": "ExponentialDecay", "lr0": 0.1}) == ExponentialDecay(0.1, 0.95)


def test_a_function_is_not_saved():
    with pytest.raises(TypeError, match=r"holds a function, which can't be saved; expected mile"):
        Manual(lambda epoch, step: 0.1).config()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"lr0": 0.1}, "type of the schedule is None; expected one of .*'Manual'"),
        ({"type": "Cosine", "lr0": 0.1}, "type of the schedule is 'Cosine'"),
        ({"type": "InverseTimeDecay", "lr0": 0.1}, "missing a required argument: 'decay'"),
        ({"type": "Staircase", "lr0": 0.1, "evry": 2}, r"'evry'.*expected \['lr0', 'factor', 'ev"),
        ({"type": "Staircase", "lr0": -0.1}, "lr0 is -0.1; expected a finite number > 0"),
    ],
)
def test_refuses_configs(config, message):
    with pytest.raises(ValueError, match=message):
        schedule_from(config)


def test_refuses_what_is_no_config():
    with pytest.raises(TypeError, match="config is a list; expected a mapping"):
        schedule_from([("type", "Manual")])  # type: ignore[arg-type]


# Bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InverseTimeDecay(0, 1), "lr0 is 0"),
        (lambda: InverseTimeDecay(0.1, -1), "decay is -1"),
        (lambda: InverseTimeDecay(inf, 1), "lr0 is inf"),
        (lambda: ExponentialDecay(0.1, 0), r"base is 0; expected a number in \(0, 1\]"),
        (lambda: ExponentialDecay(0.1, 1.1), "base is 1.1"),
        (lambda: ExponentialDecay(nan), "lr0 is nan"),
        (lambda: InverseSqrtDecay(0.1, k=0), "k is 0"),
        (lambda: InverseSqrtDecay(0.1, per="batch"), "per is 'batch'; expected one of 'epoch'"),
        (lambda: Staircase(0.1, factor=2), "factor is 2"),
        (lambda: Staircase(0.1, every=0), "every is 0; expected at least 1"),
        (lambda: Manual({}), "expected a rate for epoch 0 too"),
        (lambda: Manual({5: 0.1}), "expected a rate for epoch 0 too"),
        (lambda: Manual({0: -0.1}), "the rate from epoch 0 on is -0.1"),
        (lambda: Manual({0: 0.1, 1.5: 0.1}), "rates holds the epoch 1.5"),
        (lambda: Manual({"0": 0.1}), "rates holds the epoch '0'"),
        (lambda: Manual([(0, 0.1), (0, 0.2)]), "rates holds epoch 0 twice"),
    ],
)
def test_refuses_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExponentialDecay("0.1"), "lr0 is '0.1'"),
        (lambda: Staircase(0.1, every=2.0), "every is 2.0"),
        (lambda: Manual(0.1), r"rates is a float; expected milestones such as \{0: 0.1, 20"),
        (lambda: Manual([0.1, 0.2]), r"rates holds 0.1; expected pairs \(epoch, rate\)"),
    ],
)
def test_refuses_types(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("schedule", GOOD, ids=repr)
def test_refuses_epochs_and_steps_that_are_counted_otherwise(schedule):
    with pytest.raises(ValueError, match="epoch is -1; expected 0 in the first epoch"):
        schedule(-1, 1)
    with pytest.raises(ValueError, match="step is 0; expected 1 at the first update"):
        schedule(0, 0)
    with pytest.raises(TypeError, match=r"epoch is 1\.0 \(float\)"):
        schedule(1.0, 1)


@pytest.mark.parametrize("rate", [nan, -1.0, inf])
def test_a_function_that_returns_no_rate_is_named_with_its_epoch(rate):
    with pytest.raises(ValueError, match=f"the rate of epoch 3, step 8 is {rate}"):
        Manual(lambda epoch, step: rate)(3, 8)
