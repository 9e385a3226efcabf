"""The CUDA C text of operations over rows does what norms' papers say: g++ compiles it and the CPU
runs the engine's own launches, in several orders of threads and under the sanitizers."""

from __future__ import annotations

import numpy as np
import pytest
from cases.norms import DTYPES, assert_right, given
from onepass.kernels.norms.norm import LAYER_NORM, backward_rows, forward_rows
from onepass.kernels.rows.gpu import plan as plans
from onepass.kernels.rows.gpu.plan import CUDA_C, NUMBA, WARP, plan_of
from onepass.kernels.rows.skeleton import Shape

from proving import account as proof
from proving.host import elementwise as hostcuda
from proving.host.device import planted
from proving.host.raw import ORDERS, compile_all, sanitize
from proving.host.rows import AS_SHIPPED, Device
from proving.host.sanitized import usable
from proving.norm_passes import JOIN, PASSES, ROWS, case_of

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
needs_fma = pytest.mark.skipif(bool(hostcuda.FMA_MISSING), reason=hostcuda.FMA_MISSING)

# As few threads take them: a thread a row, some lanes, a warp, a block, one that reads again; items
# of sixteen bytes, of eight and of one element; several parts of several rows.
CASES = {
    "a thread a row": ("layer norm", (70, 3), 0),
    "some lanes": ("layer norm, residual, GELU", (300, 8), 0),
    "a warp": ("layer norm", (41, 100), 0),
    "a block": ("layer norm", (9, 290), 0),
    "a block that reads again": ("layer norm, residual, GELU", (9, 2000), 0),
    "a block that reads odd rows again": ("RMS norm, SiLU", (5, 1001), 0),
    "planes": ("group norm, ReLU", (6, 6, 8), 3),
    "planes of one value": ("group norm, ReLU", (33, 6), 3),
    "planes of a block": ("group norm, ReLU", (3, 1, 700), 1),
    "planes of a block's warps": ("group norm, ReLU", (3, 40, 35), 2),
}


def made(name, dtype="float32", **more):
    of, shape, groups = CASES[name]
    return case_of(of, shape, dtype, **({"groups": groups} if groups else {}), **more)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_every_share_of_a_row_follows_the_oracle(name, dtype):
    Device().prove_case(made(name, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PASSES)
def test_every_kernel_as_it_ships(name, dtype):
    shape, groups = ((5, 4, 24), {"groups": 2}) if "group" in name else ((67, 96), {})
    Device(plan=AS_SHIPPED).prove_case(case_of(name, shape, dtype, **groups))


@pytest.mark.parametrize("shape", [(3, 1), (33, 1023), (3, 4096), (2, 50_000)])
def test_rows_as_it_ships(shape):
    device = Device(plan=AS_SHIPPED)
    device.prove_case(case_of("layer norm", shape, "float32"))
    assert [call.kernel.name for call in device.calls][-1] == JOIN


@needs_fma
@pytest.mark.parametrize("name", ["some lanes", "a block that reads again", "planes"])
def test_fused_multiply_adds(name):
    Device("fma").prove_case(made(name))


@pytest.mark.skipif(not hostcuda.X86, reason="flushing is switched on by an x86 instruction")
def test_flushing_subnormals_stays_within_the_gpu_tolerance():
    Device("ftz").prove_case(made("a block"))


FAR = {"a warp": (21, 100), "a block": (5, 290), "a block that reads again": (4, 4000)}


def check_far_off(device, name):
    """Rows whose first values tell nothing of their mean, beside others; and ones of one value."""
    case = case_of("layer norm", FAR[name], "float32")
    case.x[::3, :8] = 3e3
    case.x[1::3] = 5.0
    device.prove_case(case)
    arguments = given(device, case)
    _, saved = device.kernel("layer_norm_forward")(**arguments)
    center, rest, inv_std = np.asarray(saved.kept)
    np.testing.assert_allclose(center + rest, case.x.astype("float64").mean(axis=1), rtol=1e-5)
    assert (np.abs(rest * inv_std)[::3] < 1e-3).all(), "the mean of a lead that is far off"


@pytest.mark.parametrize("name", FAR)
def test_a_lead_that_is_far_off_the_mean(name):
    check_far_off(Device(), name)


@pytest.mark.parametrize("name", FAR)
@pytest.mark.parametrize(
    ("right", "wrong"), [("attempt < 2", "attempt < 1"), ("center = better_guess", "")]
)
def test_a_lead_that_stays_far_off_is_caught(right, wrong, name):
    with pytest.raises(AssertionError, match="off"):
        check_far_off(Device(edit=lambda _, text: text.replace(right, wrong)), name)


def test_what_is_not_finite_stays_in_its_row():
    for name in ("some lanes", "a block"):
        case, clean = made(name), Device().results(made(name))
        case.x[2, 1] = np.inf
        with np.errstate(all="ignore"):
            results = Device().results(case)
        for found, want in zip(results[:2], clean[:2], strict=True):
            rows = [np.frombuffer(each, "float32").reshape(case.x.shape) for each in (found, want)]
            assert np.isnan(rows[0][2]).all()
            np.testing.assert_array_equal(*(np.delete(each, 2, axis=0) for each in rows))


@pytest.mark.parametrize("name", CASES)
def test_results_do_not_depend_on_order_or_index_width(name):
    case = made(name)
    want = Device().results(case)
    for order in ORDERS:
        assert Device(order=order).results(case) == want, order
    if name in ("a block that reads again", "planes of a block"):
        device = Device(wide=2)
        assert device.results(case) == want
        assert "typedef long long Index" in device.calls[0].kernel.text


@pytest.mark.parametrize("name", ["some lanes", "a block that reads again", "planes"])
def test_results_in_the_place_of_what_is_read(name):
    case, device = made(name), Device(order="reverse")
    want = Device().results(case)
    arguments = given(device, case)
    place = arguments["x" if case.residual is None else "residual"]
    y, _ = device.kernel(f"{case.operation}_forward")(**arguments, out=place)
    assert y is place
    _, saved = device.kernel(f"{case.operation}_forward")(**given(device, case))
    for place in (device.asarray(case.dy), saved.x):
        dy = place if place is not saved.x else device.asarray(case.dy)
        dx, *_ = device.kernel(f"{case.operation}_backward")(dy, saved, out=place)
        assert dx is place
        assert [y.tobytes(), dx.tobytes()] == want[:2]


@pytest.mark.parametrize(("by", "each"), [(1, 1), (2, 2)])
@pytest.mark.parametrize("name", ["x", "gamma"])
def test_items_are_as_large_as_addresses_allow(name, by, each):
    case, device = case_of("layer norm", (9, 24), "float32"), Device()
    arguments = given(device, case)
    memory = hostcuda.on_host(np.zeros(arguments[name].size + by, "float32"))
    memory[by:] = arguments[name].reshape(-1)
    arguments[name] = memory[by:].reshape(arguments[name].shape)
    y, saved = device.kernel("layer_norm_forward")(**arguments)
    back = device.kernel("layer_norm_backward")(device.asarray(case.dy), saved)
    assert_right(case, [y, *back])
    for call in device.calls[:2]:
        assert f"#define EACH {each}\n" in call.kernel.text


# --- plans ----------------------------------------------------------------------------------------
ROWS_OF = forward_rows(LAYER_NORM, False, None), backward_rows(LAYER_NORM, None, True)


@pytest.mark.parametrize("room", [CUDA_C, NUMBA])
@pytest.mark.parametrize("itemsize", [2, 4, 8])
def test_a_plan_covers_every_row_once(itemsize, room):
    shapes = [Shape(n, 1, w, 1) for n in (1, 7, 131_073) for w in (*range(1, 70), 768, 50_000)]
    shapes += [Shape(64, g, c, i) for g in (1, 4) for c in (1, 3, 64) for i in (1, 2, 49, 3136)]
    for rows in ROWS_OF:
        for shape in shapes:
            for aligned in (itemsize, 16):
                plan = plan_of(rows, shape, itemsize, aligned, 132, room)
                form, slots = plan.form, plan.threads // plan.lanes
                assert plan.threads <= form.threads
                assert plan.threads % WARP == 0
                assert form.block == (plan.lanes > WARP)
                assert plan.parts * plan.share * slots >= shape.rows
                assert (plan.parts - 1) * plan.share * slots < shape.rows
                if form.planes:
                    assert shape.inner % form.each == 0
                    assert plan.per * plan.sub * form.each >= shape.inner
                    at_once = plan.lanes // plan.sub
                    assert plan.steps // plan.per * at_once >= shape.columns
                else:
                    assert shape.width % form.each == 0
                    assert plan.steps * plan.lanes * form.each >= shape.width
                    assert form.block or plan.steps <= form.kept


@pytest.mark.parametrize(("room", "aligned"), [(CUDA_C, 16), (NUMBA, 0)])
@pytest.mark.parametrize("itemsize", [2, 4, 8])
def test_every_width_takes_every_form(itemsize, room, aligned):
    """Of odd rows, and of multiples of sixteen bytes."""

    def forms(widths):
        shapes = [Shape(9, 1, w, 1) for w in widths] + [Shape(9, 1, 2, w) for w in widths]
        found = {
            (rows, plan_of(rows, each, itemsize, aligned or itemsize, 132, room).form)
            for rows in ROWS_OF
            for each in shapes
        }
        return {(rows, form) for rows, form in found if form.each in (1, 16 // itemsize)}

    assert forms([*range(2, 2000), 50_000, 50_001]) == forms(plans.EVERY_WIDTH)


def test_launches_are_as_planned():
    device, case = Device(plan=AS_SHIPPED), case_of("layer norm", (4096, 64), "float32")
    device.results(case)
    assert [call.kernel.name for call in device.calls] == [
        f"onepass_{name}" for name in ("layer_norm_forward", "layer_norm_plain_gradients")
    ] + [JOIN]
    forward, backward, join = device.calls
    assert (forward.grid, forward.block) == ((128,), (256,))  # 8 lanes a row
    assert (backward.grid, backward.block) == ((4,), (256,))  # of 32 rows a place
    assert (join.grid, join.block) == ((2, 2), (plans.JOINED**2,))


# --- planted mistakes -----------------------------------------------------------------------------
ROW = "norm"  # stands in the name of every kernel but the last
MISTAKES = {  # what is there, what is there instead, a case
    "the sum of a lane alone": ("BLOCK ? WARP : lanes", "1", "some lanes"),
    "the sum of a warp alone": ("sums[n] += parts[n][i]", ";", "a block"),
    "a row's items that are not read again": ("walk0(p, item(x_row", "if (0) walk0(p, item(x_row",
                                              "a block that reads again"),
    "another row's vector": ("gamma_row + p.column", "gamma_row", "a warp"),
    "another group's vector": (" + base", "", "planes"),
    "sums of one place": ("values[j] = room[j * THREADS + t];", ";", "some lanes"),
    "sums of the first row alone": ("n ? at[j] + terms[m][j] : terms[m][j]", "terms[m][j]",
                                    "a block that reads again"),
    "sums of a part alone": ("own[m][k] = 0", "own[m][k] += 0", "a warp"),
    "a plane's sum of a lane alone": ("across_lanes<Sum>(own[m], sub)", "own[m]", "planes"),
    "a plane's sum of a warp alone": ("if (BLOCK && sub > WARP)", "if (0)", "planes of a block"),
    "a column of another": ("column += s.lanes / s.sub", "column += 1",
                            "planes of a block's warps"),
    "numbers of another row": ("rows + row]", "rows]", "a block"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_caught(mistake):
    right, wrong, name = MISTAKES[mistake]
    case, edited = made(name), []

    def edit(symbol, text):
        edited.append(ROW in symbol and right in text)
        return text.replace(right, wrong) if edited[-1] else text

    device = Device(edit=edit, order="reverse")
    with pytest.raises(AssertionError, match="off"):
        device.prove_case(case)
    assert any(edited)


def test_a_part_that_is_not_added_is_caught():
    edit = planted(JOIN, "k < count", "k < count - 1")
    with pytest.raises(AssertionError, match="dgamma"):
        Device(edit=edit).prove_case(made("a warp"))


def test_only_the_text_that_ships_is_proven(monkeypatch):
    noted = []
    monkeypatch.setattr(proof, "note", lambda *each: noted.append(each))
    Device(edit=lambda name, text: f"{text}\n").prove_case(made("a thread a row"))
    assert noted == []
    Device().prove_case(made("a thread a row"))
    names = ("layer_norm_forward", "layer_norm_plain_gradients", JOIN)
    assert set(noted) == {(proof.HOST, "cupy", name, "float32") for name in names}


# --- sanitizers -----------------------------------------------------------------------------------
VARIANTS = {  # so that each kernel is there
    "some lanes": (20, 8), "a block": (5, 290), "a block that reads odd rows again": (2, 401),
    "planes of a block's warps": (2, 40, 35),
}  # fmt: skip


def variant(name, dtype):
    of, _, groups = CASES[name]
    return case_of(of, VARIANTS[name], dtype, **({"groups": groups} if groups else {}))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_clean_under_the_sanitizers(name, dtype, kind):
    dry = Device("")
    dry.results(variant(name, dtype))
    compile_all(kind, (each.kernel for each in dry.calls))
    device = Device(kind, order="reverse" if kind == "asan" else 0)
    device.prove_case(variant(name, dtype))


def test_there_is_every_kernel():
    launched = set()
    for name in VARIANTS:
        device = Device("")
        device.results(variant(name, "float32"))
        launched |= {kernel for kernel, _ in device.launched}
    assert launched == {*ROWS, JOIN}


@pytest.mark.parametrize(
    ("kind", "name", "mistake", "words"),
    [
        ("tsan", "a block", ("    __syncthreads();\n    ALL(n, COUNT) {", "    ALL(n, COUNT) {"),
         "data race"),
        ("tsan", "a block", ("turn ^= 1", "turn"), "data race"),
        ("tsan", "some lanes", ("            __syncthreads();\n            if (t < half)",
                                "            if (t < half)"), "data race"),
        ("asan", "a block", ("return column < s.columns;", "return true;"),
         "heap-buffer-overflow"),
        ("asan", "planes of a block's warps", ("inside < s.inner", "true"), "heap-buffer-overflow"),
    ],
)  # fmt: skip
def test_a_sanitizer_sees_a_planted_mistake(kind, name, mistake, words):
    kind, right, wrong = usable(kind), *mistake
    device = Device("", edit=lambda symbol, text: text.replace(right, wrong))
    device.results(variant(name, "float32"))
    reports = []
    for call in device.calls:
        assert right not in call.kernel.text
        (outcome,) = sanitize(kind, [call])
        reports.append(outcome.report)
    assert any(words in report for report in reports)
