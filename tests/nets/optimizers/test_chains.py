"""Schedules one after another: where each starts, warm-ups, saving, going on in the middle."""

from __future__ import annotations

import json
from functools import reduce
from itertools import accumulate, pairwise
from math import isclose

import pytest
from cases.saving import everything, network, train
from cases.training import network as small
from cases.training import train as train_small
from hypothesis import given
from hypothesis import strategies as st
from onepass.nets import (
    SCHEDULES,
    SGD,
    Adam,
    Chain,
    Checkpoint,
    Cosine,
    CosineRestarts,
    ExponentialDecay,
    InverseSqrtDecay,
    LinearDecay,
    Manual,
    OneCycle,
    Polynomial,
    Staircase,
    Warmup,
    load,
    save,
    schedule_from,
)


def rates(schedule, steps):
    return [schedule(0, step) for step in range(1, steps + 1)]


def test_worked_out_by_hand():
    schedule = Warmup(4).then(LinearDecay(0.8, 4)).then(Manual({0: 0.3, 2: 0.1}, per="step"))
    expected = [0.2, 0.35, 0.5, 0.65, 0.8, 0.6, 0.4, 0.2, 0.3, 0.3, 0.1, 0.1]
    assert rates(schedule, 12) == pytest.approx(expected)
    assert schedule.milestones == [4, 8]


def test_epochs_are_counted_from_the_start_of_each():
    schedule = Warmup(2, per="epoch").then(Staircase(0.4, every=2))
    found = [schedule(epoch, 17 * epoch + 5) for epoch in range(7)]
    assert found == pytest.approx([0.2, 0.3, 0.4, 0.4, 0.2, 0.2, 0.1])


PARTS = st.one_of(
    st.builds(LinearDecay, st.floats(0, 1), st.integers(1, 40), st.floats(0, 1)),
    st.builds(Cosine, st.floats(0, 1), st.integers(1, 40), st.floats(0, 1)),
    st.builds(Polynomial, st.floats(0, 1), st.integers(1, 40)),
    st.builds(OneCycle, st.floats(0.1, 1), st.integers(1, 40)),
    st.builds(Warmup, st.integers(1, 40), st.floats(0.1, 1)),
)
LISTS = st.lists(PARTS, min_size=2, max_size=5)


@given(LISTS)
def test_is_the_rates_of_each_one_after_another(parts):
    chain = Chain(parts)
    expected = [lr for part in parts for lr in rates(part, part.length)]
    assert rates(chain, len(expected)) == expected
    assert chain.length == len(expected)
    assert chain(0, chain.length + 1000) == parts[-1](0, parts[-1].length + 1)


@given(LISTS)
def test_then_is_the_chain(parts):
    assert reduce(lambda first, second: first.then(second), parts) == Chain(parts)
    nested = Chain([parts[0], Chain(parts[1:])]) if len(parts) > 2 else Chain(parts)
    assert rates(nested, nested.length + 3) == rates(Chain(parts), nested.length + 3)


@given(LISTS, st.data())
def test_milestones_leave_a_schedule_or_wait_for_the_next(parts, data):
    lengths = [data.draw(st.integers(1, 60)) for _ in parts]
    *milestones, total = accumulate(lengths)
    chain = Chain(parts, milestones)
    expected = [lr for part, n in zip(parts, lengths, strict=True) for lr in rates(part, n)]
    assert rates(chain, total) == expected


@given(LISTS)
def test_goes_through_json_and_back(parts):
    chain = Chain(parts)
    again = schedule_from(json.loads(json.dumps(chain.config())))
    assert again == chain
    assert repr(again) == repr(chain)
    assert rates(again, 90) == rates(chain, 90)


@given(st.integers(1, 50), st.sampled_from([Cosine(0.3, 9), CosineRestarts(0.3, 9),
                                            OneCycle(0.3, 9), ExponentialDecay(0.3, per="step"),
                                            InverseSqrtDecay(0.3, 2, per="step")]))  # fmt: skip
def test_a_warm_up_rises_to_the_first_rate_of_what_follows(length, following):
    chain = Warmup(length).then(following)
    found = rates(chain, length + 5)
    first = following(0, 1)
    assert found[length:] == rates(following, 5)
    steps = [later - sooner for sooner, later in pairwise(found)][:length]
    assert all(isclose(step, (first - first / length) / length, abs_tol=1e-15) for step in steps)
    assert found[0] == pytest.approx(first / length)


def test_a_warm_up_keeps_the_rate_it_was_given():
    assert Warmup(2, lr=1.0).then(Cosine(0.1, 5)).schedules[0] == Warmup(2, lr=1.0)
    given = Warmup(2)
    Chain([given, Cosine(0.1, 5)])
    assert given == Warmup(2), "what was given is left as it is"


def test_a_warm_up_before_a_chain_rises_to_its_first_rate():
    inner = LinearDecay(0.2, 3).then(Cosine(0.1, 5))
    assert Warmup(4).then(inner).schedules[0].lr == 0.2


def test_names():
    chain = Warmup(5).then(Cosine(0.1, 10))
    assert repr(chain) == (
        "Chain(schedules=[Warmup(length=5, lr=0.1, start=None, per='step'), Cosine(lr0=0.1, "
        "length=10, end=0.0, per='step')], milestones=[5])"
    )
    assert chain != Warmup(5).then(Cosine(0.1, 11))
    assert chain != Warmup(6).then(Cosine(0.1, 10))


# Training


LONG = {
    "warm-up, then Cosine": Warmup(7).then(Cosine(0.1, 9)),
    "three": Warmup(3).then(CosineRestarts(0.1, 2, growth=2)).then(Polynomial(0.05, 6), at=9),
    "by epochs": Chain(
        [Warmup(2, per="epoch"), Staircase(0.1, every=1), ExponentialDecay(0.02, 0.5)], [2, 4]
    ),
    "one cycle": OneCycle(0.1, 24),
}  # fmt: skip


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("finished", [1, 2, 3, 5])
def test_a_run_goes_on_in_the_middle_as_if_it_had_not_ended(name, finished, tmp_path):
    """6 epochs of 4 updates."""

    def run(net, made, epochs, **options):
        return train(net, made, epochs, **options)

    net = network("float64")
    made = Adam(net.parameters())
    whole = run(net, made, 6, schedule=LONG[name])
    path = tmp_path / "half"
    half = network("float64")
    run(half, Adam(half.parameters()), finished, schedule=LONG[name], callbacks=[Checkpoint(path)])
    saved = load(path, "cpu")
    assert saved.schedule == LONG[name]
    history = run(saved.net, saved.optimizer, 6, schedule=saved.schedule, resume=saved)
    assert everything(saved.net, saved.optimizer) == everything(net, made)
    assert history.lr == whole.lr
    assert len(set(whole.lr)) > 2, "or it proves nothing"


@pytest.mark.parametrize("callbacks", [[], None])
def test_each_update_of_a_captured_run_has_its_rate(callbacks):
    """Plain gradient descent by hand of the rates, batch by batch, gives the same weights."""
    schedule = Warmup(5).then(Cosine(0.3, 7))
    net, history = train_small(schedule=schedule, callbacks=callbacks)
    assert history.path == "captured"
    assert history.lr == [schedule(0, step) for step in (4, 8, 12)]
    again = small()
    made = SGD(again.parameters(), lr=0.1)
    seen = []

    def by_hand(epoch, step):
        seen.append(step)
        return rates(schedule, 12)[step - 1]

    train_small(again, optimizer=made, schedule=by_hand)
    assert sorted(set(seen)) == [*range(1, 13)]
    for name, value in net.parameters().items():
        assert (value == again.parameters()[name]).all()


# Refusals


class Own(Staircase):
    """A schedule that is in no table."""


def test_what_no_table_has_is_not_saved_in_a_chain_either(tmp_path, monkeypatch):
    chain = Warmup(2, per="epoch").then(Own(0.1))
    for bad, message in (
        (chain, "of a class that load would not know; .*'Own'.* = Own first"),
        (Manual(lambda epoch, step: 0.1).then(Staircase(0.1), at=3), "holds a function"),
    ):
        with pytest.raises(TypeError, match=message):
            save(tmp_path / "net", network(), schedule=bad)
        assert not (tmp_path / "net").exists()
    monkeypatch.setitem(SCHEDULES, "Own", Own)
    save(tmp_path / "net", network(), schedule=chain)
    assert load(tmp_path / "net", "cpu").schedule == chain


def test_a_warm_up_to_nothing_is_refused_before_anything_is_written():
    net = small()
    before = {name: value.copy() for name, value in net.parameters().items()}
    with pytest.raises(ValueError, match=r"has no rate to rise to; expected lr=, or a schedule"):
        train_small(net, schedule=Warmup(5))
    assert all((value == before[name]).all() for name, value in net.parameters().items())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Chain(Cosine(0.1, 5)), TypeError, "schedules is a Cosine; expected a list of sch"),
        (lambda: Chain("ab"), TypeError, "schedules is a str"),
        (lambda: Chain([Cosine(0.1, 5)]), ValueError, "schedules is .*; expected two or more"),
        (lambda: Chain([Cosine(0.1, 5), max]), TypeError, r"schedules holds <.*Manual\(function\)"),
        (lambda: Cosine(0.1, 5).then(0.1), TypeError, "schedules holds 0.1; expected Schedules"),
        (
            lambda: Warmup(5).then(Staircase(0.1)),
            ValueError,
            r"Warmup\(.*\) counts each step, and Staircase\(.*\) each epoch; expected the same",
        ),
        (
            lambda: Staircase(0.1).then(ExponentialDecay(0.1)),
            ValueError,
            r"Staircase\(.*\) has no end at which another could start; expected then\(..., at=30\)",
        ),
        (
            lambda: Cosine(0.1, 5).then(CosineRestarts(0.1, 5)).then(Cosine(0.1, 5)),
            ValueError,
            "CosineRestarts.* has no end",
        ),
        (lambda: Cosine(0.1, 5).then(Cosine(0.1, 5), at=0), ValueError, "a milestone is 0"),
        (lambda: Cosine(0.1, 5).then(Cosine(0.1, 5), at=1.5), TypeError, "a milestone is 1.5"),
        (
            lambda: Cosine(0.1, 5).then(Cosine(0.1, 5)).then(Cosine(0.1, 5), at=5),
            ValueError,
            r"milestones is \[5, 5\]; expected each larger than the one before",
        ),
        (
            lambda: Chain([Cosine(0.1, 5), Cosine(0.1, 5)], [5, 10]),
            ValueError,
            r"milestones is \[5, 10\]; expected 1, one less than there are schedules",
        ),
        (
            lambda: Chain([Cosine(0.1, 5), Cosine(0.1, 5)], 5),
            TypeError,
            "milestones is a int; expected a list of epochs or steps",
        ),
        (
            lambda: Warmup(5).then(LinearDecay(0, 5, end=0.1)),
            ValueError,
            r"the first rate of LinearDecay\(.*\) is 0.0; expected a finite number > 0",
        ),
        (
            lambda: schedule_from({"type": "Chain", "schedules": [{"type": "Sine"}, {}]}),
            ValueError,
            "type of the schedule is 'Sine'",
        ),
        (
            lambda: schedule_from({"type": "Chain", "schedules": {"type": "Cosine"}}),
            TypeError,
            "schedules is a dict",
        ),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()
