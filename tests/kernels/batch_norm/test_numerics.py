"""Batch normalization where digits get lost, over many batches, and properties of its formula."""

from __future__ import annotations

import numpy as np
import pytest
from cases.batch_norm import LAYOUTS, check, in_memory_order, make, needs, passes, train
from hypothesis import given
from hypothesis import strategies as st
from oracles import batch_norm as batchnorm
from tolerances import DTYPES, LIMITS, OFFSET_LIMIT, assert_close

# --- numerics -------------------------------------------------------------------------------------
NUMERIC_LAYOUTS = [((64, 3, 17, 19), 1), ((64, 17, 19, 3), -1), ((20_000, 3), 1)]


@pytest.mark.parametrize(("shape", "axis"), NUMERIC_LAYOUTS)
def test_mean_far_from_zero(engine, shape, axis):
    rng = np.random.default_rng(3)
    x = (1e4 + rng.standard_normal(shape)).astype("float32")
    case = make(shape, axis)._replace(x=x)
    got = train(engine, x, case.gamma, case.beta, dy=case.dy, channel_axis=axis)
    want = batchnorm.forward(x, case.gamma, case.beta, channel_axis=axis)
    assert np.abs(got[0] - want.y).max() < OFFSET_LIMIT * 2  # |gamma| is up to 2
    wanted = batchnorm.backward(case.dy, x, case.gamma, case.beta, channel_axis=axis)
    assert np.abs(got[1] - wanted.dx).max() < OFFSET_LIMIT * 2
    check(engine, case)  # its inv_std in eps: one-pass variance loses all digits here


@pytest.mark.parametrize("constant", [0.0, 1.0, -3.7, 0.1, 12345.678])
@pytest.mark.parametrize(("shape", "axis"), NUMERIC_LAYOUTS)
def test_a_constant_channel_gives_beta(engine, shape, axis, constant):
    case = make(shape, axis)
    x = batchnorm.rows(case.x, axis)
    x[1] = constant
    x = in_memory_order(batchnorm.from_rows(x, shape, axis), None).astype("float32")
    for activation in (None, "relu"):
        (y,) = train(engine, x, case.gamma, case.beta, channel_axis=axis, activation=activation)
        want = batchnorm.activated(np.float64(case.beta[1]), activation)
        actual = batchnorm.rows(y, axis)[1].astype("float32")
        assert_close(actual, np.full(actual.shape, want), "float32", scale=1.0, what="y")


@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize(("shape", "axis"), NUMERIC_LAYOUTS)
def test_one_outlier(engine, shape, axis, place):
    case = make(shape, axis, offset=0.5)
    x = batchnorm.rows(case.x, axis)
    x[:, place] = [1e6, -1e6, 1e6]
    x = np.ascontiguousarray(batchnorm.from_rows(x, shape, axis)).astype("float32")
    single, many = LIMITS["float32"]
    check(engine, case._replace(x=x), many / single)  # each sum rounds small terms to large ones


LARGE = {"float16": 300.0, "float32": 1e15, "float64": 1e90}
SMALL = {"float16": 1e-3, "float32": 1e-15, "float64": 1e-90}
TINY_EPS = {"float16": 1e-7, "float32": 1e-31, "float64": 1e-181}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), [((8, 3, 17), 1), ((8, 17, 3), -1)])
def test_huge_and_tiny_variances(engine, shape, axis, dtype):
    for size, eps in [(LARGE, 1e-5), (SMALL, 1e-5), (SMALL, TINY_EPS[dtype])]:
        case = make(shape, axis, dtype=dtype, offset=0.5)
        x = (case.x * np.float64(size[dtype])).astype(dtype)
        bare = case._replace(x=x, running_mean=None, running_var=None)
        check(engine, bare._replace(options=case.options | {"eps": eps}))


@pytest.mark.slow
def test_sums_beyond_float16_are_inf_and_nothing_else_is(engine):
    """dbeta and running_var don't fit float16; dx, which is made from dbeta, does."""
    case = make((3000, 3), dtype="float16", offset=0.0)
    case.x[...] *= np.float16(1000)
    case.dy[...] = np.abs(case.dy) + np.float16(60)
    check(engine, case)
    y, dx, dgamma, dbeta = train(engine, case.x, case.gamma, case.beta, dy=case.dy)
    assert np.isinf(dbeta).all()
    assert all(np.isfinite(a).all() for a in (y, dx, dgamma))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["N C", "N C H W", "N H W C", "N C H W over W H C N"])
@pytest.mark.parametrize("where", ["x", "dy"])
def test_inf_and_nan_stay_in_their_channel(engine, where, layout, poison):
    shape, axis, order = LAYOUTS[layout]
    case, results = make(shape, axis, activation="relu", order=order), []
    for bad in (0.5, poison):
        arrays = {"x": np.copy(case.x, order="K"), "dy": np.copy(case.dy, order="K")}
        np.moveaxis(arrays[where], axis, 0)[2].flat[-1] = bad
        x, dy = (engine.asarray(in_memory_order(a, order)) for a in arrays.values())
        rest = [engine.asarray(a) for a in case[2:6]]
        forward, backward = passes(engine)
        y, saved = forward(x, *rest, **case.options)
        host = map(engine.to_numpy, (y, *backward(dy, saved), *rest[2:]))
        results.append([np.moveaxis(a, axis if a.ndim > 1 else 0, 0) for a in host])
    others = np.arange(shape[axis]) != 2
    names = ("y", "dx", "dgamma", "dbeta", "running_mean", "running_var")
    for name, clean, dirty in zip(names, *results, strict=True):
        np.testing.assert_array_equal(clean[others], dirty[others], err_msg=name)
    y, dx = results[1][:2]
    if where == "x":
        assert np.isnan(y[2]).all(), "relu made a number of NaN"
        assert np.isnan(dx[2]).all()


# --- running statistics ---------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0])
def test_running_statistics_over_50_batches(engine, dtype, momentum):
    needs(engine, dtype)
    rng = np.random.default_rng(4)
    host = [np.zeros(5, dtype), np.ones(5, dtype)]
    running, path = [engine.asarray(a) for a in host], [np.float64(a) for a in host]
    for _ in range(50):
        x = rng.normal(0.7, 1.5, (6, 5, 4)).astype(dtype)
        passes(engine)[0](engine.asarray(x), None, None, *running, momentum=momentum)
        path = batchnorm.running_statistics(*path, batchnorm.forward(x), 24, momentum)
    for name, got, want in zip(("mean", "var"), running, path, strict=True):
        limit = LIMITS[dtype][1] * engine.factor
        assert_close(engine.to_numpy(got), want, dtype, scale=2.0, limit=limit, what=name)
    if momentum == 0.0:
        np.testing.assert_array_equal(engine.to_numpy(running[1]), host[1])


# --- properties -----------------------------------------------------------------------------------
GRID = st.sampled_from([((6, 3), 1), ((2, 3, 5), 1), ((2, 5, 3), -1), ((4, 2, 2, 3), 0)])


@given(layout=GRID, seed=st.integers(0, 2**32), shift=st.integers(-50, 50))
def test_shift_and_scale_of_x_leave_y_alone(engine, layout, seed, shift):
    """On a grid of eighths a shift is exact; a scale of 4 goes with an eps of 16 times as much."""
    (shape, axis), rng = layout, np.random.default_rng(seed)
    x = (rng.integers(-64, 64, shape) / 8).astype("float32")
    (y,) = train(engine, x, channel_axis=axis, eps=1e-3)
    limit = LIMITS["float32"][1] * engine.factor
    for changed, eps in [(x + np.float32(shift), 1e-3), (4 * x, 16e-3)]:
        (other,) = train(engine, changed, channel_axis=axis, eps=eps)
        assert_close(other, y, "float32", scale=16.0, limit=limit, what="y")


@given(layout=GRID, seed=st.integers(0, 2**32), relu=st.booleans())
def test_dx_sums_to_zero_and_is_orthogonal_to_xhat(engine, layout, seed, relu):
    """Exactly orthogonal with eps = 0; here eps is far below the variance's last digit."""
    needs(engine, "float64")
    shape, axis = layout
    case = make(shape, axis, dtype="float64", activation="relu" if relu else None, seed=seed)
    options = case.options | {"eps": 1e-20}
    dx = batchnorm.rows(train(engine, *case[:1], *case[2:4], dy=case.dy, **options)[1], axis)
    x = batchnorm.forward(case.x, eps=1e-20, channel_axis=axis)
    xhat = batchnorm.rows(x.z, axis)
    terms = batchnorm.terms(case.x, case.dy, case.gamma, case.beta, **options)
    scale = (batchnorm.rows(terms.dx, axis) * np.maximum(1, np.abs(xhat))).sum(axis=1)
    for total in (dx.sum(axis=1), (dx * xhat).sum(axis=1)):
        assert_close(total, np.zeros(shape[axis]), "float64", scale=scale * engine.factor)


def test_deviations_whose_squares_overflow_are_normalized(engine):
    if engine.name in ("cupy", "numba-cuda"):
        pytest.skip("GPU kernels sum squares in float32, which ends at deviations of 1e19")
    x = np.array([[1e20], [-1e20], [3e20], [-3e20]], "float32")
    y, saved = engine.kernel("batch_norm_forward")(engine.asarray(x), None, None)
    wide = x.astype("float64")
    np.testing.assert_allclose(engine.to_numpy(y), wide / wide.std(), rtol=1e-6)
    np.testing.assert_allclose(engine.to_numpy(saved.inv_std), 1 / wide.std(axis=0), rtol=1e-6)
