"""Activations on every engine, held to one oracle: values, layouts, special numbers."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import onepass
import pytest
from cases.activation import (
    KINDS,
    OPTIONS,
    WAYS,
    Case,
    Cpu,
    check,
    check_backward,
    check_forward,
    make,
)
from hypothesis import given
from hypothesis import strategies as st
from onepass import kernels
from onepass.kernels.activation.cpu.numba_compile import ready
from onepass.kernels.simd import half
from oracles import activation as oracle
from tolerances import DTYPES, LIMITS, assert_close

SHAPES = [
    (), (0,), (1,), (1023,), (5, 0), (0, 5), (1, 1), (7, 10), (128, 10), (33, 255), (5, 256),
    (70, 257), (3, 1025), (2, 2100), (129, 3, 7), (2, 3, 1, 5),
]  # fmt: skip
FEW = [(1023,), (7, 10), (33, 255), (2, 2100), (129, 3, 7)]
VIEWS = {
    "F": np.asfortranarray,
    "every other column": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "reversed rows": lambda a: a[::-1].copy()[::-1],
    "a column of a wider array": lambda a: np.stack([a, a], axis=-1)[..., 0],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kind", "shape"),
    [(kind, shape) for kind in KINDS for shape in (SHAPES if kind in WAYS else FEW)],
    ids=str,
)
def test_follows_the_oracle(engine, shape, kind, dtype):
    for biased in (True, False) if shape else (False,):
        case = make(shape, kind, dtype, biased=biased)
        check(engine, case)
        check(engine, case, out=True)


@pytest.mark.slow
@given(
    shape=st.lists(st.integers(0, 40), max_size=4).map(tuple),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from(DTYPES),
    biased=st.booleans(),
    out=st.booleans(),
    spread=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4]),
    name=st.sampled_from(["auto", "array", "numba"]),
    seed=st.integers(0, 99),
)
def test_any_shape(shape, kind, dtype, biased, out, spread, name, seed):
    case = make(shape, kind, dtype, biased=biased and bool(shape), spread=spread, seed=seed)
    check(Cpu(name), case, out)


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("name", ["auto", "array"])
@pytest.mark.parametrize("view", VIEWS)
def test_any_layout(view, name, kind):
    engine = Cpu(name, VIEWS[view])
    case = make((6, 9), kind)._replace(bias=None)
    case = case._replace(x=engine.asarray(case.x))
    y = check_forward(engine, case)
    check_backward(engine, case._replace(dy=engine.asarray(case.dy)), y, summed=False)


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("order", ["C", "F", "channels last", "gaps"])
@pytest.mark.parametrize("name", ["auto", "array"])
def test_a_bias_before_a_gradient_in_any_layout(name, order, summed):
    """Of what is told from x: where channels are not the fastest in memory the bias is repeated."""
    case, run = make((3, 4, 5), "softplus"), kernels.activation_backward
    view = {
        "C": np.array,
        "F": np.asfortranarray,
        "channels last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 1)).transpose(0, 2, 1),
        "gaps": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    }[order]
    sums = np.full(5, np.nan, "float32") if summed else None
    options = {"bias": view(case.bias) if order == "gaps" else case.bias, "bias_grad": sums}
    dz = run(view(case.dy), view(case.x), "softplus", engine=name, **options, **case.options)
    want = oracle.backward(case.dy, case.z, "softplus", **case.options)
    assert_close(dz, want, "float32", flushed=True)
    if summed:
        size = np.abs(want).sum(axis=(0, 1))
        assert_close(sums, want.sum(axis=(0, 1)), "float32", scale=size)


@pytest.mark.parametrize("name", ["auto", "array", "numba"])
def test_a_gradient_that_is_told_from_y_does_not_look_at_the_bias(name):
    case = make((6, 9), "tanh")
    nothing = np.full(9, np.nan, "float32")
    want = kernels.activation_backward(case.dy, case.x, "tanh", engine=name)
    found = kernels.activation_backward(case.dy, case.x, "tanh", bias=nothing, engine=name)
    assert np.array_equal(found, want)


def test_which_gradients_are_told_from_x():
    found = {kind: (told.from_x, told.options) for kind, told in kernels.ACTIVATIONS.items()}
    assert tuple(found) == KINDS
    for kind, (from_x, options) in found.items():
        assert from_x == (kind in oracle.FROM_Z)
        assert list(options) == [*OPTIONS.get(kind, {})]


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("name", ["auto", "array"])
def test_results_and_vectors_with_gaps(name, kind):
    case = make((6, 9), kind)
    wide = np.full((4, 6, 18), 7, "float32")
    y, dz, vectors = wide[0, :, ::2], wide[1, :, ::2], wide[2, :2, ::2]
    vectors[0] = case.bias
    options = {"bias": vectors[0], "engine": name, **case.options}
    assert kernels.activation_forward(case.x, kind, out=y, **options) is y
    assert_close(y, oracle.forward(case.z, kind, **case.options), "float32", flushed=True)
    sums, from_z = {"bias_grad": vectors[1], "out": dz}, kind in oracle.FROM_Z
    told = case.x if from_z else y
    assert kernels.activation_backward(case.dy, told, kind, **sums, **options) is dz
    want = oracle.backward(case.dy, case.z if from_z else y, kind, **case.options)
    assert_close(dz, want, "float32")
    assert_close(vectors[1], want.sum(axis=0), "float32", scale=np.abs(want).sum(axis=0))
    assert (wide[..., 1::2] == 7).all(), "the gaps were written"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("name", ["auto", "array", "numba"])
def test_the_other_byte_order(name, kind, dtype):
    swapped = np.dtype(dtype).newbyteorder()
    case = make((5, 8), kind, dtype)
    check(Cpu(name, lambda array: array.astype(swapped)), Case(*case))
    mixed = kernels.activation_forward(case.x, kind, bias=case.bias.astype(swapped))
    same = kernels.activation_forward(case.x, kind, bias=case.bias)
    assert np.array_equal(mixed, same)


def test_another_view_of_x_counts_as_x():
    case = make((9, 11), "tanh")
    want = kernels.activation_forward(case.x, "tanh")
    z = case.x.copy()
    assert kernels.activation_forward(z, "tanh", out=z[:]).base is z
    assert np.array_equal(z, want)


def test_memory_that_a_file_holds_is_taken(tmp_path):
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(3, 7))
    mapped[...] = make((3, 7), "relu").x
    for name in ("auto", "numba"):
        y = kernels.activation_forward(mapped, "relu", engine=name)
        assert np.array_equal(y, np.maximum(mapped, 0))


# --- numbers --------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_numbers(engine, dtype):
    if dtype not in engine.dtypes:
        pytest.skip(f"{engine.name} does not take {dtype}")
    x = np.array([-np.inf, -1e4, -0.0, 0.0, 1e4, np.inf, np.nan], dtype)
    want = {
        "linear": x,
        "relu": [0, 0, 0, 0, 1e4, np.inf, np.nan],
        "leaky_relu": [-np.inf, -100, 0, 0, 1e4, np.inf, np.nan],
        "sigmoid": [0, 0, 0.5, 0.5, 1, 1, np.nan],
        "tanh": [-1, -1, 0, 0, 1, 1, np.nan],
        "elu": [-1, -1, 0, 0, 1e4, np.inf, np.nan],
        "softplus": [0, 0, np.log(2), np.log(2), 1e4, np.inf, np.nan],
    }
    twice = [np.nan, 0, 0, 0, 1e4, np.inf, np.nan]
    want |= dict.fromkeys(("gelu", "gelu_tanh", "silu"), twice)
    tiny = float(np.finfo(dtype).tiny)
    for kind in KINDS:
        y = engine.kernel("activation_forward")(engine.asarray(x), kind)
        np.testing.assert_allclose(
            engine.to_numpy(y), want[kind], rtol=float(np.finfo(dtype).eps), atol=tiny, err_msg=kind
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_far_from_zero(engine, dtype):
    """Where exp has no digits, or z^3 none, f' is 0 or 1 all the same."""
    if dtype not in engine.dtypes:
        pytest.skip(f"{engine.name} does not take {dtype}")
    top = float(np.finfo(dtype).max)
    x = np.array([50, 1e3, 1.5e4, top**0.4, top**0.6, top / 2, top, np.inf], dtype)
    ones = engine.asarray(np.ones(x.size, dtype))
    tiny = float(np.finfo(dtype).tiny)
    for kind in oracle.FROM_Z:
        for sign in (1, -1):
            run = engine.kernel("activation_backward")
            dz = engine.to_numpy(run(ones, engine.asarray(sign * x), kind))
            np.testing.assert_allclose(dz, np.full(x.size, sign > 0), atol=1e-19 + tiny)
        dz = engine.to_numpy(run(ones, engine.asarray(np.full(x.size, np.nan, dtype)), kind))
        assert np.isnan(dz).all(), kind


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["elu", "softplus"])
def test_small_and_large_numbers(engine, kind, dtype):
    """Both sides of 0 down to the smallest numbers, and up to the largest."""
    info = np.finfo(dtype)
    small = np.logspace(np.log10(float(info.smallest_subnormal)) + 1, 0, 401)
    large = np.logspace(0, np.log10(float(info.max)) - 1, 401)
    x = np.concatenate([small, -small, large, -large, [info.max, info.min]]).astype(dtype)
    case = make((len(x),), kind, dtype, biased=False)._replace(x=x, dy=np.ones_like(x))
    y = check_forward(engine, case)
    assert np.isfinite(engine.to_numpy(y)).all()
    check_backward(engine, case, y, summed=False)


def test_the_threshold_of_softplus_is_of_beta_x(engine):
    x = np.array([0.5, 0.999, 1.001, 1.5, 3.0], "float32")
    run, options = engine.kernel("activation_forward"), {"beta": 3.0, "threshold": 3.0}
    y = engine.to_numpy(run(engine.asarray(x), "softplus", **options))
    assert (y[:2] > x[:2] + 0.01).all()
    np.testing.assert_array_equal(y[2:], x[2:])
    back, ones = engine.kernel("activation_backward"), engine.asarray(np.ones(5, "float32"))
    dz = engine.to_numpy(back(ones, engine.asarray(x), "softplus", **options))
    assert (dz[:2] < 0.96).all()
    np.testing.assert_array_equal(dz[2:], 1)
    everywhere = engine.to_numpy(run(engine.asarray(x), "softplus", threshold=0))
    np.testing.assert_array_equal(everywhere, x)


def test_relu_stops_every_gradient_at_zero_and_leaky_relu_none(engine):
    y = engine.asarray(np.array([0, 0, 0, -0.0, 2, 2], "float32"))
    dy = engine.asarray(np.array([np.nan, np.inf, 3, 3, np.nan, 3], "float32"))
    run = engine.kernel("activation_backward")
    found = engine.to_numpy(run(dy, y, "relu"))
    np.testing.assert_array_equal(found, [0, 0, 0, 0, np.nan, 3])
    found = engine.to_numpy(run(dy, y, "leaky_relu", slope=0.5))
    np.testing.assert_array_equal(found, [np.nan, np.inf, 1.5, 1.5, np.nan, 3])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "elu", "silu", "softplus"])
def test_digits_are_kept_over_the_whole_range(engine, kind, dtype):
    """Small y too: where tanh is nearly x, and sigmoid nearly exp(x), and so on."""
    far = {"float32": 87.0, "float64": 708.0}[dtype]
    small = np.logspace(-30, 0, 4001)
    x = np.concatenate([np.linspace(-far, far, 20001), small, -small]).astype(dtype)
    y = engine.to_numpy(engine.kernel("activation_forward")(engine.asarray(x), kind))
    limit = LIMITS[dtype][0] * engine.factor
    want, scale = oracle.forward(x, kind), oracle.size(x, kind, dtype)
    scale[np.abs(want) > 1e4 * float(np.finfo(dtype).tiny)] = 0
    assert_close(y, want, dtype, scale=scale, limit=limit, flushed=True)
    if kind in ("sigmoid", "tanh"):
        assert (np.abs(y) <= 1).all()


def test_a_gradient_near_saturation_keeps_its_digits(engine):
    """1 - y^2 from a rounded square would have none left."""
    y = engine.asarray(1 - np.logspace(-7, -1, 500).astype("float32"))
    ones = engine.asarray(np.ones(500, "float32"))
    for kind in ("sigmoid", "tanh"):
        dz = engine.to_numpy(engine.kernel("activation_backward")(ones, y, kind))
        want = oracle.backward(np.ones(500), engine.to_numpy(y), kind)
        assert_close(dz, want, "float32", limit=LIMITS["float32"][0] * engine.factor)


@pytest.mark.parametrize("width", [1, 3, 300])
def test_many_rows_cost_the_sums_no_digits(engine, width):
    """One after another in float32, a million ones and their like lose three digits."""
    rows = 600_001 // width
    dy = np.random.default_rng(0).uniform(0.5, 1.5, (rows, width)).astype("float32")
    sums, y = engine.asarray(np.zeros(width, "float32")), engine.asarray(np.ones_like(dy))
    engine.kernel("activation_backward")(engine.asarray(dy), y, "relu", bias_grad=sums)
    want = dy.sum(axis=0, dtype="float64")
    assert_close(engine.to_numpy(sums), want, "float32", limit=LIMITS["float32"][0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_slope_of_the_function(engine, kind):
    """Two-sided differences in float64, and of every row for the bias."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((5, 7))
    x, bias, dy = x + 0.2 * np.sign(x), rng.uniform(-0.05, 0.05, 7), rng.standard_normal((5, 7))
    options = OPTIONS.get(kind, {})

    def cost(x, bias):
        y = engine.kernel("activation_forward")(
            engine.asarray(x), kind, bias=engine.asarray(bias), **options
        )
        return float((engine.to_numpy(y) * dy).sum())

    y = engine.kernel("activation_forward")(
        engine.asarray(x), kind, bias=engine.asarray(bias), **options
    )
    told = engine.asarray(x) if kind in oracle.FROM_Z else y
    sums = engine.asarray(np.zeros(7))
    dz = engine.kernel("activation_backward")(
        *(engine.asarray(dy), told, kind),
        bias=engine.asarray(bias),
        bias_grad=sums,
        **options,
    )
    for found, place in ((dz, x), (sums, bias)):
        approx, flat = np.empty(place.size), place.reshape(-1)
        for k in range(place.size):
            costs = []
            for step in (1e-6, -2e-6):
                flat[k] += step
                costs.append(cost(x, bias))
            flat[k] += 1e-6
            approx[k] = (costs[0] - costs[1]) / 2e-6
        np.testing.assert_allclose(engine.to_numpy(found).reshape(-1), approx, 1e-7, 1e-8)


# --- engines --------------------------------------------------------------------------------------
def test_float16_is_rounded_once():
    """The sum x + bias is not: at 2048 a float16 has no halves."""
    x, bias = np.full((1, 3), 2048, "float16"), np.array([0.75, 1, 1.25], "float16")
    dy = np.array([[-2047.5, -2047, -2046.5]], "float16")
    for name in ("array", "numba"):
        y = kernels.activation_forward(x, "leaky_relu", bias=bias, slope=1.0, engine=name)
        assert y.tolist() == [[2048, 2048, 2050]]
        small = kernels.activation_forward(dy, "leaky_relu", bias=-dy[0] / 2, engine=name)
        assert (small < 0).all()


def test_a_processor_without_float16_conversions(monkeypatch):
    monkeypatch.setattr(half, "conversions_missing", lambda: True)
    check(Cpu("auto"), make((3, 7), "sigmoid", "float16"))
    with pytest.raises(onepass.EngineUnavailableError, match="no float16 conversions"):
        kernels.activation_forward(np.ones((3, 7), "float16"), "sigmoid", engine="numba")


def test_small_numbers_count_again_afterwards():
    """The compiled loops flush denormal numbers on this thread, and only while they run."""
    check(Cpu("numba"), make((3, 7), "tanh"))
    tiny = np.finfo(np.float32).tiny
    assert (np.full(3, tiny) * np.float32(0.5) > 0).all()


def test_the_bias_of_a_network_without_activation_is_not_touched_by_flushing():
    """ "linear" is exact but for numbers below the smallest normal one."""
    x = np.random.default_rng(0).standard_normal((9, 5), dtype="float32")
    bias = np.arange(5, dtype="float32")
    for name in ("array", "numba"):
        y = kernels.activation_forward(x, "linear", bias=bias, engine=name)
        assert np.array_equal(y, x + bias)


def test_warmup_takes_them():
    ready.cache_clear()
    kernels.warmup("float64", engine="numba", rules=(), activations=("relu", "tanh"))
    made = ready.cache_info().misses
    assert made == 4
    case = make((3, 4), "tanh", "float64")
    check(Cpu("numba"), case)
    assert ready.cache_info().misses == made, "something was left to compile"
    with pytest.raises(ValueError, match="activations is 'mish'; expected one of 'linear'"):
        kernels.warmup(rules=(), activations=["mish"])


KEPT = """
import sys
import numpy as np
from onepass import kernels
from onepass.kernels.activation.cpu.numba_compile import shared
for kind in sys.argv[1:]:
    y, dy = np.array([[0.0, np.inf]], "float32"), np.ones((1, 2), "float32")
    kernels.activation_forward(y, kind, out=y)
    kernels.activation_backward(dy, y, kind, out=dy)
    print(*y[0], *dy[0])
    for name in ("forward", "backward"):
        print(shared(name, kind, "f").cache_hits, file=sys.stderr)
"""


@pytest.mark.slow
def test_code_that_several_processes_kept_works_in_one_which_compiles_nothing(tmp_path):
    """Code is kept with the functions that it calls; they could be taken for each other's.

    Numba numbers functions in each process: the first one compiles more and so counts otherwise.
    """
    told = []
    for each in (["relu"], ["sigmoid"], ["relu", "sigmoid"]):
        done = subprocess.run(
            [sys.executable, "-c", KEPT, *each],
            capture_output=True,
            text=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr
        told.append((done.stdout.split("\n")[:-1], set(done.stderr.split("\n")[:-1])))
    results = ["0.0 inf 0.0 1.0", "0.5 1.0 0.25 0.0"]
    assert told == [*(([each], {"0"}) for each in results), (results, {"1"})]
