"""The gate lets bounds pass that are met, and stops what is slower; by made-up times.

What the kernels really take is for the gate itself to judge, and that it stops kernels which are
slowed down on purpose: no test depends on the clock.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from onepass.bench import gate
from onepass.bench.cases.batch_norm import NormCase
from onepass.bench.cases.steps import CASES
from onepass.bench.workloads.kernels.steps import Step

STEP = gate.Bound(Step(CASES["adam"], "1e5", 100_000, "float32"), "array", "numba", 3)
OTHER = Step(CASES["adam"], "1e3", 1_000, "float32")


@pytest.fixture
def takes(monkeypatch):
    """Let measurements find times of `array` in turn, where `numba` takes 1; those asked for."""

    def use(*seconds):
        left, asked = list(seconds), []

        def measure(workload, paths, effort):
            asked.append((workload, tuple(paths)))
            times = {path: left.pop(0) if path == "array" else 1.0 for path in paths}
            return [
                SimpleNamespace(path=path, timing=SimpleNamespace(median=median))
                for path, median in times.items()
            ]

        monkeypatch.setattr(gate, "measure", measure)
        return asked

    return use


@pytest.mark.parametrize(
    ("seconds", "passed", "value"),
    [
        ((3.0,), True, 3.0),
        ((9.0,), True, 9.0),
        ((2.9, 3.1), True, 3.1),
        ((1.0, 2.0, 3.0), True, 3.0),
        ((2.0, 2.9, 1.0), False, 2.9),  # a bound that is missed in every try is missed
    ],
)
def test_a_bound_is_tried_again_while_it_is_missed(takes, seconds, passed, value):
    asked = takes(*seconds)
    outcome = gate.judge(STEP)
    assert (outcome.passed, outcome.value) == (passed, value)
    assert asked == [(STEP.workload, ("array", "numba"))] * len(seconds)


@pytest.mark.parametrize(
    ("seconds", "passed"),
    [((2.0,), False), ((4.0, 2.0), False), ((3.0, 4.0, 5.0), True)],
)
def test_an_alarm_is_tried_again_while_it_is_silent(takes, seconds, passed):
    asked = takes(*seconds)
    outcome = gate.judge(STEP, slowed=True)
    assert (outcome.passed, outcome.value) == (passed, min(seconds))
    assert len(asked) == len(seconds)


def test_a_bound_may_compare_two_workloads(takes):
    asked = takes(0.5)
    bound = gate.Bound(STEP.workload, "array", "numba", 0.4, reference=OTHER)
    outcome = gate.judge(bound)
    assert outcome.value == 0.5
    assert asked == [(STEP.workload, ("numba",)), (OTHER, ("array",))]
    assert "array in adam / numba is 0.5; expected 0.4 or more" in str(outcome)


def test_no_bound_is_met_by_a_path_that_is_no_better_than_the_array_path():
    for bound in gate.bounds():
        if bound.reference is None:
            assert bound.least > (1.2 if bound.above == "array" else 0.3)


def test_steps_right_after_a_matrix_product_are_judged_by_steps_alone():
    beside = [bound for bound in gate.bounds() if bound.workload.section == "beside-blas"]
    assert [bound.workload.label for bound in beside] == ["3e4", "3e5"]
    for bound in beside:
        assert bound.workload.operation == "adam after a product"
        assert bound.reference.operation == "adam alone"
        assert bound.least / 10 > 1 / 900  # what a step takes whose threads wait for the product's


def test_what_is_slowed_down_does_its_work_several_times(monkeypatch):
    """Counted, not timed."""
    kinds = {
        gate._SlowStep(CASES["adam"], "1e3", 1_000, "float32"): (Step, 8),
        gate._SlowNorm(NormCase((4, 3, 2, 2)), "forward"): (gate.Norm, 6),
    }
    for workload, (kind, times) in kinds.items():
        calls = []
        plain = {
            path: gate.Candidate(lambda path=path, calls=calls: calls.append(path))
            for path in ("array", "numba")
        }
        monkeypatch.setattr(kind, "prepare", lambda self, paths, plain=plain: plain)
        for candidate in workload.prepare(("array", "numba")).values():
            candidate.call()
        assert calls == ["array", *["numba"] * times]


def test_alarms_have_bounds_that_the_same_kernels_must_meet():
    bounds = {(b.workload.operation, b.workload.label, b.above): b.least for b in gate.bounds()}
    for alarm in gate.alarms():
        work = alarm.workload
        assert alarm.least == bounds[work.operation, work.label, alarm.above]


@pytest.mark.parametrize(
    ("bounds", "alarms", "status"),
    [((3.0,), (2.0,), 0), ((2.0, 1.0, 1.5), (2.0,), 1), ((3.0,), (3.0, 3.0, 3.0), 1)],
)
def test_the_command_ends_with_1_if_a_bound_is_missed_or_an_alarm_silent(
    takes, monkeypatch, capsys, bounds, alarms, status
):
    takes(*bounds, *alarms)
    monkeypatch.setattr(gate, "bounds", lambda: iter([STEP]))
    monkeypatch.setattr(gate, "alarms", lambda: iter([STEP]))
    assert gate.main() == status
    told = capsys.readouterr().out.splitlines()
    assert told[0].split()[0] == ("ok" if max(bounds) >= 3 else "FAIL")
    assert told[2].split()[0] == ("ok" if min(alarms) >= 3 else "FAIL")
    assert "slowed down on purpose" in told[1]
    assert f"steps adam 1e5: array / numba is {max(bounds):g}; expected 3 or more" in told[0]
