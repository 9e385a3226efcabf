"""Dropout on every engine, held to one oracle: bits, values, layouts, what is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import onepass
import pytest
from cases.dropout import BIG, SEEDS, assert_right, example, halves
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from onepass import kernels
from onepass.kernels.inverted_dropout import array as array_engine
from onepass.kernels.inverted_dropout import philox as formula
from onepass.kernels.inverted_dropout.cpu import numba_cpu, numba_loops
from onepass.kernels.simd import half
from onepass.kernels.simd.loops import OPTIONS
from oracles import dropout as oracle
from oracles.dropout import KNOWN
from tolerances import GRADIENT_RATIO

FLOATS = ("float16", "float32", "float64")
SHAPES = [(), (1,), (3,), (7, 13), (2, 3, 5), (1025,)]
LAYOUTS = ("C", "F", "every other column", "reversed rows", "read-only", "big-endian", "shifted")


def laid_out(array, layout):
    """The same values in another layout."""
    if layout == "every other column":
        room = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        room[..., ::2] = array
        return room[..., ::2]
    if layout == "reversed rows":
        return array[::-1].copy()[::-1]
    if layout == "big-endian":
        return array.astype(array.dtype.newbyteorder(">"))
    if layout == "shifted":  # by one byte
        room = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype)
        room = room.reshape(array.shape)
        room[...] = array
        return room
    result = array.copy("F" if layout == "F" else "C")
    result.flags.writeable = layout != "read-only"
    return result


# --- bits -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_the_oracle_gives_the_known_answers(counter, key, answer):
    assert oracle.philox4x32_10(counter, key) == answer


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_the_formula_gives_the_known_answers(counter, key, answer):
    """As the array engine calls it; with garbage in the upper halves too, which must not count."""
    for garbage in (0, 0xABCD << 32):
        state = [np.full(3, word | garbage, np.uint64) for word in counter]
        state += [np.uint64(word) for word in key]
        for _ in range(formula.ROUNDS):
            state = formula.philox_round(*state)
        for word, want in zip(state[:4], answer, strict=True):
            assert (word & formula.LOW).tolist() == [want] * 3


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_the_compiled_loop_gives_the_known_answers(counter, key, answer):
    found = np.zeros(4, np.uint32)
    (call, draw), (seed,) = halves(counter), halves(key)
    generate = njit(**OPTIONS)(numba_loops.generate.py_func)
    generate(found, np.uint64(call), np.uint64(seed), np.uint64(draw))
    assert tuple(found.tolist()) == answer


def test_a_wrong_constant_is_noticed(monkeypatch):
    monkeypatch.setattr(formula, "M1", np.uint64(0xCD9E8D55))
    with pytest.raises(AssertionError):
        test_the_formula_gives_the_known_answers(*KNOWN[0])


@pytest.mark.parametrize("mask", SEEDS, ids=str)
def test_every_bit_of_an_element_counts(engine, mask):
    """An element is kept from the first probability on that its bits are below of, not before."""
    run, x = engine.kernel("dropout"), engine.asarray(np.ones(8, "float32"))
    for i, number in enumerate(oracle.bits(8, **mask)):
        for keep_prob, kept in ((number / 2**32, 0), ((number + 1) / 2**32, 1)):
            y = engine.to_numpy(run(x, keep_prob, **mask))
            assert (y[i] != 0) == kept, (i, number)


def test_the_first_elements_have_the_known_answer(engine):
    run, x = engine.kernel("dropout"), engine.asarray(np.ones(4, "float64"))
    for i, number in enumerate(KNOWN[0][2]):
        below, above = (run(x, n / 2**32, seed=0, draw=0) for n in (number, number + 1))
        assert (engine.to_numpy(below)[i], engine.to_numpy(above)[i] != 0) == (0, True)


# --- values ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_oracle(engine, shape, dtype):
    x = example(shape, dtype)
    given_x = engine.asarray(x)
    for keep_prob, mask in zip((0.5, 0.8, 0.1), SEEDS, strict=True):
        y = engine.kernel("dropout")(given_x, keep_prob, **mask)
        assert y is not given_x
        assert_right(engine.to_numpy(y), x, keep_prob, **mask)
    assert np.array_equal(engine.to_numpy(given_x), x), "x was written"


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_mask_and_the_values_are_those_of_the_array_engine_to_the_bit(engine, dtype):
    x = example((37, 41), dtype)
    y = engine.to_numpy(engine.kernel("dropout")(engine.asarray(x), 0.7, **BIG))
    want = kernels.dropout(x, 0.7, **BIG, engine="array")
    assert np.array_equal(y, want)
    assert np.array_equal(y != 0, kernels.dropout(np.ones(x.shape), 0.7, **BIG) != 0)


@given(
    shape=st.sampled_from([shape for shape in SHAPES if shape]),
    dtype=st.sampled_from(FLOATS),
    layout=st.sampled_from(LAYOUTS),
    out_layout=st.sampled_from((None, "same", *LAYOUTS)),
    keep_prob=st.floats(2.0**-32, 1.0),
    mask=st.fixed_dictionaries(dict.fromkeys(("seed", "draw"), st.integers(0, 2**64 - 1))),
    engine_name=st.sampled_from(("auto", "array", "numba")),
)
def test_any_layout_and_dtype(shape, dtype, layout, out_layout, keep_prob, mask, engine_name):
    values = example(shape, dtype)
    x, out = laid_out(values, layout), None
    if out_layout == "same" and x.flags.writeable:
        out = x
    elif out_layout not in (None, "same", "read-only"):
        out = laid_out(np.full_like(values, 7), out_layout).astype(x.dtype, copy=False)
    with np.errstate(over="ignore"):
        y = kernels.dropout(x, keep_prob, **mask, out=out, engine=engine_name)
        assert out is None or y is out
        assert y.dtype == x.dtype
        assert_right(y, values.astype(x.dtype), keep_prob, **mask)
    assert out is x or np.array_equal(x, values)


@pytest.mark.parametrize("layout", ["F", "every other column", "reversed rows"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_elements_are_counted_in_c_order_whatever_the_layout(engine, dtype, layout):
    x = example((9, 11), dtype)
    want = kernels.dropout(x, 0.6, **BIG, engine="array")
    given_x = engine.asarray(np.zeros((9, 22), dtype))[:, ::2]
    if layout == "F":
        given_x = engine.asarray(np.zeros((11, 9), dtype)).T
    if layout == "reversed rows":
        given_x = engine.asarray(np.zeros((9, 11), dtype))[::-1]
    given_x[...] = engine.asarray(x)
    run = engine.kernel("dropout")
    assert np.array_equal(engine.to_numpy(run(given_x, 0.6, **BIG)), want)
    assert run(given_x, 0.6, **BIG, out=given_x) is given_x
    assert np.array_equal(engine.to_numpy(given_x), want)


@pytest.mark.parametrize("size", [3, 9000])
@pytest.mark.parametrize("dtype", FLOATS)
def test_y_may_replace_x(engine, dtype, size):
    x, run = example(size, dtype), engine.kernel("dropout")
    apart = engine.to_numpy(run(engine.asarray(x), 0.8, **BIG))
    for view in (lambda a: a, lambda a: a[:]):
        given_x = engine.asarray(x)
        out = view(given_x)
        assert run(given_x, 0.8, **BIG, out=out) is out
        assert np.array_equal(engine.to_numpy(given_x), apart)


def test_what_is_kept_is_scaled_so_that_the_mean_over_all_masks_is_x(engine):
    x = example(5, "float64")
    run, given_x = engine.kernel("dropout"), engine.asarray(x)
    draws, keep_prob = 2000, 0.7
    total = sum(engine.to_numpy(run(given_x, keep_prob, seed=1, draw=d)) for d in range(draws))
    sigma = np.abs(x) * np.sqrt((1 - keep_prob) / keep_prob / draws)
    assert (np.abs(total / draws - x) < 5 * sigma).all()


def test_keep_prob_1_copies_to_the_bit(engine):
    x = np.array([0.1, -0.0, np.inf, np.nan, 1e-40, 3.0], "float32")
    given_x = engine.asarray(x)
    y = engine.kernel("dropout")(given_x, 1, **BIG)
    assert y is not given_x
    assert engine.to_numpy(y).tobytes() == x.tobytes()
    assert engine.kernel("dropout")(given_x, 1.0, **BIG, out=given_x) is given_x
    assert engine.to_numpy(given_x).tobytes() == x.tobytes()


def test_the_least_probability_and_almost_one(engine):
    run, x = engine.kernel("dropout"), engine.asarray(np.ones(1000, "float64"))
    assert not engine.to_numpy(run(x, 2.0**-32, seed=1, draw=2)).any()
    y = engine.to_numpy(run(x, np.nextafter(1.0, 0.0), seed=1, draw=2))
    assert (y == 1 / np.nextafter(1.0, 0.0)).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_inf_and_nan_and_what_overflows(engine, dtype):
    x = np.full(64, np.finfo(dtype).max, dtype)
    x[:24] = np.repeat([np.nan, np.inf, -np.inf], 8)
    y = engine.to_numpy(engine.kernel("dropout")(engine.asarray(x), 0.5, **BIG))
    kept = oracle.mask(64, 0.5, **BIG) == 1
    assert 0 < kept[:24].sum() < 24
    assert np.isnan(y[:24][~kept[:24]]).all(), "NaN and inf times 0"
    assert np.isnan(y[:8]).all()
    assert np.isposinf(y[8:16][kept[8:16]]).all()
    assert np.isneginf(y[16:24][kept[16:24]]).all()
    assert (y[24:] == np.where(kept[24:], np.inf, 0)).all()


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
@pytest.mark.parametrize("keep_prob", [0.5, 1.0])
def test_empty_arrays_are_a_no_op(engine, shape, keep_prob):
    x = engine.asarray(np.zeros(shape, "float32"))
    assert engine.kernel("dropout")(x, keep_prob, seed=0, draw=0).shape == shape
    assert engine.kernel("dropout")(x, keep_prob, seed=0, draw=0, out=x) is x


def test_backward_is_the_same_call_by_two_sided_differences(engine):
    """J = sum of w y, in float64, with the draw fixed."""
    run, step = engine.kernel("dropout"), 1e-6
    x, w = example((4, 5), "float64", 1), example((4, 5), "float64", 2)
    gradient = engine.to_numpy(run(engine.asarray(w), 0.6, seed=1, draw=4))
    approx = np.empty_like(x)
    for place in np.ndindex(x.shape):
        sides = []
        for sign in (step, -step):
            moved = x.copy()
            moved[place] += sign
            y = engine.to_numpy(run(engine.asarray(moved), 0.6, seed=1, draw=4))
            sides.append(float((w * y).sum()))
        approx[place] = (sides[0] - sides[1]) / (2 * step)
    ratio = np.linalg.norm(approx - gradient) / (np.linalg.norm(approx) + np.linalg.norm(gradient))
    assert 0 < ratio < GRADIENT_RATIO


# --- large arrays ---------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", FLOATS)
def test_threads_share_a_large_array(dtype, monkeypatch):
    x = example(40_007, dtype)
    alone = kernels.dropout(x, 0.5, **BIG, engine="numba")
    monkeypatch.setattr(numba_cpu, "SHARED", 1000)
    given_x = x.copy()
    assert np.array_equal(kernels.dropout(x, 0.5, **BIG), alone)
    assert kernels.dropout(given_x, 0.5, **BIG, out=given_x) is given_x
    assert np.array_equal(given_x, alone)


FAR = [2**31 - 5, 2**32 - 3, 2**34 - 6, 2**34 + 1]


@pytest.mark.parametrize("first", FAR)
def test_a_compiled_loop_that_begins_far_from_the_first_element(first):
    """Before and after the place where an index, or the counter's first word, is full."""
    x = np.ones(21, "float64")
    y, (seed, draw, *numbers) = np.empty_like(x), numba_cpu.numbers(mask_of(0.5, **BIG))
    assert numba_cpu.compiled("d")(x, y, first, seed, draw, *numbers)
    want = [number < 2**31 for number in oracle.bits(x.size, **BIG, first=first)]
    assert (y != 0).tolist() == want


def mask_of(keep_prob, seed, draw):
    from onepass.kernels.inverted_dropout.arguments import mask_of

    return mask_of(keep_prob, seed, draw)


@pytest.mark.parametrize("first", FAR[:2])
def test_a_thread_whose_share_lies_beyond_2_to_31(first):
    """In an array of which the system provides only what is touched."""
    import ctypes
    import mmap

    no_reserve, low = 0x4000, first // 1024 * 1024
    try:
        room = mmap.mmap(-1, 2 * (low + 4096), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
    except (OSError, ValueError) as error:
        pytest.skip(f"no address space for {low:,} elements: {error}")
    x = np.frombuffer(room, np.float16)
    x[low : low + 2048] = 1
    job = np.array([x.ctypes.data, x.ctypes.data, *numba_cpu.numbers(mask_of(0.5, **BIG))[:3], 0])
    job.view(np.float64)[-1] = 2.0
    share = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    share(numba_cpu.shared("e").address)(low, low + 2048, job.ctypes.data)
    want = [2.0 * (number < 2**31) for number in oracle.bits(2048, **BIG, first=low)]
    assert x[low : low + 2048].tolist() == want
    assert not x[low + 2048 : low + 4096].any()


# --- what is refused ------------------------------------------------------------------------------
def arguments(**changed):
    return {
        "x": np.ones((2, 3), np.float32),
        "keep_prob": 0.5,
        "seed": 1,
        "draw": 2,
        "out": np.zeros((2, 3), np.float32),
    } | changed


_shared = np.ones(12, np.float32)
_fixed = np.zeros((2, 3), np.float32)
_fixed.flags.writeable = False
REFUSED = {
    "x no array": ({"x": [[0.0]]}, TypeError, ["x is a list"]),
    "x of integers": ({"x": np.zeros((2, 3), int)}, TypeError, ["x has dtype int64", "astype"]),
    "keep_prob 0": ({"keep_prob": 0}, ValueError, ["keep_prob is 0", "(0, 1]"]),
    "keep_prob negative": ({"keep_prob": -0.5}, ValueError, ["keep_prob is -0.5"]),
    "keep_prob above 1": ({"keep_prob": 1.5}, ValueError, ["keep_prob is 1.5"]),
    "keep_prob nan": ({"keep_prob": np.nan}, ValueError, ["keep_prob is nan"]),
    "keep_prob too small": ({"keep_prob": 1e-10}, ValueError, ["keep_prob is 1e-10", "2^-32"]),
    "keep_prob no number": ({"keep_prob": "half"}, TypeError, ["keep_prob is 'half'"]),
    "keep_prob a flag": ({"keep_prob": True}, TypeError, ["keep_prob is True"]),
    "seed negative": ({"seed": -1}, ValueError, ["seed is -1", "0 to 2^64 - 1"]),
    "seed too large": ({"seed": 1 << 64}, ValueError, ["seed is 18446744073709551616"]),
    "seed no integer": ({"seed": 1.0}, TypeError, ["seed is 1.0"]),
    "seed a flag": ({"seed": True}, TypeError, ["seed is True"]),
    "draw negative": ({"draw": -1}, ValueError, ["draw is -1"]),
    "draw no integer": ({"draw": None}, TypeError, ["draw is None"]),
    "out no array": ({"out": [[0.0]]}, TypeError, ["out is a list"]),
    "out of another shape": ({"out": np.zeros((3, 2), "f4")}, ValueError, ["out", "(3, 2)"]),
    "out of another dtype": ({"out": np.zeros((2, 3))}, TypeError, ["out", "float64"]),
    "out of another byte order": (
        {"out": np.zeros((2, 3), np.dtype("f4").newbyteorder("S"))}, TypeError, ["out has dtype"],
    ),
    "out read-only": ({"out": _fixed}, ValueError, ["out is read-only"]),
    "x itself, read-only": ({"x": _fixed, "out": _fixed}, ValueError, ["out is read-only"]),
    "out broadcast": (
        {"out": np.lib.stride_tricks.as_strided(np.zeros(3, "f4"), (2, 3), (0, 4))},
        ValueError,
        ["out overlaps itself"],
    ),
    "out shifted by one": (
        {"x": _shared[:6].reshape(2, 3), "out": _shared[1:7].reshape(2, 3)},
        ValueError,
        ["out and x overlap"],
    ),
    "out in another order": (
        {"x": _shared[:9].reshape(3, 3), "out": _shared[:9].reshape(3, 3).T},
        ValueError,
        ["out and x overlap"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("engine_name", ["auto", "array", "numba"])
@pytest.mark.parametrize("case", REFUSED)
def test_refused_and_nothing_written(case, engine_name):
    changed, error, words = REFUSED[case]
    given = arguments(**changed)
    kept = {name: np.array(value) for name, value in given.items()}
    x, keep_prob = given.pop("x"), given.pop("keep_prob")
    with pytest.raises(error) as caught:
        kernels.dropout(x, keep_prob, **given, engine=engine_name)
    for word in words:
        assert word in str(caught.value)
    for name, value in {"x": x, **given}.items():
        assert np.array_equal(value, kept[name])


def test_every_engine_refuses_before_it_writes(engine):
    x, out = engine.asarray(np.ones((2, 3), "float32")), engine.asarray(np.ones((3, 2), "float32"))
    arrays = {"x": x, "out": out}
    with engine.refuses(ValueError, arrays, "out", "(3, 2)"):
        engine.kernel("dropout")(x, 0.5, seed=0, draw=0, out=out)
    with engine.refuses(ValueError, arrays, "keep_prob", "(0, 1]"):
        engine.kernel("dropout")(x, 0.0, seed=0, draw=0, out=x)


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True)
def test_mixed_backends(reference):
    arrays = {"x": reference.asarray(np.ones(5, "float32")), "out": np.ones(5, "float32")}
    with reference.refuses(onepass.MixedBackendsError, arrays, "out", "on cpu", "on cuda:0"):
        kernels.dropout(arrays["x"], 0.5, seed=0, draw=0, out=arrays["out"])


@pytest.mark.parametrize(("name", "error"), [("opencl", ValueError), (3, TypeError)])
def test_unknown_engines_are_refused(name, error):
    with pytest.raises(error, match="engine is"):
        kernels.dropout(np.ones(3), 0.5, seed=0, draw=0, engine=name)


def test_numbers_of_other_types_are_taken():
    want = kernels.dropout(np.ones(9), 0.5, seed=3, draw=4)
    mask = {"seed": np.uint64(3), "draw": np.int8(4)}
    assert np.array_equal(kernels.dropout(np.ones(9), np.float32(0.5), **mask), want)


def test_a_processor_without_float16_conversions(monkeypatch):
    monkeypatch.setattr(half, "conversions_missing", lambda: True)
    x = example((3, 7), "float16")
    assert_right(kernels.dropout(x, 0.5, seed=1, draw=2), x, 0.5, seed=1, draw=2)
    with pytest.raises(onepass.EngineUnavailableError, match="no float16 conversions"):
        kernels.dropout(x, 0.5, seed=1, draw=2, engine="numba")


def test_subclasses_that_are_plain_memory_are_taken(tmp_path):
    x = example((3, 7))
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(3, 7))
    mapped[...] = x
    assert_right(kernels.dropout(mapped, 0.5, seed=1, draw=2), x, 0.5, seed=1, draw=2)


def test_small_numbers_count_again_afterwards():
    """The compiled loops flush denormal numbers on this thread, and only while they run."""
    kernels.dropout(example(9), 0.5, seed=0, draw=0)
    tiny = np.finfo(np.float32).tiny
    assert (np.full(3, tiny) * np.float32(0.5) > 0).all()


def test_the_array_engine_has_the_bits_of_every_element():
    assert array_engine.random_bits(np, 22, **BIG).tolist() == oracle.bits(22, **BIG)


def test_warmup_takes_it():
    assert kernels.warmup("float32", engine="numba", rules=(), dropout=True) is None
    with pytest.raises(TypeError, match="dropout"):
        kernels.warmup(dropout=1)


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path):
    code = """
import numpy as np
from onepass.kernels import dropout
from onepass.kernels.inverted_dropout.cpu import numba_cpu
numba_cpu.SHARED = 100
for dtype in ("float16", "float32"):
    for size in (3, 300):
        dropout(np.zeros(size, dtype), 0.5, seed=0, draw=0)
    stats = numba_cpu.compiled(np.dtype(dtype).char).stats
    print(len(stats.cache_hits), len(stats.cache_misses))
    print(numba_cpu.shared(np.dtype(dtype).char).cache_hits)
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
        told.append(re.findall(r"^[\d ]+$", done.stdout, re.MULTILINE))
    assert told == [["0 1", "0"] * 2, ["1 0", "1"] * 2]
