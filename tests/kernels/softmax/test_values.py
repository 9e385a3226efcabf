"""Softmax cross-entropy on every engine, held to one oracle: values, layouts, what is refused."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys

import numpy as np
import onepass
import pytest
from cases.softmax import (
    INTEGERS,
    assert_right,
    check,
    check_a_chosen_class_of_probability_zero_costs_infinity,
    check_large_equal_and_infinite_logits,
    check_nan_and_inf_make_their_row_nan,
    check_smoothed_labels_of_extreme_logits,
    check_weights_of_1_change_nothing_and_of_0_leave_nothing,
    example,
    make,
    run,
)
from hypothesis import given
from hypothesis import strategies as st
from onepass import kernels
from onepass.kernels.simd import half
from onepass.kernels.softmax.cpu.numba_rows import BLOCK
from tolerances import GRADIENT_RATIO

SHAPES = [(1, 1), (1, 10), (3, 7), (128, 10), (5, 1023), (2, BLOCK + 1)]
FLOATS = ("float16", "float32", "float64")
LAYOUTS = ("C", "F", "every other column", "reversed rows", "read-only", "big-endian")


def laid_out(array, layout):
    """The same values in another layout."""
    if layout == "every other column":
        room = np.zeros((array.shape[0], 2 * array.shape[1]), array.dtype)
        room[:, ::2] = array
        return room[:, ::2]
    if layout == "reversed rows":
        return array[::-1].copy()[::-1]
    if layout == "big-endian":
        return array.astype(array.dtype.newbyteorder(">"))
    result = array.copy("F" if layout == "F" else "C")
    result.flags.writeable = layout != "read-only"
    return result


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_oracle(engine, shape, dtype):
    loss, gradient = run(engine, make(shape, dtype))
    assert gradient.dtype == dtype
    assert_right(engine, (loss, gradient), *make(shape, dtype))


@pytest.mark.parametrize("weight_dtype", FLOATS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weights_of_rows(engine, shape, dtype, weight_dtype):
    case = make(shape, dtype, weighted=True)
    check(engine, case._replace(weights=case.weights.astype(weight_dtype)))


@pytest.mark.parametrize("smoothing", [1e-3, 0.1, 0.9])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_smoothed_labels(engine, shape, dtype, smoothing):
    for weighted in (False, True):
        check(engine, make(shape, dtype, weighted=weighted)._replace(smoothing=smoothing))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("width", [3, 100])
def test_smoothed_labels_of_extreme_logits(engine, width, dtype):
    check_smoothed_labels_of_extreme_logits(engine, width, dtype)


def test_smoothed_labels_equal_pytorch(engine):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    case = make((33, 10), "float64", weighted=True)._replace(smoothing=0.3)
    z = torch.tensor(case.logits, requires_grad=True)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.3, reduction="none")
    expected = (loss(z, torch.tensor(case.labels)) * torch.tensor(case.weights)).mean()
    expected.backward()
    found = run(engine, case)
    assert float(found[0]) == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(engine.to_numpy(found[1]), z.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_labels_that_are_not_smoothed_are_what_they_were(engine):
    call, (logits, labels, _, _) = engine.kernel("softmax_cross_entropy"), make((9, 11))
    plain = call(engine.asarray(logits), labels)
    for none in (0, 0.0, np.float32(0), np.array(0.0)):
        found = call(engine.asarray(logits), labels, label_smoothing=none)
        assert float(found[0]) == float(plain[0])
        assert np.array_equal(engine.to_numpy(found[1]), engine.to_numpy(plain[1]))


def test_a_smoothed_gradient_may_replace_the_logits(engine):
    case = make((9, 1030), weighted=True)._replace(smoothing=0.2)
    z, weights = engine.asarray(case.logits), engine.asarray(case.weights)
    options = {"weights": weights, "label_smoothing": 0.2, "out": z}
    found = engine.kernel("softmax_cross_entropy")(z, case.labels, **options)
    assert found[1] is z
    assert_right(engine, found, *case)


@pytest.mark.parametrize("dtype", FLOATS)
def test_weights_of_1_change_nothing_and_of_0_leave_nothing(engine, dtype):
    check_weights_of_1_change_nothing_and_of_0_leave_nothing(engine, dtype)


def test_weights_that_are_not_contiguous_or_not_native():
    logits, labels, weights, _ = make((9, 11), weighted=True)
    for view in (np.repeat(weights, 2)[::2], weights.astype(">f4"), weights[::-1].copy()[::-1]):
        for name in ("array", "numba"):
            found = kernels.softmax_cross_entropy(logits, labels, weights=view, engine=name)
            assert_right(_CPU, found, logits, labels, weights)


@given(
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from(FLOATS),
    label_dtype=st.sampled_from(INTEGERS),
    layout=st.sampled_from(LAYOUTS),
    out_layout=st.sampled_from((None, "same", *LAYOUTS)),
    spread=st.sampled_from((0.0, 1e-3, 1.0, 30.0, 1e4)),
    engine_name=st.sampled_from(("auto", "array", "numba")),
    weighted=st.booleans(),
    smoothing=st.sampled_from((0.0, 0.1, 0.75)),
    seed=st.integers(0, 99),
)
def test_any_layout_and_dtype(
    shape, dtype, label_dtype, layout, out_layout, spread, engine_name, weighted, smoothing, seed
):
    logits, labels = example(shape, dtype, spread, seed)
    logits[~np.isfinite(logits)] = 6e4  # of float16
    labels = np.minimum(labels, min(np.iinfo(label_dtype).max, shape[1] - 1)).astype(label_dtype)
    z = laid_out(logits, layout)
    out = None
    if out_layout == "same" and z.flags.writeable:
        out = z
    elif out_layout not in (None, "same", "read-only"):
        out = laid_out(np.full_like(logits, 7), out_layout)
        if out.dtype != z.dtype:
            out = out.astype(z.dtype)
    weights = make(shape, "float64", weighted=True).weights if weighted else None
    options = {"weights": weights, "out": out, "engine": engine_name}
    options["label_smoothing"] = smoothing
    found = kernels.softmax_cross_entropy(z, labels, **options)
    assert out is None or found[1] is out
    assert found[1].dtype == z.dtype
    assert_right(_CPU, found, logits, labels, weights, smoothing)
    assert out is z or np.array_equal(z, logits)


class _CPU:
    factor = 1.0
    to_numpy = staticmethod(np.asarray)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("width", [3, 100])
def test_large_equal_and_infinite_logits(engine, width, dtype):
    check_large_equal_and_infinite_logits(engine, width, dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("width", [3, 100])
@pytest.mark.parametrize("bad", ["nan", "-nan", "inf", "all -inf"])
def test_nan_and_inf_make_their_row_nan(engine, bad, width, dtype):
    check_nan_and_inf_make_their_row_nan(engine, bad, width, dtype)


def test_a_chosen_class_of_probability_zero_costs_infinity(engine):
    check_a_chosen_class_of_probability_zero_costs_infinity(engine)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_rows_add_up_to_zero(engine, shape):
    logits, labels = example(shape, "float64")
    _, gradient = engine.kernel("softmax_cross_entropy")(engine.asarray(logits), labels)
    np.testing.assert_allclose(engine.to_numpy(gradient).sum(axis=1), 0, atol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [0.5, 0.0, 2.0, 1.25]])
def test_gradient_by_two_sided_differences(engine, weights, smoothing):
    logits, labels = example((4, 5), "float64", 1.0)
    options = {} if weights is None else {"weights": np.array(weights)}
    options["label_smoothing"] = smoothing
    call, h = engine.kernel("softmax_cross_entropy"), 1e-5
    gradient = engine.to_numpy(call(engine.asarray(logits), labels, **options)[1])
    approx = np.empty_like(logits)
    for place in np.ndindex(logits.shape):
        sides = []
        for step in (h, -h):
            moved = logits.copy()
            moved[place] += step
            sides.append(float(call(engine.asarray(moved), labels, **options)[0]))
        approx[place] = (sides[0] - sides[1]) / (2 * h)
    ratio = np.linalg.norm(approx - gradient) / (np.linalg.norm(approx) + np.linalg.norm(gradient))
    assert ratio < GRADIENT_RATIO


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_gradient_may_replace_the_logits(engine, dtype):
    logits, labels = example((9, 11), dtype)
    call = engine.kernel("softmax_cross_entropy")
    apart = call(engine.asarray(logits), labels)
    z = engine.asarray(logits)
    loss, gradient = call(z, labels, out=z)
    assert gradient is z
    assert float(loss) == float(apart[0])
    assert np.array_equal(engine.to_numpy(z), engine.to_numpy(apart[1]))


def test_another_view_of_the_logits_counts_as_the_logits(engine):
    logits, labels = example((9, 11))
    z = engine.asarray(logits)
    found = engine.kernel("softmax_cross_entropy")(z, labels, out=z[:])
    assert_right(engine, found, logits, labels)


@pytest.mark.parametrize("width", [11, 100, 1030])
def test_results_are_the_same_at_every_run(engine, width):
    case = make((700, width), weighted=True)
    first, *others = (run(engine, case) for _ in range(3))
    for other in others:
        assert float(other[0]) == float(first[0])
        assert np.array_equal(engine.to_numpy(other[1]), engine.to_numpy(first[1]))


def test_labels_out_of_range_that_lie_on_a_gpu_make_their_row_nan(engine):
    logits, labels = engine.asarray(np.zeros((4, 5))), engine.asarray(np.array([0, 5, 1, -1]))
    call = engine.kernel("softmax_cross_entropy")
    if engine.device == "cpu":
        with pytest.raises(ValueError, match="labels hold -1"):
            call(logits, labels)
        return
    loss, gradient = call(logits, labels)
    assert math.isnan(float(loss))
    wrong = np.isnan(engine.to_numpy(gradient))
    assert wrong.any(axis=1).tolist() == wrong.all(axis=1).tolist() == [False, True, False, True]


@pytest.mark.parametrize("label_dtype", INTEGERS)
@pytest.mark.parametrize("engine_name", ["auto", "array", "numba"])
def test_labels_out_of_range_are_refused_before_a_write(engine_name, label_dtype):
    info = np.iinfo(label_dtype)
    for bad in {info.min, info.max, 4} - {0}:
        z, out = np.zeros((3, 4), np.float32), np.full((3, 4), 7, np.float32)
        labels = np.array([0, 3, bad], label_dtype)
        for target in (out, z):
            with pytest.raises(ValueError, match=rf"labels hold {bad}; expected 0\.\.3 for 4"):
                kernels.softmax_cross_entropy(z, labels, out=target, engine=engine_name)
        assert (out == 7).all()
        assert (z == 0).all()


def arguments(**changed):
    return {
        "logits": np.zeros((2, 3), np.float32),
        "labels": np.array([0, 2]),
        "out": np.zeros((2, 3), np.float32),
    } | changed


_shared = np.zeros(12, np.float32)
_room = np.zeros(8, np.int64)
_fixed = np.zeros((2, 3), np.float32)
_fixed.flags.writeable = False
REFUSED = {
    "logits no array": ({"logits": [[0.0]]}, TypeError, ["logits is a list"]),
    "logits of integers": ({"logits": np.zeros((2, 3), int)}, TypeError, ["logits", "int64"]),
    "logits of one axis": ({"logits": np.zeros(3)}, ValueError, ["logits has shape (3,)"]),
    "no rows": ({"logits": np.zeros((0, 3))}, ValueError, ["(0, 3)", "both at least 1"]),
    "no classes": ({"logits": np.zeros((2, 0))}, ValueError, ["(2, 0)", "both at least 1"]),
    "labels no array": ({"labels": [0, 2]}, TypeError, ["labels is a list"]),
    "labels of floats": ({"labels": np.zeros(2)}, TypeError, ["labels", "float64"]),
    "labels too few": ({"labels": np.array([0])}, ValueError, ["(1,)", "(2,)"]),
    "one-hot labels": ({"labels": np.eye(2, 3, dtype=int)}, ValueError, ["argmax(axis=1)"]),
    "weights no array": ({"weights": [1.0, 2.0]}, TypeError, ["weights is a list"]),
    "weights of integers": ({"weights": np.ones(2, int)}, TypeError, ["weights", "int64"]),
    "weights too few": ({"weights": np.ones(1)}, ValueError, ["weights", "(1,)", "(2,)"]),
    "weights of classes": ({"weights": np.ones(3)}, ValueError, ["(3,)", "factors[labels]"]),
    "weights below 0": ({"weights": np.array([1.0, -0.5])}, ValueError, ["hold -0.5", ">= 0"]),
    "weights nan": ({"weights": np.array([np.nan, 1.0])}, ValueError, ["hold nan", "finite"]),
    "weights inf": ({"weights": np.array([np.inf, 1.0], "f2")}, ValueError, ["hold inf"]),
    "smoothing of 1": ({"label_smoothing": 1.0}, ValueError, ["label_smoothing is 1.0", "[0, 1)"]),
    "smoothing below 0": ({"label_smoothing": -0.1}, ValueError, ["label_smoothing is -0.1"]),
    "smoothing nan": ({"label_smoothing": np.nan}, ValueError, ["label_smoothing is nan"]),
    "smoothing no number": ({"label_smoothing": "0.1"}, TypeError, ["label_smoothing is '0.1'"]),
    "smoothing none": ({"label_smoothing": None}, TypeError, ["label_smoothing is None"]),
    "smoothing bool": ({"label_smoothing": False}, TypeError, ["label_smoothing is False"]),
    "out no array": ({"out": [[0.0]]}, TypeError, ["out is a list"]),
    "out of another shape": ({"out": np.zeros((3, 2), "f4")}, ValueError, ["out", "(3, 2)"]),
    "out of another dtype": ({"out": np.zeros((2, 3))}, TypeError, ["out", "float64"]),
    "out read-only": ({"out": _fixed}, ValueError, ["out is read-only"]),
    "out broadcast": (
        {"out": np.lib.stride_tricks.as_strided(np.zeros(3, "f4"), (2, 3), (0, 4))},
        ValueError,
        ["out overlaps itself"],
    ),
    "out shifted by one": (
        {"logits": _shared[:6].reshape(2, 3), "out": _shared[1:7].reshape(2, 3)},
        ValueError,
        ["out and logits overlap"],
    ),
    "out over the labels": (
        {"labels": _room[:2], "out": _room.view(np.float32)[2:8].reshape(2, 3)},
        ValueError,
        ["out and labels overlap"],
    ),
    "out over the weights": (
        {"weights": _room.view(float)[:2], "out": _room.view(np.float32)[2:8].reshape(2, 3)},
        ValueError,
        ["out and weights overlap"],
    ),
}


@pytest.mark.parametrize("engine_name", ["auto", "array", "numba"])
@pytest.mark.parametrize("case", REFUSED)
def test_refused_and_nothing_written(case, engine_name):
    changed, error, words = REFUSED[case]
    given = arguments(**changed)
    kept = {name: np.array(value) for name, value in given.items()}
    with pytest.raises(error) as caught:
        kernels.softmax_cross_entropy(**given, engine=engine_name)
    for word in words:
        assert word in str(caught.value)
    for name, value in given.items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, kept[name], equal_nan=name == "weights")


OVERLAPS = {  # words of a room that holds the logits, in float64, and where another argument lies
    "correct in the logits": ("correct", "logits", slice(1, 2)),
    "correct in the labels": ("correct", "labels", slice(7, 8)),
    "correct in the weights": ("correct", "weights", slice(9, 10)),
    "correct in the logits that out replaces": ("correct", "logits", slice(5, 6)),
    "labels in the logits that out replaces": ("out", "labels", slice(4, 6)),
    "weights in the logits that out replaces": ("out", "weights", slice(0, 2)),
}


@pytest.mark.parametrize("case", OVERLAPS)
def test_arguments_in_one_another_are_refused_on_every_engine(engine, case):
    written, read, place = OVERLAPS[case]
    room = engine.asarray(np.zeros(10))
    words = room.view("int64")
    given = {
        "logits": room[:6].reshape(2, 3), "labels": words[6:8], "weights": room[8:10],
    }  # fmt: skip
    run = engine.kernel("softmax_cross_entropy")
    run(**given, correct=engine.asarray(np.zeros((), "int64")))
    if written == "correct":
        given["correct"] = words[place].reshape(())
    else:
        given[read] = (words if read == "labels" else room)[place]
    if "out" in case:
        given["out"] = given["logits"]
    with engine.refuses(ValueError, {"room": room}, written, read, "overlap"):
        run(**given)


@pytest.mark.parametrize("name", ["cupy", "numba-cuda"])
def test_gpu_engines_refuse_arrays_of_the_cpu(name):
    with pytest.raises(onepass.EngineUnavailableError, match=f"engine '{name}'"):
        kernels.softmax_cross_entropy(**arguments(), engine=name)


@pytest.mark.parametrize(("name", "error"), [("opencl", ValueError), (3, TypeError)])
def test_unknown_engines_are_refused(name, error):
    with pytest.raises(error, match="engine is"):
        kernels.softmax_cross_entropy(**arguments(), engine=name)


def test_a_processor_without_float16_conversions(monkeypatch):
    monkeypatch.setattr(half, "conversions_missing", lambda: True)
    logits, labels = example((3, 7), "float16")
    assert_right(_CPU, kernels.softmax_cross_entropy(logits, labels), logits, labels)
    with pytest.raises(onepass.EngineUnavailableError, match="no float16 conversions"):
        kernels.softmax_cross_entropy(logits, labels, engine="numba")


def test_subclasses_that_are_plain_memory_are_taken(tmp_path):
    logits, labels = example((3, 7))
    mapped = np.memmap(tmp_path / "logits", np.float32, "w+", shape=(3, 7))
    mapped[...] = logits
    assert_right(_CPU, kernels.softmax_cross_entropy(mapped, labels), logits, labels)


def test_small_numbers_count_again_afterwards():
    """The compiled loops flush denormal numbers on this thread, and only while they run."""
    kernels.softmax_cross_entropy(*example((3, 7)))
    tiny = np.finfo(np.float32).tiny
    assert (np.full(3, tiny) * np.float32(0.5) > 0).all()


def test_warmup_takes_it():
    assert kernels.warmup("float32", engine="numba", rules=(), softmax=True) is None
    with pytest.raises(TypeError, match="softmax"):
        kernels.warmup(softmax=1)


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path):
    code = """
import numpy as np
from onepass.kernels import softmax_cross_entropy
from onepass.kernels.softmax.cpu.numba_rows import entry
for dtype in ("float16", "float32"):
    softmax_cross_entropy(np.zeros((2, 3), dtype), np.zeros(2, int))
    stats = entry(np.dtype(dtype).char).stats
    print(len(stats.cache_hits), len(stats.cache_misses))
"""
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr
        told.append(re.findall(r"\d \d", done.stdout))
    assert told == [["0 1"] * 2, ["1 0"] * 2]
