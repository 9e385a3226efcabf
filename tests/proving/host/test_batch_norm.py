"""The CUDA C text of batch normalization does what the paper says: g++ compiles it and the CPU runs
the engine's own launches, in several orders of threads. test_sanitizers.py sanitizes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import gcd

import numpy as np
import pytest
from cases import batch_norm as batchnorm_cases
from cases.batch_norm import LAYOUTS, given_options, make, passes, train
from cases.batch_norm_ranks import assert_ranks
from onepass.kernels.batch_norm.gpu import plan as gpu_plan
from onepass.kernels.batch_norm.gpu.cuda_text import KERNELS, symbol
from onepass.kernels.batch_norm.gpu.plan import plan_of
from oracles import batch_norm as batchnorm
from tolerances import DTYPES

from proving import account as proof
from proving.host import elementwise as hostcuda
from proving.host.batch_norm import AS_SHIPPED, IN_PARTS, SMALL, Device
from proving.host.device import planted
from proving.host.raw import ORDERS, sanitize
from proving.host.sanitized import missing
from proving.host.walk import at_sixteen_bytes

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
needs_fma = pytest.mark.skipif(bool(hostcuda.FMA_MISSING), reason=hostcuda.FMA_MISSING)
PARTS = SMALL | IN_PARTS
WHOLE, PARTED = Device(), Device(plan=PARTS)
EITHER = pytest.mark.parametrize("plan", [SMALL, PARTS], ids=["whole", "in parts"])
SHIPPED = Device(plan=AS_SHIPPED)
PLANES, NEIGHBOURS = ((9, 3, 49), 1), ((40, 35, 7), 1)  # several parts and blocks of each kind
PACKS = ((9, 3, 64), 1), ((150, 40), 1)  # likewise, sixteen bytes at a time
SHAPES = pytest.mark.parametrize(("shape", "axis"), [PLANES, NEIGHBOURS, *PACKS])


def check(device, case):
    device.prove(batchnorm_cases.check, case)


def infer(device, case):
    device.prove(batchnorm_cases.infer, case)


# --- the text that ships, under the public functions ----------------------------------------------
@EITHER
@pytest.mark.parametrize(
    ("dtype", "activation"),
    [("float32", None), ("float32", "relu"), ("float16", "relu"), ("float64", None)],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_follows_the_oracle(layout, dtype, activation, plan):
    shape, axis, order = LAYOUTS[layout]
    case = make(shape, axis, dtype=dtype, activation=activation, order=order)
    device = Device(plan=plan)
    check(device, case)
    infer(device, case)


@needs_fma
@EITHER
@pytest.mark.parametrize("channels", [1, 3, 33, 100])
@pytest.mark.parametrize("inner", [1, 2, 7, 31, 32, 49, 300])
def test_awkward_shapes_with_fused_multiply_adds(inner, channels, plan):
    activation = "relu" if channels % 3 else None
    check(
        Device("fma", plan=plan), make((9, channels, inner), activation=activation, seed=channels)
    )


@needs_fma
@EITHER
@pytest.mark.parametrize("dtype", DTYPES)
@SHAPES
def test_every_dtype_with_fused_multiply_adds(shape, axis, dtype, plan):
    case = make(shape, axis, dtype=dtype, activation="relu")
    device = Device("fma", plan=plan)
    check(device, case)
    infer(device, case)


@needs_fma
@EITHER
@pytest.mark.parametrize("dtype", DTYPES)
@SHAPES
def test_a_residual_with_fused_multiply_adds(shape, axis, dtype, plan):
    case = make(shape, axis, dtype=dtype, activation="relu", residual=True)
    device = Device("fma", plan=plan)
    check(device, case)
    infer(device, case)


@EITHER
@pytest.mark.parametrize(("shape", "axis"), [PLANES, PACKS[1]])
def test_a_residual_without_an_activation(shape, axis, plan):
    case, device = make(shape, axis, residual=True), Device(plan=plan)
    check(device, case)
    infer(device, case)


@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 2), (1, 3, 33), (2, 1), (5, 3, 1, 1)])
def test_fewer_values_than_threads(shape):
    check(SHIPPED, make(shape))


@pytest.mark.parametrize("dtype", DTYPES)
@EITHER
def test_arrays_that_do_not_begin_at_sixteen_bytes(plan, dtype):
    """By as many bytes as they begin at multiples of; by sixteen where they do."""
    for shape, axis in PACKS:
        case = make(shape, axis, dtype=dtype, activation="relu")
        for off in (0, 1, 2, 4):
            device = Beside(plan=plan, off=off)
            check(device, case)
            infer(device, case)
            assert items_of(device) == {gcd(16, off * case.x.itemsize) // case.x.itemsize}


def items_of(device):
    """Elements of the items in all launches."""
    texts = [call.kernel.text for call in device.calls]
    return {int(re.search(r"#define EACH (\d+)\n", text)[1]) for text in texts}


@pytest.mark.parametrize("dtype", DTYPES)
@EITHER
def test_runs_that_are_no_multiples_of_sixteen_bytes(plan, dtype):
    """By eight bytes, or four, where they are multiples of these."""
    for shape, row in (((9, 3, 36), 36), ((9, 3, 34), 34), ((150, 36), 36), ((150, 42), 42),
                       ((20, 6, 7), 42)):  # fmt: skip
        case = make(shape, dtype=dtype, activation="relu")
        device = Device(plan=plan)
        check(device, case)
        infer(device, case)
        assert items_of(device) == {gcd(16, row * case.x.itemsize) // case.x.itemsize}


@dataclass(frozen=True)
class Beside(Device):
    """Its arrays of two axes or more begin so many elements behind a multiple of sixteen bytes."""

    off: int = 0

    def asarray(self, array):
        if array.ndim < 2:
            return super().asarray(array)
        return at_sixteen_bytes(array.reshape(-1), self.off).reshape(array.shape)


@pytest.mark.skipif(not hostcuda.X86, reason="flushing is switched on by an x86 instruction")
@EITHER
@SHAPES
def test_flushing_subnormals_stays_within_the_gpu_tolerance(shape, axis, plan):
    check(Device("ftz", plan=plan), make(shape, axis, activation="relu"))


@EITHER
@pytest.mark.parametrize("without", [("gamma",), ("beta",), ("gamma", "beta")])
def test_without_gamma_or_beta_or_running_statistics(without, plan):
    case = make((6, 5, 7), activation="relu", seed=1)
    bare = case._replace(**dict.fromkeys((*without, "running_mean", "running_var")))
    z = batchnorm.forward(bare.x, bare.gamma, bare.beta, **bare.options).z
    bare.dy[np.abs(z) < 1e-3] = 0
    check(Device(plan=plan), bare)
    infer(WHOLE, bare._replace(running_mean=case.running_mean, running_var=case.running_var))


def test_float32_parameters_of_float16_arrays():
    case = make((9, 4, 5), dtype="float16", parameters="float32", activation="relu")
    check(WHOLE, case)
    infer(WHOLE, case)


@EITHER
@pytest.mark.parametrize("dtype", DTYPES)
@SHAPES
def test_ranks_follow_the_oracle_of_the_whole_batch(shape, axis, dtype, plan):
    """Sums, and what follows from those of all, one by one: in parts, whatever the plan."""
    parameters = "float64" if dtype == "float64" else "float32"
    case = make(shape, axis, dtype=dtype, parameters=parameters, activation="relu")
    device, rows = Device(plan=plan), shape[0]
    shares = (rows - 5, 0, 4, 1)
    device.prove(assert_ranks, case, shares)
    assert {call.kernel.name for call in device.calls} == {
        symbol(name) for name in ("moments", "infer", "products", "differentiate")
    }


def test_so_do_ranks_with_a_residual():
    case = make(NEIGHBOURS[0], activation="relu", residual=True)
    device = Device(plan=SMALL)
    device.prove(assert_ranks, case, (35, 0, 4, 1))
    names = "moments", "infer_residual", "products_residual", "differentiate"
    assert {call.kernel.name for call in device.calls} == {symbol(name) for name in names}


def bits(device, case, replaced=None):
    """Every result of inference and training, as bytes; `replaced` is what dx overwrites."""
    x, dy, gamma, beta, *running = (device.asarray(a) for a in case[:-1])
    forward, backward = passes(device)
    infer, z = device.kernel("batch_norm_inference"), device.asarray(x)
    z = infer(z, gamma, beta, *running, **case.options, out=z if replaced else None)
    y, saved = forward(x, gamma, beta, *running, **case.options)
    results = [z, y, *running, *backward(dy, saved, out={"x": x, "dy": dy}.get(replaced))]
    return [array.tobytes() for array in results]


@EITHER
@SHAPES
def test_results_do_not_depend_on_order_or_what_they_overwrite(shape, axis, plan):
    case = make(shape, axis, activation="relu")
    want = bits(Device(plan=plan), case)
    for order in ORDERS:
        assert bits(Device(order=order, plan=plan), case) == want, order
    for replaced in ("dy", "x"):
        assert bits(Device(plan=plan), case, replaced) == want, replaced


@EITHER
@SHAPES
def test_nor_do_those_with_a_residual(shape, axis, plan):
    case = make(shape, axis, activation="relu", residual=True)

    def found(device, replaced):
        x, dy, gamma, beta, *running = (device.asarray(a) for a in case[:-1])
        options = given_options(case, device.asarray)
        forward, backward = passes(device)
        infer, more = device.kernel("batch_norm_inference"), device.asarray(options["residual"])
        over = {"out": more} if replaced else {}
        z = infer(x, gamma, beta, *running, **(options | {"residual": more}), **over)
        over = {"out": options["residual"]} if replaced else {}
        y, saved = forward(x, gamma, beta, *running, **options, **over)
        places = {"residual_grad": dy} if replaced else {}
        results = [z, y, *running, *backward(dy, saved, **places)]
        return [array.tobytes() for array in results]

    want = found(Device(plan=plan), False)
    for order in (ORDERS[1], ORDERS[-1]):
        assert found(Device(order=order, plan=plan), True) == want, order


def calls_of(device, case):
    """The launches of RawKernels of one training step."""
    check(device, case)
    return device.calls


TWO = [symbol(name) for name in ("moments", "normalize", "products", "differentiate")]
ONE = [symbol(name) for name in ("whole_forward", "whole_backward")]


def test_launches_are_as_planned():
    case = make((6, 33, 40))
    small, parts = calls_of(Device(plan=AS_SHIPPED), case), calls_of(Device(plan=PARTS), case)
    large = calls_of(Device(plan=PARTS, wide=0), case)
    assert [call.kernel.name for call in small] == ONE
    assert [call.kernel.name for call in parts] == TWO == [call.kernel.name for call in large]
    assert [(call.grid, call.block) for call in small] == [((33, 1), (512,))] * 2
    for calls, kind in ((small, "int"), (parts, "int"), (large, "long long")):
        for call in calls:
            (outer,) = (each for each in call.kernel.parameters if each.name == "outer")
            assert outer.kind == kind
    grids = [calls_of(Device(plan=PARTS), make(*each))[0].grid for each in (PLANES, NEIGHBOURS)]
    assert grids == [(3, 4), (7, 2)]


H200 = 132
DENSE = [(n, c) for n in (32, 64, 128, 256, 512, 1024, 2048) for c in (16, 128, 256, 1000, 4096)]


@pytest.mark.parametrize("shape", [*DENSE, (128, 512, 7, 7), (64, 256, 14, 14), (2, 3)])
def test_small_shapes_are_read_once(shape):
    outer, channels, *rest = shape
    plan = plan_of(outer, channels, int(np.prod(rest)), 4, 16, H200)
    assert plan.whole
    assert plan.across * plan.tile >= channels > (plan.across - 1) * plan.tile
    assert plan.parts == 1


@pytest.mark.parametrize(
    ("shape", "blocks"),  # outer, channels, inner
    [((32 * 56 * 56, 64, 1), 528), ((65536, 64, 1), 528), ((8, 3, 512 * 512), 528),
     ((1, 1, 16 << 20), 528), ((1_000_000, 16, 1), 528), ((8, 64, 112 * 112), 576)],
)  # fmt: skip
def test_few_channels_make_as_many_blocks_as_many(shape, blocks):
    plan = plan_of(*shape, 4, 16, H200)
    assert not plan.whole
    assert plan.across * plan.parts == pytest.approx(blocks, rel=0.02)
    assert plan.share * (plan.parts - 1) < plan_length(shape, plan) <= plan.share * plan.parts


def plan_length(shape, plan):
    outer, _, inner = shape
    return outer * inner // plan.each if plan.runs else outer


def test_an_index_takes_64_bits_before_what_is_looked_ahead_passes_32():
    wide = [plan_of(n, 1 << 15, 1, 4, 16, H200).wide for n in (1 << 15, 65535, 65536)]
    assert wide == [False, True, True]
    assert gpu_plan.WIDE == 1 << 31


def test_indices_of_64_bits_follow_the_oracle():
    for shape, axis in (PACKS[0], PACKS[1], PLANES, NEIGHBOURS):
        check(Device(plan=PARTS, wide=0), make(shape, axis, activation="relu"))


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
@EITHER
@SHAPES
def test_a_constant_channel_gives_beta_and_relu_stops_its_gradients_at_0(
    shape, axis, constant, plan
):
    case = make(shape, axis, activation="relu", eps=1e-5)
    x, dy = case.x.copy(), np.ones(shape, "float32")
    x[:, :2] = constant
    case.beta[:2] = 0.0, 0.5
    y, dx, dgamma, dbeta = train(Device(plan=plan), x, case.gamma, case.beta, dy=dy, **case.options)
    assert (y[:, 0] == 0).all()
    assert (y[:, 1] == 0.5).all()
    assert (dx[:, 0] == 0).all()
    assert np.abs(dx[:, 1]).max() < 1e-3, "a constant dy gives no gradient"
    count = x[:, 0].size
    assert [dgamma[0], dbeta[0], dgamma[1], dbeta[1]] == [0, 0, 0, count]


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@EITHER
@SHAPES
def test_inf_and_nan_stay_in_their_channel(shape, axis, poison, plan):
    case, device = make(shape, axis, activation="relu"), Device(plan=plan)
    clean = train(device, case.x, *case[2:4], dy=case.dy, **case.options)
    case.x[(-1, 2, *[-1] * (len(shape) - 2))] = poison
    dirty = train(device, case.x, *case[2:4], dy=case.dy, **case.options)
    for before, after in zip(clean, dirty, strict=True):
        axis = 1 if before.ndim > 1 else 0
        others = np.arange(shape[1]) != 2
        a, b = (np.compress(others, array, axis) for array in (before, after))
        np.testing.assert_array_equal(a, b)
    assert np.isnan(dirty[0][:, 2]).all(), "ReLU made a number of NaN"
    assert np.isnan(dirty[1][:, 2]).all()


# --- planted mistakes -----------------------------------------------------------------------------
BARRIER = (
    "        __syncthreads();\n        if (threadIdx.x < (rows",
    "        if (threadIdx.x < (rows",
)
PLANTED = {  # kernel, what is right, what is wrong
    "neighbours of another channel added": ("moments", "room[threadIdx.x + half * tile]",
                                            "room[threadIdx.x + half]"),
    "runs of another channel added": ("moments", "k * w.length + i];", "i];"),
    "parts that leave values out": ("moments", "share ? outer : (blockIdx.y + 1) * share",
                                    "share ? outer - 1 : (blockIdx.y + 1) * share - 1"),
    "parts that overlap": ("products", "start = blockIdx.y * share + row",
                           "start = blockIdx.y * (share - 1) + row"),
    "parts of equal weight": ("normalize", "C(values_of(part, GIVEN)) * means", "share * means"),
    "no mean of a part": ("normalize", "about(more, means", "about(more, 0 * means"),
    "threads of one mean": ("moments", "if (count > C(0)) EVERY_ELEMENT about",
                            "if (false) EVERY_ELEMENT about"),
    "no step to the next run": ("moments", "if (place >= run)", "if (false)"),
    "normalized by the unbiased variance": ("normalize", "m2 / m,", "m2 / (m - C(1)),"),
    "the biased variance kept": ("normalize", "m2 / (m - C(1))", "m2 / m"),
    "momentum turned": ("normalize", "center + rest, keep, momentum",
                        "center + rest, momentum, keep"),
    "gate dropped from the sums": ("products", "if (!RELU) return dy;", "return dy;"),
    "gate dropped from dx": ("differentiate", "if (!RELU) return dy;", "return dy;"),
    "no ReLU": ("normalize", "if (RELU) rectified", "if (false) rectified"),
    "parts of dgamma left out": ("differentiate", "c < channels ? part_",
                                 "c < channels && part_ > 0 ? part_"),
    "squares with the mean in them": ("whole_forward", "- middle_", ""),
    "gate dropped where all is kept": ("whole_backward", "if (!RELU) return dy;", "return dy;"),
    "no residual": ("normalize_residual", "added(y, residual);", ""),
    "no residual at inference": ("infer_residual", "added(y, residual);", ""),
    "no residual where all is kept": ("whole_forward_residual", "added(y, residual);", ""),
    "gate dropped from dz": ("products_residual", "y <= C(0) ? C(0) : dy", "dy"),
    "gate dropped from dz where all is kept": ("whole_backward_residual", "y <= C(0) ? C(0) : dy",
                                               "dy"),
    "dz not written": ("products_residual", "put(dz, places[i], results[i]);", ""),
    "the last items left out": ("whole_forward", "i * by < left", "i * by < left - 1"),
}  # fmt: skip


def unfolded(mistake):
    """As texts have it: they name all that tells the shape."""
    return tuple(
        words.replace("GIVEN", "outer, channels, inner, share, tile") for words in PLANTED[mistake]
    )


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake):
    where, right, wrong = unfolded(mistake)
    whole = where.startswith("whole")
    shape = (11, 5, 41) if "step" in mistake else (64, 35, 7)
    if whole:
        shape = (19, 35, 7)
    plan = (SMALL if whole else PARTS) | {"THREADS": 64}
    device = Device(plan=plan, edit=planted(where, right, wrong))
    case = make(shape, activation="relu", residual="residual" in where)
    of = infer if where.startswith("infer") else check
    with pytest.raises(AssertionError, match=r"eps of float32 off|dresidual"):
        of(device, case)


def test_only_the_text_that_ships_is_proven(monkeypatch):
    noted = []
    monkeypatch.setattr(proof, "note", lambda *each: noted.append(each))
    case = make((6, 5, 7), dtype="float16", activation="relu")
    edited = Device(edit=lambda name, text: f"{text}\n")
    check(edited, case)
    infer(edited, case)
    assert noted == []
    beside = make((6, 5, 7), dtype="float16", activation="relu", residual=True)
    for device in (WHOLE, PARTED):
        for each in (case, beside):
            check(device, each)
            infer(device, each)
    assert set(noted) == {(proof.HOST, "cupy", name, "float16") for name in KERNELS}


def test_digits_that_are_lost_are_caught():
    lost = Device(
        plan=PARTS, edit=planted("normalize", "rest = mean - (center - near)", "rest = 0")
    )
    case = far(*FAR[0])
    (y,) = train(lost, case.x)
    assert np.abs(y - batchnorm.forward(case.x).y).max() > 1e-5

    def first_value(name, text):
        return text.replace("C(x[middle_one])", "C(x[channel * inner])")

    with pytest.raises(AssertionError, match="eps of float32 off"):
        check(Device(plan=PARTS, edit=first_value), outlier(*FAR[0], 0))


def test_values_far_from_three_of_them_cost_no_digits():
    """First, middle and last are 0, as borders of images may be, and all others near 1000."""
    rng = np.random.default_rng(0)
    x = (1e3 + rng.standard_normal((64, 3, 500))).astype("float32")
    x[0, :, 0] = x[32, :, 250] = x[-1, :, -1] = 0
    for plan in (AS_SHIPPED, AS_SHIPPED | IN_PARTS):
        check(Device(plan=plan), make(x.shape)._replace(x=x))


@pytest.mark.parametrize(
    ("kind", "mistake", "words"),
    [
        ("tsan", ("moments", *BARRIER), "data race"),
        ("tsan", ("products", *BARRIER), "data race"),
        ("asan", ("moments", "row < by && column < columns ?", "row < by ?"),
         "heap-buffer-overflow"),
        ("asan", ("moments", "if (!mine) return;", "if (threadIdx.x >= tile) return;"),
         "heap-buffer-overflow"),
        ("asan", ("products", "threadIdx.x < tile && c < channels", "threadIdx.x < tile"),
         "heap-buffer-overflow"),
    ],
)  # fmt: skip
def test_a_sanitizer_sees_a_planted_mistake(kind, mistake, words):
    if reason := missing(kind):
        pytest.skip(reason)
    case = make((30, 35), activation="relu")
    device = Device(build="", plan=PARTS, edit=planted(*mistake))  # only the sanitizer runs it
    train(device, case.x, *case[2:4], dy=case.dy, **case.options)
    (call,) = (call for call in device.calls if call.kernel.name == symbol(mistake[0]))
    (outcome,) = sanitize(kind, [call])
    assert words in outcome.report
