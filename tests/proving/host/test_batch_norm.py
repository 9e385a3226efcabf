"""The CUDA C text of batch normalization does what the paper says: g++ compiles it and the CPU runs
the engine's own launches, in several orders of threads. test_sanitizers.py sanitizes them."""

from __future__ import annotations

import numpy as np
import pytest
from cases import batch_norm as batchnorm_cases
from cases.batch_norm import LAYOUTS, make, passes, train
from onepass.kernels.batch_norm.gpu.cuda_text import KERNELS
from oracles import batch_norm as batchnorm
from tolerances import DTYPES

from proving import account as proof
from proving.host import elementwise as hostcuda
from proving.host.batch_norm import AS_SHIPPED, Device
from proving.host.device import planted
from proving.host.raw import ORDERS, sanitize
from proving.host.sanitized import missing

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
needs_fma = pytest.mark.skipif(bool(hostcuda.FMA_MISSING), reason=hostcuda.FMA_MISSING)
EXACT, FMA, FTZ = Device(), Device("fma"), Device("ftz")
SHIPPED = Device(threads=256, plan=AS_SHIPPED)
PLANES, NEIGHBOURS = ((9, 3, 49), 1), ((40, 35, 7), 1)  # several parts and blocks of each kind


def check(device, case):
    device.prove(batchnorm_cases.check, case)


def infer(device, case):
    device.prove(batchnorm_cases.infer, case)


# --- the text that ships, under the public functions ----------------------------------------------
@pytest.mark.parametrize(
    ("dtype", "activation"),
    [("float32", None), ("float32", "relu"), ("float16", "relu"), ("float64", None)],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_follows_the_oracle(layout, dtype, activation):
    shape, axis, order = LAYOUTS[layout]
    case = make(shape, axis, dtype=dtype, activation=activation, order=order)
    check(EXACT, case)
    infer(EXACT, case)


@needs_fma
@pytest.mark.parametrize("channels", [1, 3, 33, 100])
@pytest.mark.parametrize("inner", [1, 2, 7, 31, 32, 49, 300])
def test_awkward_shapes_with_fused_multiply_adds(inner, channels):
    activation = "relu" if channels % 3 else None
    check(FMA, make((9, channels, inner), activation=activation, seed=channels))


@needs_fma
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), [PLANES, NEIGHBOURS])
def test_every_dtype_with_fused_multiply_adds(shape, axis, dtype):
    case = make(shape, axis, dtype=dtype, activation="relu")
    check(FMA, case)
    infer(FMA, case)


@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 2), (1, 3, 33), (2, 1), (5, 3, 1, 1)])
def test_fewer_values_than_threads(shape):
    check(SHIPPED, make(shape))


@pytest.mark.skipif(not hostcuda.X86, reason="flushing is switched on by an x86 instruction")
@pytest.mark.parametrize(("shape", "axis"), [PLANES, NEIGHBOURS])
def test_flushing_subnormals_stays_within_the_gpu_tolerance(shape, axis):
    check(FTZ, make(shape, axis, activation="relu"))


@pytest.mark.parametrize("without", [("gamma",), ("beta",), ("gamma", "beta")])
def test_without_gamma_or_beta_or_running_statistics(without):
    case = make((6, 5, 7), activation="relu", seed=1)
    bare = case._replace(**dict.fromkeys((*without, "running_mean", "running_var")))
    z = batchnorm.forward(bare.x, bare.gamma, bare.beta, **bare.options).z
    bare.dy[np.abs(z) < 1e-3] = 0
    check(EXACT, bare)
    infer(EXACT, bare._replace(running_mean=case.running_mean, running_var=case.running_var))


def test_float32_parameters_of_float16_arrays():
    case = make((9, 4, 5), dtype="float16", parameters="float32", activation="relu")
    check(EXACT, case)
    infer(EXACT, case)


def bits(device, case, replaced=None):
    """Every result of inference and training, as bytes; `replaced` is what dx overwrites."""
    x, dy, gamma, beta, *running = (device.asarray(a) for a in case[:-1])
    forward, backward = passes(device)
    infer, z = device.kernel("batch_norm_inference"), device.asarray(x)
    z = infer(z, gamma, beta, *running, **case.options, out=z if replaced else None)
    y, saved = forward(x, gamma, beta, *running, **case.options)
    results = [z, y, *running, *backward(dy, saved, out={"x": x, "dy": dy}.get(replaced))]
    return [array.tobytes() for array in results]


@pytest.mark.parametrize(("shape", "axis"), [PLANES, NEIGHBOURS])
def test_results_do_not_depend_on_order_or_index_width_or_what_they_overwrite(shape, axis):
    case = make(shape, axis, activation="relu")
    want = bits(EXACT, case)
    for order in ORDERS:
        assert bits(Device(order=order), case) == want, order
    for replaced in ("dy", "x"):
        assert bits(EXACT, case, replaced) == want, replaced
    assert bits(Device(wide=case.x.size), case) == want


def calls_of(device, case):
    """The launches of RawKernels of one training step."""
    check(device, case)
    return device.calls


def test_launches_are_as_planned():
    case = make((6, 33, 40))
    shipped = Device(threads=256, plan=AS_SHIPPED)
    small, large = calls_of(shipped, case), calls_of(Device(wide=case.x.size), case)
    names = [KERNELS[k] for k in (0, 2, 1, 3)]
    assert [call.kernel.name for call in small] == names == [call.kernel.name for call in large]
    assert [call.grid for call in small] == [(33, 1), (1,), (33, 1), (1,)]
    assert all(call.block == (256,) for call in small)
    for calls, kind in ((small, "int"), (large, "long long")):
        assert [call.kernel.parameters[-1].kind for call in calls[::2]] == [kind, kind]
    parts = [calls_of(Device(), make(*each))[0].grid for each in (PLANES, NEIGHBOURS)]
    assert parts == [(3, 4), (2, 5)]


# --- numerics -------------------------------------------------------------------------------------
FAR = [((64, 3, 17, 9), 1), ((64, 17, 9, 3), -1), ((10_000, 3), 1)]


@pytest.mark.parametrize(("shape", "axis"), FAR)
def test_a_mean_far_from_zero_costs_no_digits(shape, axis):
    case = far(shape, axis)
    got = train(SHIPPED, case.x, dy=case.dy, channel_axis=axis)
    want = batchnorm.forward(case.x, channel_axis=axis)
    assert np.abs(got[0] - want.y).max() < 1e-5
    wanted = batchnorm.backward(case.dy, case.x, channel_axis=axis)
    assert np.abs(got[1] - wanted.dx).max() < 1e-5
    check(SHIPPED, case)


def far(shape, axis):
    x = 1e4 + np.random.default_rng(3).standard_normal(shape)
    return make(shape, axis)._replace(x=x.astype("float32"))


@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize(("shape", "axis"), FAR)
def test_one_outlier_costs_no_digits(shape, axis, place):
    check(SHIPPED, outlier(shape, axis, place))


def outlier(shape, axis, place):
    case = make(shape, axis, offset=0.5)
    x = batchnorm.rows(case.x, axis)
    x[:, place] = [1e6, -1e6, 1e6]
    x = np.ascontiguousarray(batchnorm.from_rows(x, shape, axis))
    return case._replace(x=x.astype("float32"))


@pytest.mark.parametrize("constant", [0.0, 0.1, 12345.678])
@pytest.mark.parametrize(("shape", "axis"), [PLANES, NEIGHBOURS])
def test_a_constant_channel_gives_beta_and_relu_stops_its_gradients_at_0(shape, axis, constant):
    case = make(shape, axis, activation="relu", eps=1e-5)
    x, dy = case.x.copy(), np.ones(shape, "float32")
    x[:, :2] = constant
    case.beta[:2] = 0.0, 0.5
    y, dx, dgamma, dbeta = train(EXACT, x, case.gamma, case.beta, dy=dy, **case.options)
    assert (y[:, 0] == 0).all()
    assert (y[:, 1] == 0.5).all()
    assert (dx[:, 0] == 0).all()
    assert np.abs(dx[:, 1]).max() < 1e-3, "a constant dy gives no gradient"
    count = x[:, 0].size
    assert [dgamma[0], dbeta[0], dgamma[1], dbeta[1]] == [0, 0, 0, count]


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize(("shape", "axis"), [PLANES, NEIGHBOURS])
def test_inf_and_nan_stay_in_their_channel(shape, axis, poison):
    case = make(shape, axis, activation="relu")
    clean = train(EXACT, case.x, *case[2:4], dy=case.dy, **case.options)
    case.x[-1, 2, -1] = poison
    dirty = train(EXACT, case.x, *case[2:4], dy=case.dy, **case.options)
    for before, after in zip(clean, dirty, strict=True):
        axis = 1 if before.ndim > 1 else 0
        others = np.arange(shape[1]) != 2
        a, b = (np.compress(others, array, axis) for array in (before, after))
        np.testing.assert_array_equal(a, b)
    assert np.isnan(dirty[0][:, 2]).all(), "ReLU made a number of NaN"
    assert np.isnan(dirty[1][:, 2]).all()


# --- planted mistakes -----------------------------------------------------------------------------
MOMENTS, PRODUCTS, FORWARD, BACKWARD = KERNELS
BARRIER = ("        __syncthreads();\n", "")
PLANTED = {
    "no barrier in moments": (MOMENTS, *BARRIER),
    "no barrier in products": (PRODUCTS, *BARRIER),
    "an empty thread merged": (MOMENTS, "if (counts_[other] > C(0))", ""),
    "neighbours of another channel merged": (MOMENTS, "t + half * WIDTH_", "t + half"),
    "parts that leave values out": (MOMENTS, "m * (blockIdx.y + 1) / gridDim.y",
                                    "m / gridDim.y * (blockIdx.y + 1)"),
    "parts that overlap": (PRODUCTS, "low = m * blockIdx.y / gridDim.y",
                           "low = m * blockIdx.y / (gridDim.y + 1)"),
    "parts of equal weight": (FORWARD, "(part + 1) * all / parts - part * all / parts",
                              "all / parts"),
    "no step to the next run": (MOMENTS, "if (j >= inner)", "if (false)"),
    "normalized by the unbiased variance": (FORWARD, "m2 / m,", "m2 / (m - C(1)),"),
    "the biased variance kept": (FORWARD, "m2 / (m - C(1))", "m2 / m"),
    "momentum turned": (FORWARD, "center + rest, keep, momentum", "center + rest, momentum, keep"),
    "gate dropped from the sums": (PRODUCTS, "if (RELU) g", "if (false) g"),
    "gate dropped from dx": ("differentiate", "if (1) g", "if (0) g"),
    "no ReLU": ("normalize", "if (1)", "if (0)"),
    "parts of dgamma left out": (BACKWARD, "two += sums", "two = sums"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake):
    case = make((3, 35) if "empty" in mistake else (11, 35, 7), activation="relu")
    with pytest.raises(AssertionError, match="eps of float32 off"):
        check(Device(threads=256, edit=planted(*PLANTED[mistake])), case)


def test_only_the_text_that_ships_is_proven(monkeypatch):
    noted = []
    monkeypatch.setattr(proof, "note", lambda *each: noted.append(each))
    case = make((6, 5, 7), dtype="float16", activation="relu")
    edited = Device(edit=lambda name, text: f"{text}\n")
    check(edited, case)
    infer(edited, case)
    assert noted == []
    check(EXACT, case)
    summing = [name.removeprefix("batch_norm_") for name in KERNELS]
    training = [*summing, "normalize", "differentiate"]
    assert set(noted) == {(proof.HOST, "cupy", name, "float16") for name in training}
    noted.clear()
    infer(EXACT, case)
    assert noted == [(proof.HOST, "cupy", "infer", "float16")]


def test_digits_that_are_lost_are_caught():
    lost = Device(edit=planted(FORWARD, "rest = mean - (center - near)", "rest = 0"))
    case = far(*FAR[0])
    (y,) = train(lost, case.x)
    assert np.abs(y - batchnorm.forward(case.x).y).max() > 1e-5

    def first_value(name, text):
        return text.replace("C(x[middle_one])", "C(x[channel * inner])")

    with pytest.raises(AssertionError, match="eps of float32 off"):
        check(Device(edit=first_value), outlier(*FAR[0], 0))


@pytest.mark.parametrize(
    ("kind", "mistake", "words"),
    [
        ("tsan", (MOMENTS, *BARRIER), "data race"),
        ("tsan", (PRODUCTS, *BARRIER), "data race"),
        ("asan", (MOMENTS, "if (channel_of() >= channels) return;", ""), "heap-buffer-overflow"),
        ("asan", (MOMENTS, "t < WIDTH && channel < channels", "t < WIDTH"), "heap-buffer-overflow"),
        ("asan", (FORWARD, "if (c >= channels) return;", ""), "heap-buffer-overflow"),
    ],
)
def test_a_sanitizer_sees_a_planted_mistake(kind, mistake, words):
    if reason := missing(kind):
        pytest.skip(reason)
    case = make((30, 35), activation="relu")
    device = Device(build="", edit=planted(*mistake))  # only the sanitizer runs it
    train(device, case.x, *case[2:4], dy=case.dy, **case.options)
    (call,) = (call for call in device.calls if call.kernel.name == mistake[0])
    (outcome,) = sanitize(kind, [call])
    assert words in outcome.report
