"""Layer, RMS and group norm where digits get lost, and with inf and NaN."""

from __future__ import annotations

import numpy as np
import pytest
from cases.norms import BFLOAT16, DTYPES, KINDS, OPERATIONS, Cpu, check, make, run
from oracles import norms as oracle
from tolerances import LIMITS, OFFSET_LIMIT, assert_close

CENTERED = ("layer_norm", "group_norm")
ROWS = {
    "layer_norm": [((40, 64), {}), ((9, 1023), {}), ((2, 50_000), {})],
    "rms_norm": [((40, 64), {}), ((9, 1023), {}), ((2, 50_000), {})],
    "group_norm": [((6, 8, 17, 19), {"groups": 4}), ((2, 4, 25_000), {"groups": 2})],
}
CUTS = [(operation, *each) for operation, cuts in ROWS.items() for each in cuts]
CENTERED_CUTS = [each for each in CUTS if each[0] in CENTERED]
GROUPS = {  # shape, cut: each of several rows, of 12 or 300 values
    "layer_norm": [((5, 12), {}), ((5, 300), {})],
    "rms_norm": [((5, 12), {}), ((5, 300), {})],
    "group_norm": [((2, 6, 4), {"groups": 2}), ((3, 4, 150), {"groups": 2})],
}
POISONS = [
    pytest.param(*kind.values, where, poison, id=f"{kind.id}-{where}-{poison}", marks=kind.marks)
    for kind in KINDS
    for where in ("x", "dy", "residual")
    for poison in (np.nan, np.inf, -np.inf)
    if where != "residual" or kind.values[1]
    if poison != -np.inf or kind.values[0] is None  # a norm makes of it what it makes of inf
]
POISONED = [(operation, *each) for operation, cuts in GROUPS.items() for each in cuts]


@pytest.mark.parametrize("residual", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("operation", "shape", "cut"), CENTERED_CUTS)
def test_mean_far_from_zero(engine, operation, shape, cut, residual):
    """1e4 with deviation 1: also where it comes by the residual, whose sum is exact here."""
    case = make(operation, shape, eps=1e-5, residual=residual, **cut)
    far = 1e4 + np.random.default_rng(3).standard_normal(shape)
    case = case._replace(**{"residual" if residual else "x": np.round(far * 1024) / 1024})
    case = case._replace(**{n: None if a is None else a.astype("float32")
                            for n, a in case.arrays.items()})  # fmt: skip
    y, dx, dgamma, _ = run(engine, case)
    want = oracle.forward(operation, **case.arrays, **case.options).y
    assert np.abs(y - want).max() < OFFSET_LIMIT * 2  # |gamma| is up to 2
    wanted = oracle.backward(operation, case.dy, **case.arrays, **case.options)
    assert np.abs(dx - wanted.dx).max() < OFFSET_LIMIT * 2
    size = oracle.terms(operation, case.dy, **case.arrays, **case.options).dbeta
    assert (np.abs(dgamma - wanted.dgamma) < OFFSET_LIMIT * size).all()


@pytest.mark.parametrize("constant", [0.0, 1.0, -3.7, 0.1, 12345.678, 3e38])
@pytest.mark.parametrize(("operation", "shape", "cut"), CENTERED_CUTS)
def test_a_constant_row_gives_beta(engine, operation, shape, cut, constant):
    case = make(operation, shape, eps=1e-5, **cut)
    rows = case.norm.rows(case.x)
    rows[1] = np.float32(constant)
    case = case._replace(x=rows.reshape(shape).astype("float32"))
    y, dx, *_ = run(engine, case)
    beta = case.norm.over_all(case.beta, 0.0)[1]
    found = case.norm.rows(y)[1].astype("float32")
    assert_close(found, beta.astype("float64"), "float32", scale=1.0, what="y")
    assert np.isfinite(dx).all()
    if constant < 1e30:
        check(engine, case)


@pytest.mark.parametrize("constant", [0.0, 0.1, -12345.678])
@pytest.mark.parametrize(("operation", "shape", "cut"), [c for c in CUTS if c[0] == "rms_norm"])
def test_a_constant_row_of_rms_norm_gives_gamma(engine, operation, shape, cut, constant):
    case = make(operation, shape, eps=None, **cut)
    case.x[1] = constant
    check(engine, case)


@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize(("operation", "shape", "cut"), CUTS)
def test_one_outlier(engine, operation, shape, cut, place):
    case = make(operation, shape, offset=0.5, **cut)
    rows = case.norm.rows(case.x)
    rows[:, place] = 1e6
    rows[::2, place] = -1e6
    single, many = LIMITS["float32"]
    case = case._replace(x=rows.reshape(shape).astype("float32"))
    check(engine, case, many / single)  # each sum rounds small terms to large ones


@pytest.mark.parametrize(("dtype", "large"), [("float32", 1e30), ("float64", 1e250)])
@pytest.mark.parametrize("operation", CENTERED)
def test_a_row_whose_squared_deviations_overflow_gives_beta(engine, operation, dtype, large):
    """Also where the square of the mean overflows; no gradient goes through it."""
    case = make(operation, dtype=dtype)
    rows = case.norm.rows(case.x)
    want = run(engine, case)
    rows[1] = np.where(np.arange(rows.shape[1]) < 3, 0, large)
    y, dx, *_ = run(engine, case._replace(x=rows.reshape(case.x.shape).astype(dtype)))
    y, dx, *others = (case.norm.rows(each) for each in (y, dx, *want[:2]))
    np.testing.assert_array_equal(y[1], case.norm.over_all(case.beta, 0.0)[1].astype(dtype))
    assert (dx[1] == 0).all()
    for found, other in zip((y, dx), others, strict=True):
        np.testing.assert_array_equal(*(np.delete(each, 1, axis=0) for each in (found, other)))


LARGE = {"float16": 1000.0, "bfloat16": 1e15, "float32": 1e15, "float64": 1e90}
SMALL = {"float16": 1e-3, "bfloat16": 1e-15, "float32": 1e-15, "float64": 1e-90}
TINY_EPS = {"float16": 1e-7, "bfloat16": 1e-31, "float32": 1e-31, "float64": 1e-181}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_huge_and_tiny_variances(engine, operation, dtype):
    for size, eps in [(LARGE, 1e-5), (SMALL, 1e-5), (SMALL, TINY_EPS[dtype])]:
        case = make(operation, dtype=dtype, offset=0.5, eps=eps)
        check(engine, case._replace(x=(case.x * np.float64(size[dtype])).astype(dtype)))


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_squares_beyond_float16_are_none_beyond_float32(engine, operation):
    """Values near the largest of float16, whose sums and squares it can't hold."""
    shape, cut = ((2, 4, 1000), {"groups": 2}) if operation == "group_norm" else ((3, 2000), {})
    case = make(operation, shape, dtype="float16", **cut)
    case.x[...] = np.where(case.x > 0, 60_000, 30_000)
    check(engine, case)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_denormal_numbers(engine, operation, dtype):
    """They count as themselves or as 0: y is off by no more than the smallest normal number's
    part of it, alone in their row or beside others."""
    tiny = float(np.finfo(dtype).tiny)
    case = make(operation, dtype=dtype, offset=0.0, eps=1e-5)
    rows = case.norm.rows(case.x)
    rows[0] *= tiny / 64
    rows[1, ::2] *= tiny / 64
    case = case._replace(x=rows.reshape(case.x.shape).astype(dtype))
    results = run(engine, case)
    want = oracle.forward(operation, **case.arrays, **case.options).y
    _, root = case.norm.center(case.norm.rows(case.x))
    gain = np.broadcast_to(2 / root, rows.shape).reshape(want.shape)  # |gamma| is up to 2
    size = oracle.terms(operation, case.dy, **case.arrays, **case.options).y
    limit = LIMITS[dtype][0] * float(np.finfo(dtype).eps)
    assert (np.abs(results[0] - want) <= limit * size + 2 * tiny * gain).all()
    for each in results:
        assert each is None or np.isfinite(each).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_tiny_gradients_are_kept(engine, operation, dtype):
    case = make(operation, dtype=dtype)
    sizes = {"float16": 2.0**-8, "float32": 2.0**-100, "float64": 2.0**-900}
    size = sizes.get(dtype, sizes["float32"])
    check(engine, case._replace(dy=(case.dy * np.float64(size)).astype(dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_users_may_let_numpy_raise(engine, operation, dtype):
    """What is too small for a dtype is 0, and what is too large inf, without a word."""
    sizes = {"float16": 2.0**-20, "float32": 2.0**-140, "float64": 2.0**-1060}
    size = sizes.get(dtype, sizes["float32"])
    case = make(operation, dtype=dtype, activation="gelu", residual=True)
    small = case._replace(dy=(case.dy * np.float64(size)).astype(dtype))
    large = case._replace(gamma=case.gamma * np.asarray(200, dtype))
    for each in (small, large, case._replace(x=small.dy, residual=small.dy)):
        with np.errstate(all="raise"):
            results = run(engine, each)
        assert np.isfinite(results[0]).all()


def test_small_numbers_count_again_afterwards():
    """The compiled loops flush denormal numbers on this thread, and only while they run."""
    tiny = np.finfo(np.float32).tiny
    for operation in OPERATIONS:
        run(Cpu("numba"), make(operation))
        assert (np.full(3, tiny) * np.float32(0.5) > 0).all()


@pytest.mark.parametrize("width", [pytest.param(2, marks=pytest.mark.slow), 3, 300])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_many_rows_cost_the_sums_no_digits(engine, operation, width):
    """One after another in float32, a hundred thousand ones and their like lose three digits."""
    count, cut = 300_000 // width, {"groups": 1} if operation == "group_norm" else {}
    case = make(operation, (count, width), **cut)
    case = case._replace(dy=np.abs(case.dy))
    dgamma, *dbeta = run(engine, case)[2:]
    want = oracle.backward(operation, case.dy, **case.arrays, **case.options)
    size = oracle.terms(operation, case.dy, **case.arrays, **case.options)
    assert_close(dgamma, want.dgamma, "float32", scale=size.dgamma, what="dgamma")
    for each in dbeta:
        assert_close(each, want.dbeta, "float32", what="dbeta")


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_sums_beyond_float16_are_inf_and_nothing_else_is(engine, operation):
    shape, cut = ((3000, 4), {}) if operation != "group_norm" else ((3000, 4), {"groups": 2})
    case = make(operation, shape, dtype="float16", **cut)
    case = case._replace(dy=np.abs(case.dy) + np.float16(60))
    y, dx, dgamma, *dbeta = run(engine, case)
    assert all(np.isfinite(each).all() for each in (y, dx))
    assert all(np.isinf(each).all() for each in dbeta)
    assert not np.isnan(dgamma).any()
    check(engine, case)


# --- inf and NaN ----------------------------------------------------------------------------------
@pytest.mark.parametrize(("activation", "residual", "where", "poison"), POISONS)
@pytest.mark.parametrize(("operation", "shape", "cut"), POISONED)
def test_inf_and_nan_stay_in_their_row(
    engine, operation, shape, cut, activation, residual, where, poison
):
    case = make(operation, shape, activation=activation, residual=residual, **cut)
    clean, norm = run(engine, case), case.norm
    for place in (0, 7, -1):
        rows = norm.rows(getattr(case, where))
        rows[2, place] = poison
        dirty = run(engine, case._replace(**{where: rows.reshape(shape).astype("float32")}))
        others = np.arange(len(rows)) != 2
        for name, one, other in zip(("y", "dx"), clean, dirty, strict=False):
            one, other = norm.rows(one), norm.rows(other)
            np.testing.assert_array_equal(one[others], other[others], err_msg=name)
        y, dx = (norm.rows(each)[2] for each in dirty[:2])
        if where != "dy":
            assert np.isnan(y[place]), "a number was made of what is none"
            assert np.isnan(dx).any()
            if operation != "rms_norm" or np.isnan(poison):
                assert np.isnan(y).all()
        elif activation is None:
            assert not np.isfinite(dx).any()


@pytest.mark.parametrize("dtype", [BFLOAT16])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_nan_of_bfloat16_stays_one(engine, operation, dtype):
    """Also one whose few bits rounding could carry into the sign or cut off."""
    for bits in (0x7F81, 0x7FC0, 0x7FFF, 0xFF81, 0xFFC0, 0xFFFF):
        case = make(operation, dtype=dtype)
        case.x.reshape(-1).view(np.uint16)[3] = bits
        case.dy.reshape(-1).view(np.uint16)[3] = bits
        y, dx, *_ = run(engine, case)
        rows = [case.norm.rows(each) for each in (y, dx)]
        for each in rows:
            assert np.isnan(each[0]).all()
            assert np.isfinite(each[1:]).all()


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("operation", ["layer_norm", "rms_norm"])
def test_inf_and_nan_in_dy_stay_in_their_column_of_sums(engine, operation, poison):
    case = make(operation, (40, 33))
    clean = run(engine, case)
    case.dy[21, 7] = poison
    dirty = run(engine, case)
    others = np.arange(33) != 7
    for one, other in zip(clean[2:], dirty[2:], strict=True):
        np.testing.assert_array_equal(one[others], other[others])
        assert not np.isfinite(other[7])


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_inf_and_nan_in_dy_stay_in_their_channel_of_sums(engine, poison):
    case = make("group_norm", (5, 6, 7), groups=3)
    clean = run(engine, case)
    case.dy[3, 4, 6] = poison
    dirty = run(engine, case)
    others = np.arange(6) != 4
    for one, other in zip(clean[2:], dirty[2:], strict=True):
        np.testing.assert_array_equal(one[others], other[others])
        assert not np.isfinite(other[4])


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_relu_stops_every_gradient_where_it_gave_0(engine, operation):
    """Also inf and NaN, as in batch norm."""
    case = make(operation, activation="relu")
    y = oracle.forward(operation, **case.arrays, **case.options).y
    want = run(engine, case)
    assert (want[0] == 0).any()
    case.dy[y == 0] = np.nan
    for one, other in zip(want, run(engine, case), strict=True):
        assert one is None or np.array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["silu", "gelu"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_activations_far_from_zero(engine, operation, activation):
    """Where the exponential of either sign is beyond float32, the result is z or 0."""
    shape, cut = ((4, 6, 5), {"groups": 2}) if operation == "group_norm" else ((8, 15), {})
    case = make(operation, shape, activation=activation, **cut)
    for size in (20.0, 300.0, 1e4):
        check(engine, case._replace(gamma=case.gamma * np.float32(size)))


@pytest.mark.parametrize("shape", [(5, 1), (1, 1), (1,)])
def test_layer_norm_of_one_value_gives_beta_and_stops_the_gradient(engine, shape):
    """Of gamma dy its mean is taken off: nothing is left but what the product lost."""
    y, dx, dgamma, _ = run(engine, case := make("layer_norm", shape, eps=1e-5))
    assert (y == case.beta).all()
    assert (dgamma == 0).all()
    size = oracle.terms("layer_norm", case.dy, **case.arrays, **case.options).dx
    assert_close(dx, np.zeros(shape), "float32", scale=size, limit=engine.factor)
