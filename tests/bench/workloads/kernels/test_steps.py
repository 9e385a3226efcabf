"""Every path of a step computes the step, and says honestly what it moves and allocates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onepass import get_backend
from onepass.bench.cases.steps import CASES, Case
from onepass.bench.expressions import numpy_steps as tuned
from onepass.bench.workloads.kernels import steps
from onepass.bench.workloads.kernels.steps import Step
from onepass.kernels.crew.crew import HELPED
from oracles.rules import RULES
from tolerances import assert_step

CPU = get_backend("cpu")
OWN = ("loop", "array", "tuned", "serial", "numba")

# rule: values an element that must move; ufunc calls of "tuned", and values an element they move
BY_HAND = {
    "sgd": (3, 2, 2 + 3),
    "momentum": (5, 4, 2 + 3 + 5),
    "nesterov": (5, 6, 2 + 3 + 2 + 3 + 5),
    "adagrad": (5, 7, 3 + 3 + 12),  # 12: sqrt 2, + eps 2, divide 3, * lr 2, subtract 3
    "rmsprop": (5, 9, 10 + 12),  # 10: v * past 2, g * g 3, * share 2, add 3
    "adam": (7, 12, 7 + 10 + 12),  # 7: m * beta1 2, g * share 2, add 3
    "adamw": (7, 13, 2 + 7 + 10 + 12),
    "amsgrad": (9, 13, 7 + 10 + 3 + 12),
    "nadam": (7, 17, 7 + 10 + 12 + 12),  # the root twice, with one scratch array
    "radam": (7, 12, 7 + 10 + 12),
    "adamax": (7, 10, 7 + 2 + 2 + 2 + 3 + 3 + 2 + 3),
    "adadelta": (7, 16, 10 + 2 + 2 + 3 + 2 + 2 + 3 + 2 + 2 + 3 + 3 + 2 + 3),
    "lion": (5, 8, 2 + 3 + 2 + 2 + 3 + 7),
}


def own(step):
    return [path for path in step.paths if path in OWN]


def piece(rule, dtype):
    """Elements of a piece of the path "serial"."""
    return HELPED // (np.dtype(dtype).itemsize * (2 + CASES[rule].states)) - 1


def prepared(step, paths):
    """The candidates, and the arrays (param, grad, states) that they work on."""
    made, draw = [], Case.arrays

    def noted(case, *arguments):
        made.append(draw(case, *arguments))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Case, "arrays", noted)
        candidates = step.prepare(paths)
    return candidates, made[-2]  # the last are the values that `reset` puts back


# --- numbers --------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", CASES)
@pytest.mark.parametrize("size", [1, 1023, None], ids=["1", "1023", "one above a piece"])
def test_one_step_of_every_path_of_ours_is_the_oracles(rule, dtype, size):
    case, size = CASES[rule], size or piece(rule, dtype) + 1
    oracle = RULES[case.step.__name__]
    step = Step(case, "", size, dtype)
    candidates, arrays = prepared(step, own(step))
    assert list(candidates) == own(step)
    start = case.arrays(size, dtype, CPU)
    for path, candidate in candidates.items():
        candidate.reset()
        for array, first in zip(arrays, start, strict=True):
            np.testing.assert_array_equal(array, first)

        def call(*arrays, candidate=candidate, **options):
            return candidate.call()

        assert_step(
            call,
            oracle,
            dict(zip(oracle.arrays, arrays, strict=True)),
            {**case.options, "lr": 1e-4},
            what=f" by {path!r}",
        )


def test_the_python_loop_is_for_adam_and_sizes_that_end_soon():
    assert "loop" in Step(CASES["adam"], "", 10_000, "float32").paths
    assert "loop" not in Step(CASES["adam"], "", 10_001, "float32").paths
    assert "loop" not in Step(CASES["sgd"], "", 100, "float32").paths


def test_serial_covers_the_array_in_pieces_below_those_with_helpers(monkeypatch):
    sizes, call = [], Case.call

    def noted(case, arrays, engine):
        sizes.append(arrays[0].size)
        assert sum(array.nbytes for array in arrays) < HELPED
        return call(case, arrays, engine)

    arrays = CASES["adam"].arrays(2 * piece("adam", "float32") + 3, "float32", CPU)
    monkeypatch.setattr(Case, "call", noted)
    steps._serial(CASES["adam"], arrays)
    assert sizes == [piece("adam", "float32")] * 2 + [3]


# --- what is noticed ------------------------------------------------------------------------------
def spoiled(run, array, element):
    """`run`, but one element of one of its arrays is a little off afterwards."""

    def wrong(*arguments, **options):
        result = run(*arguments, **options)
        arrays = [a for part in arguments for a in (part if isinstance(part, tuple) else (part,))]
        arrays = [a for a in arrays if isinstance(a, np.ndarray)]
        arrays[array][element] *= 1.001
        return result

    return wrong


@pytest.mark.parametrize("array", range(4), ids=["param", "grad", "m", "v"])
@pytest.mark.parametrize("element", [0, -1])
@pytest.mark.parametrize("path", ["loop", "tuned", "serial", "numba"])
def test_prepare_refuses_a_path_that_is_off_in_one_element(monkeypatch, path, array, element):
    case = CASES["adam"]
    if path == "loop":
        monkeypatch.setattr(steps, "adam_loop", spoiled(steps.adam_loop, array, element))
    elif path == "tuned":  # whose first array is scratch
        monkeypatch.setitem(tuned.TUNED, "adam", spoiled(tuned.TUNED["adam"], array + 1, element))
    else:
        right, wrong = case.step, spoiled(case.step, array, element)

        def step(*arrays, engine, **options):
            (right if engine == "array" else wrong)(*arrays, engine=engine, **options)

        case = replace(case, step=step)
    work = Step(case, "1e3", 1000, "float32")
    with pytest.raises(AssertionError, match=f"adam-1e3-float32-cpu by {path}"):
        work.prepare([path])


@pytest.mark.parametrize("rule", CASES)
def test_prepare_refuses_a_learning_rate_that_is_1_percent_off(monkeypatch, rule):
    monkeypatch.setattr(tuned, "LR", 1.01e-4)
    with pytest.raises(AssertionError, match="by tuned"):
        Step(CASES[rule], "1e4", 10_000, "float32").prepare(["tuned"])


@pytest.mark.parametrize("rule", CASES)
def test_prepare_refuses_a_kernel_that_does_nothing(rule):
    case = CASES[rule]

    def idle(*arrays, engine, **options):
        if engine == "array":
            case.step(*arrays, engine=engine, **options)

    with pytest.raises(AssertionError, match="by numba"):
        Step(replace(case, step=idle), "1e3", 1000, "float32").prepare(["array", "numba"])


# --- reset ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reset_puts_back_bit_for_bit(dtype):
    step = Step(CASES["amsgrad"], "", 1023, dtype)
    candidates, arrays = prepared(step, [*own(step), "limit"])
    start = [array.tobytes() for array in CASES["amsgrad"].arrays(1023, dtype, CPU)]
    for candidate in candidates.values():
        candidate.call()
        for array in arrays:
            array[::3] = np.nan
        candidate.reset()
        assert [array.tobytes() for array in arrays] == start


# --- costs ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", CASES)
def test_passes_and_bytes_are_those_counted_by_hand(rule, dtype):
    needed, passes, moved = BY_HAND[rule]
    size, width = 1000, np.dtype(dtype).itemsize
    step = Step(CASES[rule], "", size, dtype)
    assert step.bytes == needed * width * size
    made = step.prepare(["array", "tuned", "serial", "numba", "limit"])
    assert (made["tuned"].launches, made["tuned"].moved) == (passes, moved * width * size)
    for path in ("serial", "numba"):
        assert (made[path].launches, made[path].moved) == (1, step.bytes)
    assert made["array"].launches > 1
    assert made["array"].moved > step.bytes
    assert (made["limit"].launches, made["limit"].moved) == (None, None)


def test_adam_and_sgd_as_documents_tell_them():
    adam, sgd = (
        Step(CASES[rule], "", 1, "float32").prepare(["tuned"])["tuned"] for rule in ("adam", "sgd")
    )
    assert (adam.launches, adam.moved) == (12, 116)
    assert (sgd.launches, sgd.moved) == (2, 20)


@pytest.mark.parametrize("rule", CASES)
def test_array_expressions_allocate_tuned_ones_little_and_fused_ones_next_to_nothing(rule):
    size = 100_000
    made = Step(CASES[rule], "", size, "float32").prepare(["array", "tuned", "serial", "numba"])
    assert made["array"].memory >= 4 * size
    assert made["tuned"].memory < 4 * size < made["array"].memory
    for path in ("serial", "numba"):
        assert made[path].memory < 5000
