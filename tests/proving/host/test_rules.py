"""The C text that CuPy compiles does what the rules say: here g++ compiles it and the CPU runs it.
compiled/test_gate.py has NVRTC compile it."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import kernels
from onepass.kernels.compiling import c_text as ctext
from onepass.kernels.rule import Rule
from onepass.kernels.rules import RULES
from oracles.rules import RULES as ORACLES
from tolerances import DTYPES, GPU_FACTOR, LIMITS, assert_close, signed, wide

from proving import account as proof
from proving.host import elementwise as hostcuda
from proving.host.device import Device, planted, unchanged
from proving.host.elementwise import CASES, EXTRAS, on_host
from proving.host.walk import LAYOUTS, options_of, walk

pytestmark = pytest.mark.hostcuda
on_cpu = pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING)
needs_fma = pytest.mark.skipif(bool(hostcuda.FMA_MISSING), reason=hostcuda.FMA_MISSING)


def one_step(name, extra, arrays, build=None, edit=unchanged):
    """Copies of `arrays` after a step of the host build, or of the engine "array" without one."""
    function, options = options_of(name, extra)
    options |= {"step": 3} if "step" in ORACLES[function].options else {}
    copies = {key: on_host(array) for key, array in arrays.items()}
    if build is None:
        kernel, options = getattr(kernels, function), options | {"engine": "array"}
    else:
        kernel = Device(build, edit=edit).kernel(function)
    ORACLES[function].call(kernel, copies, options)
    return copies


def random_arrays(name, dtype, size=4099):
    rng = np.random.default_rng(7)
    function, options = CASES[name]
    names = ORACLES[function].arrays_with(options)
    arrays = {key: signed(rng, size, 0.25, 4.0, dtype) for key in names}
    return {key: a if key in ("param", "grad") else np.abs(a) for key, a in arrays.items()}


def assert_same_bits(actual, expected):
    """Every bit alike, the sign of zeros too; only a NaN may be another NaN."""
    for key, want in expected.items():
        got, bits = actual[key], f"u{want.itemsize}"
        alike = (got.view(bits) == want.view(bits)) | (np.isnan(got) & np.isnan(want))
        assert alike.all(), f"{key}: {got[~alike][:3]} instead of {want[~alike][:3]}"


# --- the text that ships, under the public functions ----------------------------------------------
def test_every_rule_has_a_case():
    assert set(CASES) == set(RULES)


@on_cpu
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_text_follows_the_oracle_over_20_steps(name, dtype, extra):
    walk(name, dtype, extra)


@on_cpu
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_text_follows_the_oracle_wherever_arrays_lie(name, dtype, layout):
    """By threads that each take several packs, the last of which is not full."""
    walk(name, dtype, steps=2, layout=layout, size=1021, threads=16, blocks=2)


@on_cpu
@needs_fma
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_text_with_fused_multiply_adds_stays_within_the_gpu_tolerance(name, dtype):
    walk(name, dtype, build="fma")


@on_cpu
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_text_equals_array_expressions_bit_for_bit(name, dtype, extra):
    """The order of operations is the same throughout; inf and NaN go where NumPy sends them."""
    arrays = random_arrays(name, dtype)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -1.0], dtype)
    for k, array in enumerate(arrays.values()):
        array[10 * k : 10 * k + 6] = special
    assert_same_bits(one_step(name, extra, arrays, "exact"), one_step(name, extra, arrays))


@on_cpu
@needs_fma
@pytest.mark.parametrize("name", CASES)
def test_the_fma_build_does_contract(name):
    """Else the test above would say nothing about a GPU."""
    arrays = random_arrays(name, "float32")
    with pytest.raises(AssertionError, match="instead of"):
        assert_same_bits(one_step(name, "all", arrays, "fma"), one_step(name, "all", arrays))


@on_cpu
@pytest.mark.skipif(not hostcuda.X86, reason="flushing is switched on by an x86 instruction")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_flushing_subnormals_moves_nothing_by_more_than_the_smallest_normal(name):
    """CuPy compiles everything with -ftz=true and offers no way to change it."""
    function, options = options_of(name, "plain")
    info, oracle = np.finfo("float32"), ORACLES[function]
    arrays = {key: np.zeros(7, "float32") for key in oracle.arrays_with(options)}
    arrays["param"] += 1
    small = [0.0, info.smallest_subnormal, info.tiny / 2, -info.tiny / 2, 1e-20, 1e18, np.inf]
    if oracle.jumps:  # whose steps have one size, but for 0
        small[1:4] = [0.0] * 3
    arrays["grad"] = np.array(small, "float32")
    options |= {"step": 3} if "step" in oracle.options else {}
    expected = oracle.call(oracle.oracle, {k: wide(a) for k, a in arrays.items()}, options)
    flushed = one_step(name, "plain", arrays, "ftz")
    limit = LIMITS["float32"][0] * GPU_FACTOR
    for key, want in zip(oracle.written_with(options), expected, strict=True):
        quotient = key in ("param", "momentum_buffer")
        scale = max(float(quotient), float(info.tiny / info.eps) / limit)
        assert_close(np.asarray(flushed[key]), want, "float32", scale=scale, limit=limit, what=key)
    if name == "momentum":
        assert flushed["velocity"][2] == 0.0 != expected[1][2], "nothing was flushed"


@on_cpu
def test_the_host_broadcasts_inputs_as_cupy_does():
    kernel = hostcuda.ElementwiseKernel(
        "float32 x, float64 v, float32 a", "float32 y", "y = (x - v) * a;", "broadcast"
    )
    x, v = np.arange(24, dtype="float32").reshape(4, 3, 2).T, np.arange(3.0).reshape(3, 1)
    y = np.empty((2, 3, 4), "float32")
    kernel(x, v, 2.0, y)
    np.testing.assert_array_equal(y, (x - v) * 2)
    with pytest.raises(AssertionError, match=r"y has shape \(3, 4\), not \(2, 3, 4\)"):
        kernel(x, v, 2.0, y[0])


def test_an_argument_that_cupy_would_refuse_or_convert_is_named():
    kernel = hostcuda.ElementwiseKernel("float32 x, float64 v", "float32 y", "y = x * v;", "typed")
    x, v, y = np.ones(3, "float32"), np.ones(3), np.ones(3, "float32")
    read_only = np.broadcast_to(y, 3)
    for args, words in [
        ((x, x, y), "v is float32 but declared float64"),
        ((x, v, v), "y is float64 but declared float32"),
        ((x, v), "typed takes ['x', 'v', 'y'] but is given 2"),
        ((x, v, 1.0), "y is written but is a scalar"),
        ((x, v, y[:1]), "y has shape (1,), not (3,)"),
        ((x, v, read_only), "y is read-only"),
        ((np.zeros(3, "u1, f4")["f1"], v, y), "x is not aligned"),
    ]:
        with pytest.raises(AssertionError) as caught:
            kernel(*args)
        assert words in str(caught.value)
    assert (y == 1).all()


# --- the comparison sees mistakes -----------------------------------------------------------------
PLANTED = {
    "m and v swapped": ("adam", "float32", "m = m_;\nv = v_;", "m = v_;\nv = m_;"),
    "eps dropped": ("adam", "float32", "(sqrt(v_) + eps)", "sqrt(v_)"),
    "eps moved into the root": ("rmsprop", "float16", "sqrt((square_avg_ + inside)) + outside",
                                "sqrt(((square_avg_ + inside) + outside))"),
    "float for double": ("sgd", "float64", "C p_ = p;", "float p_ = p;"),
    "first state for the largest": ("amsgrad", "float32", "sqrt(v_max_)", "sqrt(v_)"),
    "decay turned": ("momentum", "float32", "+ (decay", "- (decay"),
    "decoupled decay lost": ("adam", "float64", "(keep * p_)", "p_"),
    "state not stored": ("adagrad", "float32", "sum_sq = sum_sq_;", ""),
    "no look-ahead": ("nesterov", "float32", "rate * ((momentum * velocity_) + (gain * g_))",
                      "rate * velocity_"),
}  # fmt: skip


@on_cpu
@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake):
    name, dtype, right, wrong = PLANTED[mistake]
    extra = "decoupled" if "decoupled" in mistake else "all"
    with pytest.raises(AssertionError, match="eps of float"):
        walk(name, dtype, extra, edit=planted("", right, wrong), steps=3)


@on_cpu
def test_only_the_text_that_ships_is_proven(monkeypatch):
    noted = []
    monkeypatch.setattr(proof, "note", lambda *each: noted.append(each))
    walk("sgd", "float32", edit=lambda name, text: f"{text}\n", steps=1)
    assert noted == []
    walk("sgd", "float32", steps=1)
    assert noted == [(proof.HOST, "cupy", "sgd", "float32")]


@on_cpu
def test_a_maximum_that_loses_nan_is_caught():
    arrays = random_arrays("amsgrad", "float32")
    arrays["v_max"][3] = np.nan
    with pytest.raises(AssertionError, match=r"instead of \[nan\]"):
        assert_same_bits(
            one_step(
                "amsgrad",
                "all",
                arrays,
                "exact",
                planted("", "onepass_maximum", "__builtin_fmaxf"),
            ),
            one_step("amsgrad", "all", arrays),
        )


# --- what can't be translated ---------------------------------------------------------------------
def literal(p, g, m):
    p = p - 2 * g
    return p, m


def power(p, g, m):
    m = m + g**g
    return p, m


def branch(p, g, m):
    if g:
        p = m
    return p, m


def unknown_function(p, g, m):
    m = np.exp(m)
    return p, m


def order(p, g, m):
    return m, p


def augmented(p, g, m):
    p -= g
    return p, m


def unpacked(p, g, m):
    p, m = m, p
    return p, m


def nothing_returned(p, g, m):
    p = p - g


STATEMENTS = {literal: "`2`", power: "`g ** g`", branch: "`if g:", unknown_function: "`np.exp(m)`",
              order: "`return (m, p)`", augmented: "`p -= g`", unpacked: "`p, m = (m, p)`",
              nothing_returned: "`p = p - g`"}  # fmt: skip


@pytest.mark.parametrize("update", STATEMENTS, ids=lambda update: update.__name__)
def test_an_unsupported_statement_is_named(update):
    with pytest.raises(TypeError) as caught:
        ctext.operation(Rule("planted", update, ("m",)), "float")
    assert STATEMENTS[update] in str(caught.value)
    assert f"{__name__}.{update.__name__}" in str(caught.value)
