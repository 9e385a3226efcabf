"""Batch normalization on every engine, layout and dtype against its oracle."""

from __future__ import annotations

import numpy as np
import pytest
from cases.batch_norm import LAYOUTS, check, infer, make, passes
from oracles import batch_norm as batchnorm
from tolerances import DTYPES


# --- values ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_follows_the_oracle(engine, layout, dtype, activation):
    shape, axis, order = LAYOUTS[layout]
    check(engine, make(shape, axis, dtype=dtype, activation=activation, order=order))


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_inference_follows_the_oracle(engine, layout, dtype, activation):
    shape, axis, order = LAYOUTS[layout]
    infer(engine, make(shape, axis, dtype=dtype, activation=activation, order=order))


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("without", [("gamma",), ("beta",), ("gamma", "beta")])
def test_without_gamma_or_beta_or_running_statistics(engine, without, axis):
    case = make((6, 5, 7), axis, activation="relu", seed=1)
    bare = case._replace(**dict.fromkeys((*without, "running_mean", "running_var")))
    z = batchnorm.forward(bare.x, bare.gamma, bare.beta, **bare.options).z
    bare.dy[np.abs(z) < 1e-3] = 0
    check(engine, bare)
    infer(engine, bare._replace(running_mean=case.running_mean, running_var=case.running_var))


@pytest.mark.slow  # compiled for float16
@pytest.mark.parametrize(("shape", "axis"), [((9, 4, 5), 1), ((9, 5, 4), -1)])
def test_float32_parameters_of_float16_arrays(engine, shape, axis):
    case = make(shape, axis, dtype="float16", parameters="float32", activation="relu")
    check(engine, case)
    infer(engine, case)


INNER = [(2,), (7,), (7, 7), (14, 14), (1023,), (56, 56)]
SHAPES = [
    *(((2, 5, *inner), 1) for inner in INNER),
    *(((17, channels), 1) for channels in (1, 3, 31, 100)),
    *(((2, channels, 7, 7), 1) for channels in (1, 3, 31, 33, 100)),
    *(((2, 9, channels), -1) for channels in (1, 3, 5, 7, 31, 33, 100)),
    ((2, 3), 1),
    ((2, 1), 1),
    ((1, 3, 2), 1),
    ((5, 3, 1, 1), 1),
    ((131_073, 3), 1),  # more rows than two launches of 65,535 blocks
    ((65_537, 2, 3), 1),
    ((3, 131_073, 2), 1),
    ((3, 2, 601, 499), 1),  # a channel does not fit a core's caches
    ((3, 401, 301, 8), -1),
]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_awkward_shapes(engine, shape, axis):
    check(engine, make(shape, axis, activation="relu", seed=sum(shape)))


@pytest.mark.parametrize("shape", [(64, 3, 32, 32), (64, 200), (131_073, 2), (4, 3, 33, 1, 7)])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_larger_shapes_in_other_dtypes(engine, shape, dtype):
    check(engine, make(shape, dtype=dtype, seed=1))


def test_output_has_the_layout_of_x(engine):
    for shape, axis, order in LAYOUTS.values():
        case = make(shape, axis, order=order)
        x, dy = engine.asarray(case.x), engine.asarray(case.dy)
        forward, backward = passes(engine)
        y, saved = forward(x, None, None, channel_axis=axis)
        assert y.strides == x.strides == backward(dy, saved)[0].strides
        assert saved.x is x
        assert (saved.channel_axis, saved.activation) == (axis % len(shape), None)
        assert saved.gamma is None
        assert saved.beta is None
        assert saved.eps == 1e-5


# --- few values -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 0), 1), ((0, 0), 1), ((4, 0, 3), 1), ((2, 3, 0), -1)]
)
def test_no_channels_give_empty_results(engine, shape, axis):
    x, dy = (engine.asarray(np.zeros(shape, "float32")) for _ in range(2))
    four = [engine.asarray(np.zeros(0, "float32")) for _ in range(4)]
    forward, backward = passes(engine)
    y, saved = forward(x, *four, channel_axis=axis)
    results = (y, *backward(dy, saved), saved.mean)
    assert [a.shape for a in results] == [shape, shape, (0,), (0,), (0,)]
    assert engine.kernel("batch_norm_inference")(x, *four, channel_axis=axis).shape == shape


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 5), (2, 3, 0)])
def test_inference_of_no_values(engine, shape):
    x, ones = engine.asarray(np.zeros(shape, "float32")), engine.asarray(np.ones(3, "float32"))
    y = engine.kernel("batch_norm_inference")(x, ones, ones, ones, ones)
    assert (y.shape, str(y.dtype)) == (shape, "float32")


def test_inference_takes_one_value_of_a_channel(engine):
    ones = [engine.asarray(np.ones(3, "float32")) for _ in range(5)]
    y = engine.kernel("batch_norm_inference")(ones[0].reshape(1, 3), *ones[1:])
    np.testing.assert_array_equal(engine.to_numpy(y), np.ones((1, 3), "float32"))


def test_warmup_compiles_all_that_a_later_call_needs():
    from onepass import kernels
    from onepass.kernels.batch_norm.cpu import numba_cpu

    numba_cpu.compiled.cache_clear()
    numba_cpu.task.cache_clear()
    kernels.warmup("float32", engine="numba", rules=(), batch_norm=True)
    compiled = numba_cpu.compiled.cache_info().misses
    x, ones = np.eye(4, dtype="float32"), np.ones(4, "float32")
    for activation in (None, "relu"):
        _, saved = kernels.batch_norm_forward(x, ones, ones, activation=activation)
        kernels.batch_norm_backward(x, saved)
        kernels.batch_norm_inference(x, ones, ones, ones, ones, activation=activation)
    assert numba_cpu.compiled.cache_info().misses == compiled == 3
