"""What follows from the formulas of layer, RMS and group norm, on every engine."""

from __future__ import annotations

import numpy as np
import pytest
from cases.norms import OPERATIONS, Cpu, assert_right, make, run
from hypothesis import given
from hypothesis import strategies as st
from oracles import norms as oracle
from tolerances import LIMITS, assert_close

pytestmark = pytest.mark.slow  # each layout and variant compiles

SHAPES = {
    "layer_norm": st.sampled_from([((4, 6), {}), ((2, 3, 4), {"normalized_shape": (3, 4)})]),
    "rms_norm": st.sampled_from([((4, 6), {}), ((2, 3, 4), {"normalized_shape": (3, 4)})]),
    "group_norm": st.sampled_from([((2, 6), {"groups": 2}), ((2, 4, 3), {"groups": 4})]),
}
SEED = st.integers(0, 2**32)
MANY, ONCE = LIMITS["float32"][1], LIMITS["float32"][0]


def bare(operation, shape, cut, x, eps):
    """y of x alone."""
    case = make(operation, shape, vectors="", eps=eps, **cut)
    return case._replace(x=x)


@pytest.mark.parametrize("operation", OPERATIONS)
@given(data=st.data(), seed=SEED, shift=st.integers(-50, 50))
def test_shift_and_scale_of_x_leave_y_alone(engine, operation, data, seed, shift):
    """On a grid of eighths a shift is exact; a scale of 4 goes with an eps of 16 times as much.
    RMS norm takes no mean off."""
    shape, cut = data.draw(SHAPES[operation])
    x = (np.random.default_rng(seed).integers(-64, 64, shape) / 8).astype("float32")
    y = run(engine, bare(operation, shape, cut, x, 1e-3))[0]
    changed = [(4 * x, 16e-3, y), (-x, 1e-3, -y)]
    if operation != "rms_norm":
        changed.append((x + np.float32(shift), 1e-3, y))
    for other, eps, want in changed:
        found = run(engine, bare(operation, shape, cut, other, eps))[0]
        assert_close(found, want, "float32", scale=16.0, limit=MANY * engine.factor, what="y")


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
@given(data=st.data(), seed=st.integers(0, 999))
def test_dx_is_orthogonal_to_what_y_does_not_see(operation, data, seed):
    """To ones, as a shift changes nothing but in RMS norm, and to xhat, as a scale does not.

    Exactly with eps = 0, which here is far below the last digit of the variance.
    """
    shape, cut = data.draw(SHAPES[operation])
    case = make(operation, shape, dtype="float64", eps=1e-20, seed=seed, **cut)
    size = case.norm.rows(oracle.terms(operation, case.dy, **case.arrays, **case.options).dx)
    xhat = case.norm.rows(oracle.forward(operation, case.x, **case.options).z)
    for name in ("array", "numba"):
        dx = case.norm.rows(run(Cpu(name), case)[1])
        totals = [(dx * xhat).sum(axis=1)]
        if operation != "rms_norm":
            totals.append(dx.sum(axis=1))
        scale = np.float64((size * np.maximum(1, np.abs(xhat))).sum(axis=1))
        for total in totals:
            assert_close(np.float64(total), np.zeros(len(dx)), "float64", scale=scale)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_y_has_mean_0_and_mean_square_1(engine, operation):
    shape, cut = ((4, 6, 50), {"groups": 2}) if operation == "group_norm" else ((8, 1000), {})
    case = make(operation, shape, vectors="", eps=1e-12, **cut)
    y = case.norm.rows(run(engine, case)[0])
    np.testing.assert_allclose((y**2).mean(axis=1), 1, rtol=1e-5)
    if operation != "rms_norm":
        np.testing.assert_allclose(y.mean(axis=1), 0, atol=1e-6)


@pytest.mark.slow
@given(seed=SEED, activation=st.sampled_from([None, "relu", "silu", "gelu"]))
def test_one_group_is_layer_norm_of_a_sample(engine, seed, activation):
    """Without gamma and beta, which have other shapes."""
    options = {"activation": activation, "vectors": "", "seed": seed}
    group = make("group_norm", (3, 4, 5), groups=1, **options)
    layer = make("layer_norm", (3, 4, 5), normalized_shape=(4, 5), **options)
    np.testing.assert_array_equal(group.x, layer.x)
    y, dx, *_ = run(engine, group)
    assert_right(layer, [y, dx], engine.factor)


@pytest.mark.slow
@given(seed=SEED)
def test_layer_norm_is_rms_norm_of_what_has_mean_0(engine, seed):
    half = np.random.default_rng(seed).integers(-64, 64, (4, 8)) / 8
    x = np.concatenate([half, -half], axis=1).astype("float32")
    layer = make("layer_norm", x.shape, vectors="gamma")._replace(x=x)
    rms = layer._replace(operation="rms_norm")
    for each in (layer, rms):
        assert_right(each, run(engine, each), engine.factor)
    np.testing.assert_allclose(run(engine, layer)[0], run(engine, rms)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operation", OPERATIONS)
@given(data=st.data(), seed=SEED)
def test_a_row_does_not_depend_on_the_others(engine, operation, data, seed):
    """Samples in another order give the same, in that order."""
    shape, cut = data.draw(SHAPES[operation])
    case = make(operation, shape, seed=seed, **cut)
    y, dx, *sums = run(engine, case)
    order = np.random.default_rng(seed).permutation(shape[0])
    other = run(engine, case._replace(x=case.x[order], dy=case.dy[order]))
    np.testing.assert_array_equal(other[0], y[order])
    np.testing.assert_array_equal(other[1], dx[order])
    size = oracle.terms(operation, case.dy, **case.arrays, **case.options)[2:]
    for one, two, scale in zip(sums, other[2:], size, strict=False):
        if one is not None:
            assert_close(one, two, "float32", scale=scale, limit=ONCE * engine.factor)


@pytest.mark.parametrize("operation", OPERATIONS)
@given(data=st.data(), seed=SEED, size=st.sampled_from([-2.0, 0.5, 0.0]))
def test_gradients_are_linear_in_dy(engine, operation, data, seed, size):
    """Exactly, in powers of two."""
    shape, cut = data.draw(SHAPES[operation])
    case = make(operation, shape, seed=seed, activation="gelu", residual=True, **cut)
    one = run(engine, case)[1:]
    two = run(engine, case._replace(dy=case.dy * np.float32(size)))[1:]
    for a, b in zip(one, two, strict=True):
        if a is not None:
            np.testing.assert_array_equal(a * np.float32(size), b)
