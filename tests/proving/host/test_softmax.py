"""The CUDA C text of softmax cross-entropy does what Bishop says: g++ compiles it and the CPU runs
the engine's own launches, in several orders of threads and under the sanitizers."""

from __future__ import annotations

import math
import mmap

import numpy as np
import pytest
from cases import softmax as softmax_cases
from cases.softmax import INTEGERS, Case, assert_right, make
from onepass.kernels.softmax.gpu import plan as plans
from onepass.kernels.softmax.gpu.cuda_text import KERNELS, source
from onepass.kernels.softmax.gpu.plan import CUDA_C, NUMBA, WARP, gpu_plan
from tolerances import DTYPES

from proving import account as proof
from proving.host import elementwise as hostcuda
from proving.host.device import planted
from proving.host.raw import ORDERS, RawKernel, compile_all, sanitize
from proving.host.sanitized import usable
from proving.host.softmax import AS_SHIPPED, SMALL, SMALL_ROOM, Device

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
needs_fma = pytest.mark.skipif(bool(hostcuda.FMA_MISSING), reason=hostcuda.FMA_MISSING)
WIDTHS = [1, 2, 3, 4, 5, 10, 31, 32, 33, 100, 127, 1000, 1024, 1025, 4097, 5000]
LANES, BLOCK = KERNELS
MAP_NORESERVE = 0x4000  # Linux's; the module names it from Python 3.13 on


def small(**options):
    """Few threads that keep little: several blocks, several rows a block, columns read again."""
    return Device(plan=SMALL, room=SMALL_ROOM, **options)


# --- the text that ships, under the public function -----------------------------------------------
@pytest.mark.parametrize("width", WIDTHS)
def test_every_width_as_it_ships(width):
    for rows, weighted in ((1, False), (9, True)):
        Device().prove_case(make((rows, width), weighted=weighted))


@needs_fma
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 10, 100, 1000, 5000])
def test_every_dtype_with_fused_multiply_adds(width, dtype):
    Device("fma").prove_case(make((5, width), dtype, weighted=width % 3 > 0))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [7, 65, 290, 700])
def test_several_blocks_rows_and_columns_that_are_read_again(width, dtype, weighted):
    for rows in (1, 2, 33, 100):
        small().prove_case(make((rows, width), dtype, weighted=weighted))


@pytest.mark.parametrize("width", WIDTHS)
def test_smoothed_labels_at_every_width_as_it_ships(width):
    for rows, weighted in ((1, False), (9, True)):
        Device().prove_case(make((rows, width), weighted=weighted)._replace(smoothing=0.1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [7, 65, 290, 700])
def test_smoothed_labels_in_several_blocks_and_columns_that_are_read_again(width, dtype):
    for rows in (2, 33, 100):
        small().prove_case(make((rows, width), dtype, weighted=True)._replace(smoothing=0.3))


@pytest.mark.skipif(not hostcuda.X86, reason="flushing is switched on by an x86 instruction")
@pytest.mark.parametrize("width", [10, 700])
def test_flushing_subnormals_stays_within_the_gpu_tolerance(width):
    small(build="ftz").prove_case(make((9, width), spread=40.0, weighted=True))


@pytest.mark.parametrize("engine", [Device(), small()], ids=["shipped", "small"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_logits(engine, dtype):
    for width in (3, 100, 1030):
        softmax_cases.check_large_equal_and_infinite_logits(engine, width, dtype)
        for bad in ("nan", "-nan", "inf", "all -inf"):
            softmax_cases.check_nan_and_inf_make_their_row_nan(engine, bad, width, dtype)
        softmax_cases.check_smoothed_labels_of_extreme_logits(engine, width, dtype)
    softmax_cases.check_a_chosen_class_of_probability_zero_costs_infinity(engine)
    softmax_cases.check_weights_of_1_change_nothing_and_of_0_leave_nothing(engine, dtype)


@pytest.mark.parametrize("device", [Device(), small()], ids=["shipped", "small"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_may_replace_the_logits(device, dtype):
    for width in (11, 100, 1030):
        logits, labels, *_ = make((5, width), dtype)
        apart = device.kernel("softmax_cross_entropy")(device.asarray(logits), labels)
        z = device.asarray(logits)
        loss, gradient = device.kernel("softmax_cross_entropy")(z, labels, out=z)
        assert gradient is z
        assert float(loss) == float(apart[0])
        assert gradient.tobytes() == apart[1].tobytes()


VIEWS = {
    "F": np.asfortranarray,
    "columns": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
}


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_not_contiguous_is_copied(view):
    case = make((9, 11), weighted=True)
    z = VIEWS[view](case.logits).view(hostcuda.OnHost)
    weights = np.repeat(case.weights, 2)[::2].view(hostcuda.OnHost)
    call = Device().kernel("softmax_cross_entropy")
    for out in (None, VIEWS[view](np.zeros_like(case.logits)).view(hostcuda.OnHost), z):
        found = call(z, case.labels, weights=weights, out=out)
        assert_right(Device(), found, *case)
        assert out is None or found[1] is out


@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_of_every_dtype(dtype):
    case = make((9, 11))
    Device().prove_case(case._replace(labels=case.labels.astype(dtype)))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("width", [5, 100])
def test_labels_out_of_range_make_their_row_nan(width, dtype):
    info = np.iinfo(dtype)
    for bad in {info.min, info.max, width, min(2**32 + 1, info.max)} - {0}:
        logits, labels, *_ = make((4, width))
        labels = labels.astype(dtype)
        labels[2] = bad
        loss, gradient = small().run(Case(logits, labels))
        assert math.isnan(float(loss))
        wrong = np.isnan(gradient)
        assert (
            wrong.all(axis=1).tolist() == wrong.any(axis=1).tolist() == [False, False, True, False]
        )


def bits(device, case):
    loss, gradient = device.run(case)
    return loss.tobytes(), gradient.tobytes()


@pytest.mark.parametrize("width", [7, 65, 290, 700])
def test_results_do_not_depend_on_order_or_index_width(width):
    case = make((50, width), weighted=True)
    want = bits(small(), case)
    for order in ORDERS:
        assert bits(small(order=order), case) == want, order
    if width > 128:
        assert bits(small(wide=width), case) == bits(small(wide=width, order=1), case)
        small(wide=width).prove_case(case)


# --- numerics -------------------------------------------------------------------------------------
def long_row(width=300_000):
    """Terms that are alike round alike: a plain sum of them drifts."""
    logits = np.full((1, width), -0.3, "float32")
    logits[0, 7] = 0.0
    return Case(logits, np.array([7]))


def test_a_long_row_costs_no_digits():
    small().prove_case(long_row())


def test_rows_beyond_the_reach_of_32_bits():
    """In memory that is hardly touched: the kernel begins at the last two rows."""
    rows, width = (1 << 16) + 3, 1 << 16
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    z = np.frombuffer(mmap.mmap(-1, 2 * rows * width, flags), "float16").reshape(rows, width)
    case = make((2, width), "float16")
    labels, weights = np.zeros(rows, "int64"), np.full(rows, rows / 2, "float32")
    labels[-2:], parts, null = case.labels, np.zeros(2, "float32"), np.uint64(0)
    done, loss = np.zeros(1, "uint32"), np.zeros(1)
    text = source(BLOCK, "float16", threads=256, lanes=256, kept=8)
    assert "row = blockIdx.x" in text
    text = text.replace("row = blockIdx.x", f"row = {rows - 2}")

    def found(text):
        z[-2:] = case.logits
        sizes = np.int64(rows), np.int32(width)
        given = (z, labels, weights, z, parts, done, loss, null, *sizes)
        RawKernel(text, BLOCK)((1,), (256,), given)
        return loss[0], z[-2:]

    assert_right(Device(), found(text), *case)
    assert "row * width + t" in text
    with pytest.raises(AssertionError, match="eps of float16 off"):
        assert_right(Device(), found(text.replace("row * width", "(int)(row * width)")), *case)


# --- plans ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("room", [*CUDA_C.values(), *NUMBA.values()])
def test_a_plan_has_room_for_every_row(room):
    for width in [*range(1, 10_000), 50_257, 1 << 20, plans.WIDE]:
        for rows in (1, 100, 1 << 33):
            plan = gpu_plan(rows, width, room)
            a_block = plan.threads // plan.lanes
            assert plan.threads % WARP == 0
            assert plan.threads % plan.lanes == 0
            assert 1 <= plan.blocks <= min(plans.BLOCKS, -(-rows // a_block))
            if plan.kernel == LANES:
                assert plan.lanes <= WARP
                assert plan.lanes * plan.kept >= width
            else:
                assert plan.lanes == plan.threads
                assert plan.lanes * plan.kept >= min(width, 1000) or room is NUMBA["float64"]
            assert plan.wide == (width >= plans.WIDE)
    known = {gpu_plan(9, width, room)[:4] for width in plans.every_width()}
    assert {gpu_plan(9, width, room)[:4] for width in range(1, 70_000)} == known


def test_launches_are_as_planned():
    device, case = Device(), make((40, 10), weighted=True)
    with device.running():
        for _ in range(2):
            device_run(device, case)
    names = [call.kernel.name for call in device.calls]
    assert names == [LANES, LANES]
    assert (device.calls[0].grid, device.calls[0].block) == ((1,), (256,))
    narrow, wide = (small(wide=wide) for wide in (plans.WIDE, 700))
    kinds = []
    for device in (narrow, wide):
        device.run(make((2, 700)))
        kinds.append(device.calls[0].kernel.parameters[-1].kind)
    assert kinds == ["int", "long long"]
    assert {name: getattr(plans, name) for name in SMALL} == AS_SHIPPED


def device_run(device, case):
    from onepass.kernels.softmax.gpu.cupy_gpu import CupySoftmax

    logits, labels, weights = map(hostcuda.on_host, case[:3])
    return CupySoftmax().run(logits, labels, weights, np.empty_like(logits))


# --- planted mistakes -----------------------------------------------------------------------------
BARRIER = "__syncthreads();\n    value = parts[0];", "value = parts[0];"
STORE = "T(i * LANES == k - lane ? p - share : p)"
PLANTED = {  # the kernel, what is there, what is there instead, a width
    "no maximum taken off": (LANES, "exp(values[i] - top)", "exp(values[i])", 10),
    "the maximum of a lane alone": (LANES, "top = across_lanes<Largest>(top, LANES);", "", 10),
    "the sum of a lane alone": (LANES, "sum = across_lanes<Sum>(sum, LANES);", "", 10),
    "the sum of two rows": (LANES, "<Sum>(sum, LANES)", "<Sum>(sum, 2 * LANES)", 5),
    "no class taken off": (LANES, STORE, "T(p)", 10),
    "another class taken off": (LANES, "== k - lane", "== k - lane - 1", 40),
    "padding that counts": (LANES, ": lowest;", ": C(0);", 33),
    "no weight": (LANES, "there && weights ? weights[row] : C(1)", "C(1)", 10),
    "the weight of another row": (LANES, "weights[row]", "weights[rows - 1 - row]", 10),
    "a weight in the loss only": (LANES, "shares(weight,", "shares(C(1),", 10),
    "not by n": (LANES, "C(rows), share", "C(1), share", 10),
    "the loss of another lane": (LANES, "if (mine) loss", "if (lane == 0) loss", 40),
    "losses of one warp": (LANES, "value = Join::of(value, parts[i]);", "", 40),
    "the next rows of a block": (LANES, "(long long)gridDim.x * at_once", "(long long)rows", 40),
    "columns that are not read again": (BLOCK, "top = max(top, C(z[i]));", ";", 700),
    "columns that don't count": (BLOCK, "added(sum, lost, exp(C(z[i]) - top));", ";", 700),
    "a barrier too few": (BLOCK, *BARRIER, 290),
    "a class in what is read again": (BLOCK, "T(i == k - t ? p - share : p)", "T(p)", 700),
    "a part left out": (LANES, "int i = t;", "int i = t + 1;", 10),
    "the mean of blocks": (LANES, "losses[0] / rows", "losses[0] / gridDim.x", 10),
    "the first block that is done": (LANES, "== gridDim.x - 1", "== gridDim.x / 2", 10),
    "the last largest": (LANES, "i * LANES < k - lane", "i * LANES > k - lane", 10),
    "any of the largest": (BLOCK, "i * THREADS < k - t", "false", 700),
    "rows that are wrong": (LANES, "C(1) - beaten", "beaten", 10),
    "all that are not beaten by an equal": (LANES, "= below < top;", "= 0;", 10),
    "what a lane has ahead": (LANES, "beaten = across_lanes<Largest>(beaten, LANES);", "", 40),
    "what a warp has ahead": (BLOCK, "beaten = across_block<Largest>(beaten, heads);",
                              "beaten = across_lanes<Largest>(beaten, WARP);", 290),
    "what is read again, not ahead": (BLOCK, "if (C(z[i]) == top)", "if (0)", 700),
}  # fmt: skip


SMOOTHED_MISTAKES = {
    "no mean": (LANES, "fallen / C(width)", "C(0)", 10),
    "the mean of a lane alone": (LANES, "fallen = across_lanes<Sum>(fallen, LANES);", "", 40),
    "padding in the mean": (LANES, "if (i * LANES < left) added(fallen", "added(fallen", 33),
    "nothing off other classes": (LANES, "(p) - even", "(p)", 10),
    "all off its own class": (LANES, "C(1) - smoothing, C(width)", "C(1), C(width)", 10),
    "not among all classes": (LANES, "C(width), even", "C(1), even", 10),
    "the mean of a warp": (BLOCK, "across_block<Sum>(fallen, falls)",
                           "across_lanes<Sum>(fallen, WARP)", 290),
    "a mean of what is kept": (BLOCK, "added(fallen, lost, C(z[i]) - top);", ";", 700),
    "a sum that begins with what the mean lost": (BLOCK, "lost = 0;\n#endif", "lost = 9;\n#endif",
                                                  290),
}  # fmt: skip


@pytest.mark.parametrize("mistake", SMOOTHED_MISTAKES)
def test_a_planted_mistake_in_smoothed_labels_is_caught(mistake):
    *edit, width = SMOOTHED_MISTAKES[mistake]
    case = mistaken(width)._replace(smoothing=0.3)
    small().prove_case(case)
    with pytest.raises(AssertionError, match=r"eps of float32 off|loss"):
        small(edit=planted(*edit), order="reverse").prove_case(case)


def mistaken(width):
    """Rows enough that each mistake shows: far above 0 and below, with and without a peak."""
    rows = 203
    case = make((rows, width), weighted=True)
    row, kinds = np.arange(rows), np.array([[60.0, 120.0], [-60.0, 30.0], [0.0, 0.0], [3.0, 1.0]])
    logits = case.logits + kinds[row % 4, :1].astype("float32")
    logits[row, row * 11 % width] += kinds[row % 4, 1].astype("float32")
    labels = row * 7 % width
    labels[1::3] = (row * 11 % width)[1::3]  # of the largest logit
    logits[::3, ::2] = logits[::3].max(axis=1, keepdims=True)  # beside others that are as large
    labels[::6], labels[3::6] = 0, 2
    labels[2::12] = width - 1  # as large as one that is far before it
    logits[2::12, width // 2] = logits[2::12, width - 1] = logits[2::12].max(axis=1)
    return case._replace(logits=logits, labels=labels)


@pytest.mark.parametrize("width", [5, 10, 33, 40, 290, 700])
def test_what_shows_mistakes_is_right_without_one(width):
    small().prove_case(mistaken(width))


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake):
    *edit, width = PLANTED[mistake]
    with pytest.raises(AssertionError, match=r"eps of float32 off|loss|rows that are right"):
        small(edit=planted(*edit), order="reverse").prove_case(mistaken(width))


def test_blocks_count_themselves_anew_at_each_launch():
    case = make((100, 10), weighted=True)

    def losses(**options):
        device = small(**options)
        with device.running():
            return [float(device_run(device, case)) for _ in range(3)]

    assert len({*losses()}) == 1
    assert len({*map(repr, losses(edit=planted(LANES, "    *done = 0;", "")))}) > 1


def test_more_blocks_than_one_has_threads():
    case = make((9000, 3), weighted=True)
    device = Device(plan=SMALL | {"BLOCKS": 200}, room=SMALL_ROOM)
    device.prove_case(case)
    assert device.calls[0].grid == (141,)
    left_out = planted(LANES, "i += THREADS", "i += 2 * THREADS")
    with pytest.raises(AssertionError, match="loss"):
        Device(plan=SMALL | {"BLOCKS": 200}, room=SMALL_ROOM, edit=left_out).prove_case(case)


def test_a_plain_sum_of_a_long_row_is_caught():
    plain = planted(BLOCK, "added(sum, lost, exp(C(z[i]) - top))", "sum += exp(C(z[i]) - top)")
    with pytest.raises(AssertionError, match="eps of float32 off"):
        small(edit=plain).prove_case(long_row())


def test_only_the_text_that_ships_is_proven(monkeypatch):
    noted = []
    monkeypatch.setattr(proof, "note", lambda *each: noted.append(each))
    case = make((6, 5), "float16")
    Device(edit=lambda name, text: f"{text}\n").prove_case(case)
    assert noted == []
    Device().prove_case(case)
    assert set(noted) == {(proof.HOST, "cupy", LANES, "float16")}


# --- sanitizers -----------------------------------------------------------------------------------
VARIANTS = {  # rows, width, weights, from how many columns their number takes 64 bits, order
    "lanes": ((70, 10), True, plans.WIDE, "forward"),
    "a warp": ((7, 101), False, plans.WIDE, 0),
    "block": ((4, 290), True, plans.WIDE, "reverse"),
    "wide block": ((4, 333), False, 300, 1),
    "smoothed lanes": ((70, 10), True, plans.WIDE, "forward"),
    "smoothed block": ((4, 290), True, plans.WIDE, "reverse"),
}


def variant(name, dtype="float32", build=""):
    shape, weighted, wide, order = VARIANTS[name]
    case = make(shape, dtype, weighted=weighted)
    return small(build=build, wide=wide, order=order), case._replace(
        smoothing=0.2 if name.startswith("smoothed") else 0.0
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_clean_under_the_sanitizers(name, dtype, kind):
    dry, case = variant(name, dtype)
    dry.run(case)
    compile_all(kind, (each.kernel for each in dry.calls))
    device, case = variant(name, dtype, kind)
    device.prove_case(case)
    assert [call.kernel for call in device.calls] == [call.kernel for call in dry.calls]
    if dtype == "float32":
        replaced = device.run(case, replace=True)
        assert [each.tobytes() for each in replaced] == list(bits(small(wide=device.wide), case))


def test_there_is_every_kernel_several_blocks_and_no_size_that_divides():
    names, grids = set(), set()
    for name in VARIANTS:
        device, case = variant(name)
        device.run(case)
        rows = device.calls[0]
        names |= {call.kernel.name for call in device.calls}
        grids.add(rows.grid)
        assert case.logits.size % rows.block[0]
    assert names == set(KERNELS)
    assert grids == {(3,)}, "all take several rows one after another"


@pytest.mark.parametrize(
    ("kind", "name", "mistake", "words"),
    [
        ("tsan", "block", (BLOCK, *BARRIER), "data race"),
        ("tsan", "block", (BLOCK, "<Sum>(sum, sums)", "<Sum>(sum, tops)"), "data race"),
        ("tsan", "lanes", (LANES, *BARRIER), "data race"),
        ("tsan", "lanes", (LANES, "i * LANES < left)\n", "i * LANES <= left)\n"), "data race"),
        ("tsan", "a warp", (LANES, "k % LANES", "(k + 1) % LANES"), "data race"),
        ("tsan", "lanes", (LANES, "        __syncthreads();\n", ""), "data race"),
        ("tsan", "lanes", (LANES, "        __threadfence();\n", ""), "data race"),
        ("asan", "a warp", (LANES, "i * LANES < left ?", "true ?"), "heap-buffer-overflow"),
        ("asan", "lanes", (LANES, "const bool there = row < rows;", "const bool there = true;"),
         "heap-buffer-overflow"),
        ("asan", "block", (BLOCK, "i < left; i", "i <= left; i"), "heap-buffer-overflow"),
    ],
)  # fmt: skip
def test_a_sanitizer_sees_a_planted_mistake(kind, name, mistake, words):
    (shape, weighted, wide, _), kind = VARIANTS[name], usable(kind)
    device = small(build="", wide=wide, edit=planted(*mistake))  # only the sanitizer runs it
    device.run(make(shape, weighted=weighted), replace=True)
    (call, *_) = [call for call in device.calls if call.kernel.name == mistake[0]]
    (outcome,) = sanitize(kind, [call])
    assert words in outcome.report
