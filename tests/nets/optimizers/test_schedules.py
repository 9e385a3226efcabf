"""Learning-rate schedules: the formulas, the counting of epochs and steps, saving, refusals.

`test_chains.py` has schedules one after another, `test_torch_schedules.py` PyTorch's own.
"""

from __future__ import annotations

import json
from inspect import isabstract
from itertools import pairwise
from math import cos, floor, inf, nan, pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass.nets import (
    SCHEDULES,
    Chain,
    Cosine,
    CosineRestarts,
    ExponentialDecay,
    InverseSqrtDecay,
    InverseTimeDecay,
    LinearDecay,
    Manual,
    OneCycle,
    Polynomial,
    Schedule,
    Staircase,
    Warmup,
    schedule_from,
)


def one_cycle(step):
    """Of 41 steps, 0.25 of them up, written with a ramp for each phase."""
    t = min(step, 41) - 1
    up, top, bottom = 0.25 * 41 - 1, 0.3, 0.3 / 10 / 100
    if t <= up:
        return 0.03 + (top - 0.03) * (0.5 - 0.5 * cos(pi * t / up))
    return bottom + (top - bottom) * (0.5 + 0.5 * cos(pi * (t - up) / (40 - up)))


def restarted(t):
    """Periods of 3, 6, 12, ... epochs."""
    period = 3
    while t >= period:
        t, period = t - period, 2 * period
    return 0.01 + 0.2 * 0.5 * (1 + cos(pi * t / period))


# The formulas, written again from the course and the papers: epoch from 0, step from 1.
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
    "InverseTimeDecay per step": (
        InverseTimeDecay(0.2, decay=0.7, per="step"),
        lambda epoch, step: 0.2 / (1 + 0.7 * (step - 1)),
    ),
    "ExponentialDecay per step": (
        ExponentialDecay(0.3, 0.9999999, per="step"),
        lambda epoch, step: 0.9999999 ** (step - 1) * 0.3,
    ),
    "Staircase per step": (
        Staircase(0.4, factor=0.1, every=3_000_000, per="step"),
        lambda epoch, step: 0.4 * 10.0 ** -floor((step - 1) / 3_000_000),
    ),
    "Manual per step": (
        Manual({0: 0.1, 1000: 0.05}, per="step"),
        lambda epoch, step: 0.1 if step <= 1000 else 0.05,
    ),
    "LinearDecay": (
        LinearDecay(0.3, 250, per="epoch"),
        lambda epoch, step: max(0.3 - 0.3 / 250 * epoch, 0),
    ),
    "LinearDecay to an end": (
        LinearDecay(0.3, 10**6, end=0.1),
        lambda epoch, step: max(0.3 - 0.2 / 10**6 * (step - 1), 0.1),
    ),
    "Polynomial": (
        Polynomial(0.3, 10**6, end=0.1, power=2.5),
        lambda epoch, step: 0.1 + 0.2 * max(1 - (step - 1) / 10**6, 0) ** 2.5,
    ),
    "Cosine": (
        Cosine(0.3, 10**6, end=0.1),
        lambda epoch, step: 0.1 + 0.1 * (1 + cos(pi * min((step - 1) / 10**6, 1))),
    ),
    "Cosine per epoch": (
        Cosine(0.3, 300, end=0.1, per="epoch"),
        lambda epoch, step: 0.1 + 0.1 * (1 + cos(pi * min(epoch / 300, 1))),
    ),
    "CosineRestarts": (
        CosineRestarts(0.21, 3, growth=2, end=0.01, per="epoch"),
        lambda epoch, step: restarted(epoch),
    ),
    "CosineRestarts of one length": (
        CosineRestarts(0.2, 1000),
        lambda epoch, step: 0.1 * (1 + cos(pi * ((step - 1) % 1000) / 1000)),
    ),
    "OneCycle": (
        OneCycle(0.3, 41, 0.25, div_factor=10, final_div_factor=100),
        lambda epoch, step: one_cycle(step),
    ),
    "Warmup": (
        Warmup(10**6, lr=0.3, start=0.1),
        lambda epoch, step: min(0.1 + 0.2 * (step - 1) / 10**6, 0.3),
    ),
    "Warmup per epoch": (
        Warmup(200, lr=0.3, per="epoch"),
        lambda epoch, step: min(0.3 / 200 * (1 + 199 / 200 * epoch), 0.3),
    ),
    "Chain": (
        Chain([Warmup(40, lr=0.3, start=0.1, per="epoch"), ExponentialDecay(0.2, 0.99)]),
        lambda epoch, step: 0.1 + 0.005 * epoch if epoch < 40 else 0.2 * 0.99 ** (epoch - 40),
    ),
    "Manual function": (
        Manual(lambda epoch, step: 1 / (epoch + step)),
        lambda epoch, step: 1 / (epoch + step),
    ),
}
GOOD = [schedule for name, (schedule, _) in FORMULAS.items() if name != "Manual function"]
RISE = CosineRestarts, OneCycle, Warmup, Chain
DECAYS = [schedule for schedule in GOOD if not isinstance(schedule, RISE)]


def test_every_schedule_is_tested():
    assert {type(schedule).__name__ for schedule, _ in FORMULAS.values()} == set(SCHEDULES)
    assert set(SCHEDULES.values()) == {
        kind
        for base in (Schedule, *Schedule.__subclasses__())
        for kind in base.__subclasses__()
        if not isabstract(kind) and kind.__module__.startswith("onepass")
    }


@pytest.mark.parametrize("name", FORMULAS)
@given(epoch=st.integers(0, 400), step=st.integers(1, 10**7))
def test_is_the_formula(name, epoch, step):
    schedule, formula = FORMULAS[name]
    lr = schedule(epoch, step)
    assert type(lr) is float
    assert lr == pytest.approx(formula(epoch, step), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("schedule", DECAYS, ids=repr)
@given(epoch=st.integers(0, 400), step=st.integers(1, 10**7))
def test_decays_never_rise(schedule, epoch, step):
    later, sooner = schedule(epoch + 1, step + 1), schedule(epoch, step)
    assert later <= sooner * (1 + 1e-15)
    assert later > 0 or getattr(schedule, "end", None) == 0


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


LENGTHS = st.integers(1, 10**5)
RATES = st.floats(0, 10)
POSITIVE = st.floats(1e-6, 10)
SHARES = st.floats(0, 0.5)


@st.composite
def schedules(draw):
    """Any of the schedules that have an end, or restart, with the bounds of their rates."""
    per = draw(st.sampled_from(["epoch", "step"]))
    length, lr0, end = draw(LENGTHS), draw(RATES), draw(RATES)
    kind = draw(
        st.sampled_from([LinearDecay, Polynomial, Cosine, CosineRestarts, OneCycle, Warmup])
    )
    if kind is OneCycle:
        peak, div, final = draw(POSITIVE), draw(st.floats(1, 100)), draw(st.floats(1, 1e5))
        course = draw(st.sampled_from(["cos", "linear"]))
        phases = draw(st.booleans())
        made = OneCycle(peak, length, draw(SHARES), course, div, final, phases, per)
        return made, peak / div / final, peak
    if kind is CosineRestarts:
        made = CosineRestarts(lr0, length, draw(st.integers(1, 4)), end, per)
    elif kind is Warmup:
        lr0, end = draw(POSITIVE), min(lr0, end)
        made = Warmup(length, lr0, end, per)
    elif kind is Polynomial:
        made = Polynomial(lr0, length, end, draw(st.floats(0.1, 5)), per)
    else:
        made = kind(lr0, length, end, per)
    return made, min(lr0, end), max(lr0, end)


@given(schedules(), st.integers(0, 10**6))
def test_rates_lie_between_the_first_and_the_last(case, t):
    schedule, least, most = case
    lr = schedule(t, t + 1)
    assert least * (1 - 1e-14) <= lr <= most * (1 + 1e-14)


@given(schedules())
def test_any_of_them_goes_through_json_and_back(case):
    schedule = case[0]
    again = schedule_from(json.loads(json.dumps(schedule.config())))
    assert again == schedule
    assert repr(again) == repr(schedule)


@given(schedules(), st.integers(0, 10**6))
def test_the_last_rate_stays(case, more):
    schedule = case[0]
    if schedule.length is not None:
        n = schedule.length
        assert schedule(n + more, n + more + 1) == schedule(n, n + 1)


@given(LENGTHS, POSITIVE, POSITIVE, st.floats(0.1, 5))
def test_the_first_and_the_last_rate_are_exact(length, lr0, end, power):
    for schedule in (
        LinearDecay(lr0, length, end), Cosine(lr0, length, end),
        Polynomial(lr0, length, end, power), Warmup(length, lr=end, start=lr0),
    ):  # fmt: skip
        assert schedule(0, 1) == lr0
        assert schedule(9, length + 1) == end


@given(st.integers(1, 300), st.integers(1, 4))
def test_every_restart_is_at_lr0_and_follows_a_low_rate(period, growth):
    schedule = CosineRestarts(0.5, period, growth)
    start = 0
    for k in range(4):
        assert schedule(0, start + 1) == 0.5
        length = period * growth**k
        rates = [schedule(0, start + t + 1) for t in range(length)]
        assert all(later < sooner for sooner, later in pairwise(rates))
        assert rates[-1] == pytest.approx(0.25 * (1 + cos(pi * (length - 1) / length)))
        start += length


def test_restarts_far_away_are_found_at_once():
    schedule = CosineRestarts(0.5, 1)
    assert schedule(0, 10**15) == 0.5
    schedule = CosineRestarts(0.5, 2, growth=2)
    assert schedule(0, 2 * (2**40 - 1) + 1) == 0.5
    assert schedule(0, 2 * (2**40 - 1)) < 1e-12


@pytest.mark.parametrize("course", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_rises_once_and_falls_to_its_end(course, three_phase):
    schedule = OneCycle(
        0.5, 100, 0.4, course, div_factor=5, final_div_factor=20, three_phase=three_phase
    )
    rates = [schedule(0, step) for step in range(1, 121)]
    assert rates[0] == 0.1
    assert rates[39] == 0.5
    assert all(later > sooner for sooner, later in pairwise(rates[:40]))
    assert all(later < sooner for sooner, later in pairwise(rates[39:100]))
    assert rates[78] == pytest.approx(0.1) or not three_phase
    assert rates[99:] == [0.1 / 20] * 21


@pytest.mark.parametrize("length", [1, 2, 3, 10])
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("pct_start", [0.0, 0.1, 0.3, 0.5])
def test_one_cycle_of_few_steps_has_rates_too(length, three_phase, pct_start):
    """A phase may have no step, or end where it starts."""
    schedule = OneCycle(0.5, length, pct_start, three_phase=three_phase)
    rates = [schedule(0, step) for step in range(1, length + 2)]
    assert rates[length - 1] == rates[length] == 0.5 / 25 / 1e4
    assert all(rates[-1] <= rate <= 0.5 for rate in rates)


def test_one_cycle_whose_rise_ends_where_it_starts_begins_at_the_top():
    """PyTorch divides by zero there."""
    assert OneCycle(0.5, 10, pct_start=0.1)(0, 1) == 0.5


def test_a_warm_up_starts_at_its_share_and_not_at_nothing():
    assert Warmup(500, lr=0.1)(0, 1) == 0.1 / 500
    assert Warmup(500, lr=0.1, start=0)(0, 1) == 0
    assert [Warmup(4, lr=0.4)(0, step) for step in (1, 5, 99)] == pytest.approx([0.1, 0.4, 0.4])


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
    assert json.loads(json.dumps(milestones.config())) == {
        "type": "Manual",
        "rates": [[0, 0.5]],
        "per": "epoch",
    }


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
        ({"type": "Sine", "lr0": 0.1}, "type of the schedule is 'Sine'"),
        ({"type": "Cosine", "lr0": 0.1}, "missing a required argument: 'length'"),
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
        (lambda: ExponentialDecay(0.1, per="batch"), "per is 'batch'; expected one of 'epoch'"),
        (lambda: InverseTimeDecay(0.1, 1, per="batch"), "per is 'batch'"),
        (lambda: Staircase(0.1, per="batch"), "per is 'batch'"),
        (lambda: Manual({0: 0.1}, per="batch"), "per is 'batch'"),
        (lambda: LinearDecay(-1, 10), "lr0 is -1; expected a finite number >= 0"),
        (lambda: LinearDecay(1, 10, end=inf), "end is inf"),
        (lambda: LinearDecay(1, 0), "length is 0; expected at least 1"),
        (lambda: Polynomial(1, 10, power=0), "power is 0; expected a finite number > 0"),
        (lambda: Cosine(nan, 10), "lr0 is nan"),
        (lambda: Cosine(1, 10, end=-1), "end is -1"),
        (lambda: Cosine(1, 10, per="steps"), "per is 'steps'; expected one of 'epoch', 'step'"),
        (lambda: CosineRestarts(1, 0), "period is 0; expected at least 1"),
        (lambda: CosineRestarts(1, 10, growth=0), "growth is 0; expected at least 1"),
        (lambda: CosineRestarts(1, 10, end=nan), "end is nan"),
        (lambda: CosineRestarts(1, 10, per="batch"), "per is 'batch'"),
        (lambda: OneCycle(0, 10), "max_lr is 0; expected a finite number > 0"),
        (lambda: OneCycle(1, 0), "length is 0"),
        (lambda: OneCycle(1, 10, pct_start=30), r"pct_start is 30; expected a number in \[0, 1\]"),
        (lambda: OneCycle(1, 10, 0.6, three_phase=True), "pct_start is 0.6; expected at most 0.5"),
        (
            lambda: OneCycle(1, 10, anneal_strategy="sin"),
            "strategy is 'sin'; .* 'cos', 'lin",
        ),
        (lambda: OneCycle(1, 10, div_factor=0), "div_factor is 0"),
        (lambda: OneCycle(1, 10, final_div_factor=-1), "final_div_factor is -1"),
        (lambda: OneCycle(1, 10, per="batch"), "per is 'batch'"),
        (lambda: Warmup(0), "length is 0; expected at least 1"),
        (lambda: Warmup(10, lr=0), "lr is 0; expected a finite number > 0"),
        (lambda: Warmup(10, start=-1), "start is -1"),
        (lambda: Warmup(10, per="batch"), "per is 'batch'"),
        (
            lambda: Warmup(10)(0, 1),
            r"Warmup\(.* has no rate to rise to; expected lr=, or",
        ),
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
        (lambda: Cosine(0.1, 10.5), "length is 10.5"),
        (lambda: Cosine("0.1", 10), "lr0 is '0.1'"),
        (lambda: CosineRestarts(0.1, 10, growth=1.5), r"growth is 1.5 \(float\); expected an int"),
        (lambda: OneCycle(0.1, 10, three_phase="yes"), "three_phase is 'yes'"),
        (lambda: OneCycle(0.1, 10, anneal_strategy=cos), "anneal_strategy is <built-in"),
        (lambda: Warmup(True), "length is True"),
        (lambda: Warmup(10, lr="0.1"), "lr is '0.1'"),
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
