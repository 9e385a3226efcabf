"""The CUDA C text of activations does what the formulas say: g++ compiles it and the CPU runs the
engine's own launches, under the sanitizers too."""

from __future__ import annotations

import numpy as np
import pytest
from cases.activation import KINDS, WAYS, check, check_backward, check_forward, make
from onepass import kernels
from onepass.kernels.activation.gpu.cuda_text import source
from onepass.kernels.compiling import c_text as ctext
from onepass.kernels.compiling.gpu.cuda_columns import KERNEL
from oracles import activation as oracle
from tolerances import DTYPES, assert_close

from proving import account as proof
from proving.host import elementwise as hostcuda
from proving.host.activation import Device
from proving.host.raw import ORDERS, compile_all
from proving.host.sanitized import missing
from proving.host.threaded import BLOCK, GRID

pytestmark = pytest.mark.hostcuda
on_cpu = pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING)
BUILDS = [
    "exact",
    pytest.param(
        "fma", marks=pytest.mark.skipif(bool(hostcuda.FMA_MISSING), reason=hostcuda.FMA_MISSING)
    ),
    pytest.param("ftz", marks=pytest.mark.skipif(not hostcuda.X86, reason="it is x86's")),
]
SHAPES = [(1,), (1023,), (7, 10), (33, 255), (3, 2, 5), (9, 64)]  # rows of whole packs, or not
SANITIZED = [(5, 48), (5, 51)]  # each of the threads takes several, one of them one more
THREADS = {"threads": 8, "blocks": 3}


# --- the text that ships, under the public functions ----------------------------------------------
@on_cpu
@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_text_follows_the_oracle(kind, dtype, build):
    device = Device(build)
    for shape in SHAPES if kind in WAYS else SHAPES[2:4]:
        for biased in (True, False):
            for out in (False, True) if kind in WAYS else (biased,):
                device.prove(check, make(shape, kind, dtype, biased=biased), out=out)
    names = (f"activation_{kind}", f"activation_{kind}_gradient", KERNEL)
    assert set(device.launched) == {(name, dtype) for name in names}


VIEWS = {
    "columns": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "F": np.asfortranarray,
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@on_cpu
@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("view", VIEWS)
def test_any_layout(view, kind):
    """CuPy works out the place of each element, and stretches the bias."""
    case, device = make((6, 9), kind), Device()
    x = VIEWS[view](case.x).view(hostcuda.OnHost)
    options = {"bias": device.asarray(case.bias), **case.options}
    y = device.kernel("activation_forward")(x, kind, **options)
    want = oracle.forward(np.asarray(x) + case.bias, kind, **case.options)
    assert_close(np.asarray(y), want, "float32", flushed=True)
    told, back = (x, device.kernel("activation_backward")) if kind == "softplus" else (y, None)
    if back is not None:
        dz = back(device.asarray(case.dy), told, kind, **options)
        want = oracle.backward(case.dy, np.asarray(x) + case.bias, kind, **case.options)
        assert_close(np.asarray(dz), want, "float32", flushed=True)
    check_backward(device, case, device.asarray(y))


@on_cpu
@pytest.mark.parametrize("kind", KINDS)
def test_special_numbers_are_those_of_array_expressions(kind):
    x = np.array([0.0, -0.0, 1e-30, -1e-30, 90, -90, np.inf, -np.inf, np.nan], "float32")
    run = Device().kernel("activation_forward")
    want = kernels.activation_forward(x, kind, engine="array")
    tiny = float(np.finfo("float32").tiny)
    np.testing.assert_allclose(run(hostcuda.on_host(x), kind), want, rtol=1e-6, atol=10 * tiny)
    y, dy = (a.ravel() for a in np.meshgrid(want, np.array([1, np.nan, np.inf], "float32")))
    if kind in oracle.FROM_Z:
        y, dy = (a.ravel() for a in np.meshgrid(x, np.array([1, np.nan, np.inf], "float32")))
        dy[(dy == np.inf) & (np.abs(y) > 80)] = 1  # times what one engine flushes to 0
    run = Device().kernel("activation_backward")
    want = kernels.activation_backward(dy, y, kind, engine="array")
    found = run(*map(hostcuda.on_host, (dy, y)), kind)
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e3 * tiny)


@on_cpu
@pytest.mark.parametrize("sanitizer", ["asan", "tsan"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_text_is_clean_under_the_sanitizers(kind, dtype, sanitizer):
    if reason := missing(sanitizer):
        pytest.skip(reason)
    cases = [make(shape, kind, dtype, biased=biased) for biased in (True, False)
             for shape in (SANITIZED if kind in WAYS else SANITIZED[1:])]  # fmt: skip
    dry = Device("", **THREADS)
    for case in cases:
        dry.kernel("activation_forward")(
            *(dry.asarray(case.x), kind),
            bias=None if case.bias is None else dry.asarray(case.bias),
        )
    for case in cases if kind in oracle.FROM_Z else cases[:2]:
        sums = dry.asarray(np.empty(case.dy.shape[-1], dtype))
        given = map(dry.asarray, (case.dy, case.dy))
        bias = None if case.bias is None else dry.asarray(case.bias)
        dry.kernel("activation_backward")(*given, kind, bias=bias, bias_grad=sums)
    compile_all(sanitizer, (each.kernel for each in dry.calls))
    device = Device(sanitizer, **THREADS)
    for case in cases:
        device.prove(check_forward, case)
    for case in cases if kind in oracle.FROM_Z else cases[:2]:
        device.prove(check_backward, case, y=check_forward(Device(), case))
    assert device.launched == dry.launched


@on_cpu
@pytest.mark.parametrize("sanitizer", ["asan", "tsan"])
def test_so_is_that_for_arrays_with_gaps(sanitizer):
    """Of which every activation has the same loop around the same text."""
    if reason := missing(sanitizer):
        pytest.skip(reason)
    case, device = make((5, 51), "sigmoid"), Device(sanitizer)
    x, dy = (VIEWS["columns"](each).view(hostcuda.OnHost) for each in (case.x, case.dy))
    y = device.kernel("activation_forward")(x, "sigmoid", bias=device.asarray(case.bias))
    assert_close(np.asarray(y), oracle.forward(case.x + case.bias, "sigmoid", 0), "float32")
    device.kernel("activation_backward")(dy, y, "sigmoid")
    assert device.calls == []
    assert 5 * 51 % (GRID * BLOCK) % BLOCK


@on_cpu
def test_results_do_not_depend_on_the_order_of_threads():
    if reason := missing("asan"):
        pytest.skip(reason)
    case, found = make(SANITIZED[0], "tanh"), set()
    for order in ORDERS:
        y = check_forward(Device("asan", order=order, **THREADS), case)
        found.add(np.asarray(y).tobytes())
    assert len(found) == 1


# --- planted mistakes -----------------------------------------------------------------------------
PLANTED = {
    "bias left out": ("relu", "(x) + C(bias)", "(x)"),
    "bias taken twice": ("tanh", "C(bias)", "2 * C(bias)"),
    "slope for one": ("leaky_relu", "first_option, C(0.0)", "C(1), C(0.0)"),
    "one for zero": ("relu", "C(0.0)", "C(1)"),
    "two for one": ("sigmoid", "C(1.0)", "C(2)"),
    "x and y swapped": ("sigmoid", "C(dy), C(y)", "C(y), C(dy)"),
    "no bias in a gradient": ("silu", "C(y) + C(bias)", "C(y)"),
    "options swapped": (
        "softplus",
        "first_option, second_option, C(",
        "second_option, first_option, C(",
    ),
    "not stored": ("tanh", "dz = value;", ""),
}


@on_cpu
@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake):
    kind, right, wrong = PLANTED[mistake]
    texts = [source(kind, "float32", True), source(f"{kind}_gradient", "float32")]
    texts += [source(f"{kind}_gradient", "float32", True)] if kind in oracle.FROM_Z else []
    assert any(right in text for text in texts)
    with pytest.raises(AssertionError, match="eps of float32"):
        check(Device(edit=lambda _, text: text.replace(right, wrong)), make((7, 12), kind))


@on_cpu
def test_only_the_text_that_ships_is_proven(monkeypatch):
    noted = []
    monkeypatch.setattr(proof, "note", lambda *each: noted.append(each))
    case = make((3, 4), "relu", "float16")
    Device(edit=lambda name, text: f"{text}\n").prove(check, case)
    assert noted == []
    Device().prove(check, case)
    names = ("activation_relu", "activation_relu_gradient", KERNEL)
    assert set(noted) == {(proof.HOST, "cupy", name, "float16") for name in names}


# --- translation ----------------------------------------------------------------------------------
def chosen(z, zero):
    y = where(z >= zero, exp(-z), tanh(zero))  # noqa: F821
    return (y,)


def test_a_choice_becomes_an_expression():
    text = ctext.device_function(chosen, "float")
    assert "y = (z >= zero ? exp((-z)) : tanh(zero));" in text


def equal(z, zero):
    y = where(z == zero, z, zero)  # noqa: F821
    return (y,)


def chained(z, zero):
    y = where(zero < z < zero, z, zero)  # noqa: F821
    return (y,)


def not_compared(z, zero):
    y = where(z, z, zero)  # noqa: F821
    return (y,)


@pytest.mark.parametrize("function", [equal, chained, not_compared])
def test_other_choices_are_refused(function):
    with pytest.raises(TypeError, match=r"`where\(.*can't be translated to C; a formula holds"):
        ctext.device_function(function, "float")
