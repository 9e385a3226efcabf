"""Batch normalization's arrays: written over an input, overlapping, odd in memory."""

from __future__ import annotations

import numpy as np
import pytest
from cases.batch_norm import (
    LAYOUTS,
    ORDER,
    SHAPE,
    arrays,
    in_memory_order,
    make,
    needs,
    passes,
    refused,
)
from onepass import kernels
from oracles import batch_norm as batchnorm
from tolerances import DTYPES


# --- out and reuse --------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", ["N C", "N C H W", "N H W C", "N C H W over N H W C"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_out_may_be_x_dy_or_saved_x(engine, dtype, layout):
    needs(engine, dtype)
    shape, axis, order = LAYOUTS[layout]
    case = make(shape, axis, dtype=dtype, activation="relu", order=order)
    forward, backward = passes(engine)
    inference = engine.kernel("batch_norm_inference")
    rest = [engine.asarray(a) for a in case[2:4]]
    running = [engine.asarray(a) for a in case[4:6]]
    x, dy = engine.asarray(case.x), engine.asarray(case.dy)
    y, saved = forward(x, *rest, **case.options)
    grads = [engine.to_numpy(grad) for grad in backward(dy, saved)]
    plain = engine.to_numpy(inference(x, *rest, *running, **case.options))

    def same(got, want):
        np.testing.assert_array_equal(engine.to_numpy(got), want)

    other = engine.asarray(np.full_like(case.x, 7.5))
    assert forward(x, *rest, out=other, **case.options)[0] is other
    same(other, engine.to_numpy(y))
    assert inference(x, *rest, *running, out=other, **case.options) is other
    same(other, plain)
    assert backward(dy, saved, out=other)[0] is other
    same(other, grads[0])

    over_dy = engine.asarray(case.dy)
    got = backward(over_dy, saved, out=over_dy)
    assert got[0] is over_dy
    over_x, second = engine.asarray(case.x), engine.asarray(case.x)
    assert inference(over_x, *rest, *running, out=over_x, **case.options) is over_x
    same(over_x, plain)
    out, gone = forward(second, *rest, out=second, **case.options)
    assert out is second
    same(second, engine.to_numpy(y))
    with engine.refuses(ValueError, {"dy": dy, "x": second}, "x"):
        backward(dy, gone)
    over_saved = backward(dy, saved, out=saved.x)
    assert over_saved[0] is x
    for results in (got, over_saved):
        for actual, want in zip(results, grads, strict=True):
            same(actual, want)
    with engine.refuses(ValueError, {"dy": dy, "x": x}, "x"):
        backward(dy, saved)


def test_out_may_be_another_view_of_x(engine):
    """Then x is gone all the same, and so is a saved.x that a view of it has overwritten."""
    case = make(SHAPE)
    forward, backward = passes(engine)
    want = engine.to_numpy(forward(engine.asarray(case.x), None, None)[0])
    x, dy = engine.asarray(case.x), engine.asarray(case.dy)
    _, saved = forward(x, None, None, out=x[...])
    np.testing.assert_array_equal(engine.to_numpy(x), want)
    with engine.refuses(ValueError, {"dy": dy, "x": x}, "x"):
        backward(dy, saved)
    _, saved = forward(x, None, None)
    backward(dy, saved, out=x[...])
    with engine.refuses(ValueError, {"dy": dy, "x": x}, "x"):
        backward(dy, saved)


# --- overlaps -------------------------------------------------------------------------------------


def overlap(buffer, kind):
    """x and out in one buffer of 121 numbers."""
    x = buffer[:60].reshape(SHAPE)
    return x, {
        "shifted": buffer[1:61].reshape(SHAPE),
        "half": buffer[30:90].reshape(SHAPE),
        "reversed": x[::-1],
        "transposed": buffer[:60].reshape(5, 3, 4).transpose(2, 1, 0),
        "every other": buffer[:120:2].reshape(SHAPE),
    }[kind]


@pytest.mark.parametrize("kind", ["shifted", "half", "reversed", "transposed", "every other"])
def test_out_overlapping_x_or_dy_is_refused(engine, kind):
    buffer = engine.asarray(np.linspace(-1, 1, 121, dtype="float32"))
    x, out = overlap(buffer, kind)
    for function in ("forward", "inference"):
        refused(engine, function, arrays(engine, x=x, out=out), ValueError, "out", "x")
    forward, backward = passes(engine)
    _, saved = forward(x, None, None)
    other = engine.asarray(np.ones(SHAPE, "float32"))
    with engine.refuses(ValueError, {"out": out, "dy": other}, "out", "saved.x"):
        backward(other, saved, out=out)
    _, saved = forward(other, None, None)
    with engine.refuses(ValueError, {"out": out, "x": other}, "out", "dy"):
        backward(x, saved, out=out)
    assert backward(x, saved)[0].shape == SHAPE, "a refused call has used saved up"


@pytest.mark.parametrize("one", ORDER[1:])
def test_written_arrays_overlapping_a_parameter_are_refused(engine, one):
    buffer = engine.asarray(np.ones(60, "float32"))
    shared = {one: buffer[2:5], "out": buffer.reshape(SHAPE)}
    refused(engine, "forward", arrays(engine, **shared), ValueError, "out", one)
    refused(engine, "inference", arrays(engine, **shared), ValueError, "out", one)
    for other in {"running_mean", "x"} - {one}:
        views = {one: buffer[2:5], other: buffer.reshape(SHAPE) if other == "x" else buffer[1:4]}
        if one.startswith("running") or other.startswith("running"):
            refused(engine, "forward", arrays(engine, **views), ValueError, one, other)


def test_out_whose_elements_share_memory_is_refused(engine):
    module = np if engine.device == "cpu" else pytest.importorskip("cupy")
    out = module.lib.stride_tricks.as_strided(
        engine.asarray(np.ones(5, "float32")), SHAPE, (0, 0, 4)
    )
    for function in ("forward", "inference"):
        refused(engine, function, arrays(engine, out=out), ValueError, "out")


# --- layouts and memory that are taken ------------------------------------------------------------
def unaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    raw[...] = array
    return raw


class Sub(np.ndarray):
    """A subclass that changes nothing."""


MEMORY = {
    "gaps": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "rows left out": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "Fortran": np.asfortranarray,
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "unaligned": unaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "subclass": lambda a: a.copy().view(Sub),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("name", [*ORDER, "out", "dy"])
@pytest.mark.parametrize("memory", MEMORY)
def test_any_memory_works_or_is_refused_before_a_write(engine, memory, name):
    """On "array" and "auto" everything works but what can't be: writing the read-only."""
    if engine.device == "cuda":
        pytest.skip("CuPy arrays are made from NumPy ones in C order")
    written = name in ("out", "running_mean", "running_var")
    for chosen in (engine.name, "auto"):
        case = make(SHAPE, activation="relu")
        given_ = {key: getattr(case, key).copy() for key in (*ORDER, "dy")}
        given_["out"] = np.full(SHAPE, 7.5, "float32")
        given_[name] = MEMORY[memory](given_[name])
        want = batchnorm.forward(given_["x"], given_["gamma"], given_["beta"], **case.options)
        grads = batchnorm.backward(
            given_["dy"], given_["x"], given_["gamma"], given_["beta"], **case.options
        )
        news = batchnorm.running_statistics(
            given_["running_mean"], given_["running_var"], want, case.values
        )
        before, refusal = {key: array.tobytes() for key, array in given_.items()}, None
        try:
            y, saved = kernels.batch_norm_forward(
                *(given_[key] for key in ORDER), out=given_["out"], engine=chosen, **case.options
            )
            for key, new in zip(ORDER[3:], news, strict=True):
                np.testing.assert_allclose(given_[key], new, rtol=1e-5, atol=1e-5)
            assert not (written and memory in ("read-only", "broadcast")), "it was written"
            before = {key: array.tobytes() for key, array in given_.items()}
            results = kernels.batch_norm_backward(given_["dy"], saved, engine=chosen)
        except (TypeError, ValueError) as error:
            refusal = error
        if refusal:
            impossible = written and memory in ("read-only", "broadcast")
            two_dtypes = memory == "byte-swapped" and name in ("x", "out", "dy")
            named = chosen == engine.name != "array"
            assert impossible or two_dtypes or named, refusal
            assert {key: array.tobytes() for key, array in given_.items()} == before
            continue
        assert y is given_["out"]
        for actual, expected in zip((y, *results), (want.y, *grads), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_views_with_gaps_leave_the_gaps_alone(engine, activation):
    case = make((4, 3, 6, 5), activation=activation)
    want = batchnorm.forward(case.x, case.gamma, case.beta, **case.options).y
    grads = batchnorm.backward(case.dy, case.x, case.gamma, case.beta, **case.options)
    for chosen in (engine.name, "auto"):
        buffers = [engine.asarray(np.full((4, 6, 6, 5), 7.5, "float32")) for _ in range(4)]
        x, dy, y, dx = (buffer[:, ::2] for buffer in buffers)
        x[...], dy[...] = engine.asarray(case.x), engine.asarray(case.dy)
        rest = [engine.asarray(a) for a in case[2:4]]
        try:
            saved = kernels.batch_norm_forward(x, *rest, out=y, engine=chosen, **case.options)[1]
            kernels.batch_norm_backward(dy, saved, out=dx, engine=chosen)
        except ValueError:
            if chosen in ("array", "auto"):
                raise
            assert (engine.to_numpy(y) == 7.5).all()
            continue
        for got, expected in [(y, want), (dx, grads.dx)]:
            np.testing.assert_allclose(engine.to_numpy(got), expected, rtol=1e-5, atol=1e-5)
        for buffer in buffers:
            assert (engine.to_numpy(buffer)[:, 1::2] == 7.5).all(), "a gap was written"


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0)])
@pytest.mark.parametrize("other", ["dy", "y", "dx"])
def test_one_array_of_another_layout_than_x(engine, other, order):
    case, empty = make(SHAPE, activation="relu"), np.full(SHAPE, 7.5, "float32")
    want = batchnorm.forward(case.x, case.gamma, case.beta, **case.options).y
    grads = batchnorm.backward(case.dy, case.x, case.gamma, case.beta, **case.options)
    for chosen in (engine.name, "auto"):
        host = {"dy": case.dy, "y": empty, "dx": empty}
        host[other] = in_memory_order(host[other], order)
        dy, y, dx = map(engine.asarray, host.values())
        given_ = [engine.asarray(a) for a in (case.x, *case[2:4])]
        try:
            _, saved = kernels.batch_norm_forward(*given_, out=y, engine=chosen, **case.options)
            np.testing.assert_allclose(engine.to_numpy(y), want, rtol=1e-5, atol=1e-5)
            kernels.batch_norm_backward(dy, saved, out=dx, engine=chosen)
            np.testing.assert_allclose(engine.to_numpy(dx), grads.dx, rtol=1e-5, atol=1e-5)
        except ValueError:
            if chosen in ("array", "auto"):
                raise
            assert (engine.to_numpy(y if other == "y" else dx) == 7.5).all()
