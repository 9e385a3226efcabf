"""The gate lets the kernels pass, and stops them when they are slowed down on purpose."""

from __future__ import annotations

from onepass.bench import gate
from onepass.bench.cases import CASES
from onepass.bench.norm_cases import IMAGES
from onepass.bench.norms import Norm
from onepass.bench.steps import Step
from onepass.kernels.batchnorm import numba_cpu as norm_engine
from onepass.kernels.engines.numba_cpu import NumbaEngine

STEP = gate.Bound(Step(CASES["adam"], "1e5", 100_000, "float32"), "array", "numba", 3)
NORM = gate.Bound(Norm(IMAGES[1], "forward"), "array", "numba", 4)


def test_the_kernels_as_they_are_pass():
    for bound in (STEP, NORM):
        outcome = gate.judge(bound)
        assert outcome.passed, str(outcome)


def test_a_step_that_takes_four_times_as_long_is_stopped(monkeypatch):
    """As one does that has lost its SIMD."""
    quick = NumbaEngine.quick

    def slow(engine, rule, arrays, coefficients):
        for _ in range(3):
            quick(engine, rule, tuple(array.copy() for array in arrays), coefficients)
        return quick(engine, rule, arrays, coefficients)

    monkeypatch.setattr(NumbaEngine, "quick", slow)
    outcome = gate.judge(STEP)
    assert not outcome.passed, str(outcome)


def test_a_batch_norm_that_walks_memory_five_times_is_stopped(monkeypatch):
    run = norm_engine._run

    def slow(*arguments):
        for _ in range(5):
            run(*arguments)

    monkeypatch.setattr(norm_engine, "_run", slow)
    outcome = gate.judge(NORM)
    assert not outcome.passed, str(outcome)


def test_no_bound_is_met_by_a_path_that_is_no_better_than_the_array_path():
    for bound in gate.bounds():
        assert bound.least > (1.2 if bound.above == "array" else 0.3)


def test_the_command_ends_with_1_if_a_bound_is_missed(monkeypatch, capsys):
    monkeypatch.setattr(gate, "bounds", lambda: iter([STEP]))
    monkeypatch.setattr(gate, "judge", lambda bound: gate.Outcome(bound, 1.0))
    assert gate.main() == 1
    told = capsys.readouterr().out
    assert "FAIL steps adam 1e5: array / numba is 1.00; expected 3 or more" in told
