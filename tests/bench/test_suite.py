"""The suite has what it promises: every section, rule and path, and workloads for every promise."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from cases.reports import measurement, small_report
from onepass.backend import describe_devices
from onepass.bench import command as run
from onepass.bench import suite
from onepass.bench.cases import data_sets as bench_data
from onepass.bench.cases import tables
from onepass.bench.cases.batch_norm import LARGE
from onepass.bench.cases.steps import CASES
from onepass.bench.promises.promises import judged, promises
from onepass.bench.report.ratios import PEERS
from onepass.bench.report.record import Curve
from onepass.bench.suite import (
    MODES,
    ON_A_GPU,
    ON_ANY_DEVICE,
    ON_THE_CPU,
    SECTIONS,
    Choice,
    workloads,
)
from onepass.bench.workloads.training.step_parts import PARTS, WHOLE
from onepass.nets import Dataset

pytest.importorskip("sklearn", reason="digits come from scikit-learn")

pytestmark = pytest.mark.peers
GPU = any(status.available for status in describe_devices() if status.device != "cpu")


made_up, load_digits = cache(suite.made_up), cache(bench_data.load_digits)


@pytest.fixture(autouse=True)
def data(monkeypatch):
    """MNIST is a few rows of nothing; load_mnist calls its data set "MNIST". Lists of workloads
    are made hundreds of times here, and others' data once."""
    x, y = np.zeros((20, 784), "float32"), np.zeros(20, "int64")
    for module in (bench_data, tables):
        monkeypatch.setattr(module, "load_mnist", lambda folder: Dataset(x, y, x, y, 10, "MNIST"))
    monkeypatch.setattr(suite, "made_up", made_up)
    monkeypatch.setattr(bench_data, "load_digits", load_digits)


def everything(mode="full", device="cpu"):
    choice = Choice(mode, device, "folder")
    return [work for section in SECTIONS for work in workloads(section, choice)]


# --- lists ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("section", SECTIONS)
def test_ids_and_records_are_unique_within_a_section(section, mode, device):
    works = workloads(section, Choice(mode, device, "folder"))
    ids = [work.id for work in works]
    assert len(set(ids)) == len(ids)
    assert not any(" " in name for name in ids)
    keys = {(work.operation, work.label, work.dtype) for work in works}
    assert len(keys) == len(works)
    for work in works:
        assert (work.section, work.device) == (section, device)
        assert len(set(work.paths)) == len(work.paths) > 0
        assert work.size > 0


@pytest.mark.parametrize("mode", ["small", "full"])
def test_every_section_has_something_on_the_cpu_or_is_about_gpus(mode):
    for section in SECTIONS:
        assert bool(workloads(section, Choice(mode, "cpu"))) == (section not in ON_A_GPU)


@pytest.mark.parametrize("mode", MODES)
def test_a_gpu_has_the_sections_that_are_not_about_the_cpu(mode):
    for section in ON_THE_CPU:
        assert workloads(section, Choice(mode, "cuda")) == []
    for section in (ON_ANY_DEVICE.keys() | ON_A_GPU.keys()) - {"growth"}:
        assert workloads(section, Choice(mode, "cuda"))
    assert bool(workloads("growth", Choice(mode, "cuda"))) == (mode != "quick")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_full_has_every_rule_in_both_dtypes(device):
    found = {(w.operation, w.dtype) for w in workloads("steps", Choice("full", device))}
    small = {("adam 2-D", "float32"), ("Adam.step", "float32")} if device == "cpu" else set()
    assert found == {(rule, dtype) for rule in CASES for dtype in ("float32", "float64")} | small


@pytest.mark.parametrize("mode", MODES)
def test_steps_on_a_small_matrix_and_of_an_optimizer_are_measured_beside_pytorch(mode):
    found = {w.operation: w for w in workloads("steps", Choice(mode))}
    matrix, optimizer = found["adam 2-D"], found["Adam.step"]
    assert (matrix.label, matrix.shape) == ("20 x 50", (20, 50))
    assert (optimizer.label, optimizer.count, optimizer.length) == ("10 x 100", 10, 100)
    assert {"numba", "torch foreach", "torch fused"} <= set(matrix.paths)
    assert {"separate", "torch foreach", "torch fused"} <= set(optimizer.paths)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("mode", ["small", "default", "full"])
def test_batch_norm_is_measured_both_ways_in_both_dtypes(mode, device):
    found = {(w.operation, w.dtype) for w in workloads("batch-norm", Choice(mode, device))}
    operations = ("forward", "backward", "forward+backward", "inference")
    assert found == {
        (operation + relu, dtype)
        for operation in operations
        for relu in ("", " relu")
        for dtype in ("float32", "float64")
    } | {(f"{operation} residual relu", "float32") for operation in operations[:3]}


@pytest.mark.parametrize("mode", ["quick", "default", "full"])
def test_a_gpu_takes_steps_on_64_million_and_batch_norm_on_the_largest(mode):
    steps = {w.size for w in workloads("steps", Choice(mode, "cuda"))}
    assert 64_000_000 in steps
    norms = {(w.case, w.operation) for w in workloads("batch-norm", Choice(mode, "cuda"))}
    for case in LARGE:
        assert {(case, "forward"), (case, "backward")} <= norms


def test_every_own_path_of_the_steps_is_in_every_length():
    for mode in MODES:
        found = {path for work in workloads("steps", Choice(mode)) for path in work.paths}
        assert {"loop", "array", "tuned", "serial", "numba", "limit"} <= found
        found = {path for work in workloads("steps", Choice(mode, "cuda")) for path in work.paths}
        assert {"array", "tuned", "cupy", "numba-cuda", "limit"} <= found


def test_a_longer_run_measures_at_least_as_much():
    numbers = [len(everything(mode)) for mode in ("quick", "default", "full")]
    assert numbers == sorted(numbers)
    for section in SECTIONS:
        works = [{w.id for w in workloads(section, Choice(mode))} for mode in MODES[1:]]
        assert works[0] <= works[2], section
        assert works[1] <= works[2], section


def test_training_has_mnist_where_its_folder_is_named():
    labels = {work.label for work in workloads("training", Choice("full"))}
    assert labels == {"digits, batch 16", "digits, batch 128"}
    labels |= {"mnist, batch 128", "mnist, batch 16"}
    assert {w.label for w in workloads("training", Choice("full", mnist="folder"))} == labels


@pytest.mark.parametrize("mode", MODES)
def test_training_is_measured_beside_every_library_and_by_torch_compile_where_there_is_time(mode):
    for work in workloads("training", Choice(mode, mnist="folder")):
        assert {"onepass", "array", "jax step", "jax scan", "torch fused"} <= set(work.paths)
        assert {"sklearn without batch norm", "product"} <= set(work.paths)
        assert ("torch compile" in work.paths) == (mode in ("default", "full"))


def test_estimators_are_measured_on_every_table_and_quickly_on_the_small_ones():
    own = ["digits", "breast cancer", "wine", "diabetes", "friedman1"]
    large = ["synthetic 100000 x 50", "text, sparse"]
    for mode, mnist, names in (
        ("quick", "folder", own),
        ("default", None, own + large),
        ("full", "folder", [*own, *large, "mnist"]),
        ("small", None, [f"{name}, a few rows" for name in [*own, "synthetic 600 x 20", large[1]]]),
    ):
        works = workloads("estimators", Choice(mode, mnist=mnist))
        assert [work.operation for work in works] == names
        assert {work.paths for work in works} == {("onepass", "sklearn", "sklearn one thread")}
    seeds = {work.operation: work.case.seeds for work in workloads("estimators", Choice("full"))}
    assert [seeds[name] for name in own] == [5] * len(own)


@pytest.mark.parametrize("mode", MODES)
def test_busy_has_a_quiet_epoch_first_and_ours_beside_two_libraries_in_every_situation(mode):
    works = workloads("busy", Choice(mode))
    assert [work.operation for work in works] == [
        "quiet",
        "beside a loop",
        "beside two loops",
        "beside NumPy",
    ]
    for work in works:
        assert {"onepass", "jax scan", "torch fused"} <= set(work.paths)
        assert (work.label, work.paths) == (works[0].label, works[0].paths)


@pytest.mark.parametrize("mode", MODES[1:])
def test_every_part_of_a_step_is_measured_at_both_batches(mode):
    found = {(work.batch, work.label) for work in workloads("step-parts", Choice(mode))}
    assert found == {(batch, part) for batch in (128, 16) for part in (*PARTS, WHOLE)}


@pytest.mark.skipif(GPU, reason="there is a GPU")
def test_without_a_gpu_every_path_there_has_a_reason_and_none_is_timed(monkeypatch):
    def measure(*arguments):
        raise AssertionError("measured")

    monkeypatch.setattr(run, "measure", measure)
    report = small_report()
    works = everything(device="cuda")
    for work in works:
        assert all(work.missing(path) for path in work.paths), work.id
        run._measure(work, "full", report)
    assert {(one.section, one.path) for one in report.skipped} == {
        (work.section, path) for work in works for path in work.paths
    }
    assert len(set(report.skipped)) == len(report.skipped)


# --- errors ---------------------------------------------------------------------------------------
def test_a_wrong_section_is_told_with_those_there_are():
    with pytest.raises(ValueError, match=r"section is 'step'; expected 'steps', .*'training'"):
        run._sections(["steps", "step"])
    assert run._sections(["training", "steps"]) == ["steps", "training"]
    assert run._sections([]) == list(SECTIONS)


def test_what_takes_long_is_for_full_runs_and_for_those_that_name_it():
    others = [
        name for name in SECTIONS if name not in ("busy", "estimators", "ranks", "state-formats")
    ]
    for mode in ("quick", "default"):
        assert run._sections([], mode) == others
        assert run._sections(["busy", "steps"], mode) == ["steps", "busy"]
    for mode in ("small", "full"):
        assert run._sections([], mode) == list(SECTIONS)


def test_a_wrong_mode_is_told_with_those_there_are():
    with pytest.raises(ValueError, match="mode is 'fast'; expected 'small', 'quick', 'default'"):
        Choice("fast")


# --- promises -------------------------------------------------------------------------------------
SPEED = {"array": 20.0, "loop": 900.0, "tuned": 6.0, "deepspeed": 4.0}
SPEED |= {"sklearn": 5.0, "sklearn one thread": 4.0}


def ideal_seconds(work, path):
    """Microseconds of everything else; of an epoch more is promised beside PyTorch."""
    if path.startswith("torch"):
        return 6e-6 if work.section == "training" else 4e-6
    return 1e-6 * (4.0 if path.startswith("jax") else SPEED.get(path, 1.0))


def ideal():
    """A full run in which ours meets the limit and is far ahead of everything else."""
    return small_report(*ideal_rows())


@cache
def ideal_rows():
    return [
        measurement(
            path,
            ideal_seconds(work, path),
            section=work.section,
            operation=work.operation,
            label=work.label,
            dtype=work.dtype,
            device=work.device,
        )
        for device in ("cpu", "cuda")
        for work in everything(device=device)
        for path in work.paths
    ]


def slowed(report, factor, section, operation, label, path, dtype="float32", device="cpu"):
    """The report with one time changed; it must be there."""
    rows = list(report.measurements)
    (k,) = (
        k
        for k, one in enumerate(rows)
        if (*one.workload, one.path) == (section, operation, label, dtype, device, path)
    )
    rows[k] = replace(rows[k], timing=measurement(path, factor * rows[k].timing.median).timing)
    return small_report(*rows)


def missed(report):
    return {row["figure"] for row in judged(report) if not row["reached"]}


def test_every_promise_is_about_workloads_and_paths_of_the_full_suite():
    """`ideal` holds these alone, so a promise about others would not be judged."""
    works = {
        device: {(w.section, w.operation, w.label) for w in found if w.dtype == "float32"}
        for device, found in ((device, everything(device=device)) for device in ("cpu", "cuda"))
    }
    for promise in promises():
        assert promise.workloads
        assert set(promise.workloads) <= works[promise.device], promise.figure
    assert [row["figure"] for row in judged(ideal())] == [one.figure for one in promises()]


def test_what_is_promised_of_a_gpu_is_measured_in_the_default_length():
    works = {
        (w.section, w.operation, w.label)
        for w in everything("default", "cuda")
        if w.dtype == "float32"
    }
    for promise in promises():
        if promise.device == "cuda":
            assert set(promise.workloads) <= works, promise.figure


def test_names_of_promises_are_unique():
    names = [promise.figure for promise in promises()]
    assert len(set(names)) == len(names)


def test_a_report_that_keeps_every_promise():
    assert missed(ideal()) == set()


@pytest.mark.parametrize(
    ("factor", "where", "figures"),
    [
        (
            3.0,
            ("steps", "adam", "1e7", "numba"),
            {"adam 1e7: NumPy / fused", "adam 1e7: limit / fused"},
        ),
        (
            6.0,
            ("steps", "adam", "1e3", "numba"),
            {"adam 1e3: whole call, us", "adam 1e3: best peer / fused"},
        ),
        (0.2, ("steps", "sgd", "1e2", "torch foreach"), {"sgd 1e2: best peer / fused"}),
        (
            0.2,
            ("steps", "adam", "1e6", "deepspeed"),
            {"adam 1e6: DeepSpeed / fused", "adam 1e6: best peer / fused"},
        ),
        (
            2.0,
            ("beside-blas", "adam after a product", "3e4", "numba"),
            {
                "adam 3e4: after a product / alone",
                "adam 3e4: after a product on all / on 1 thread",
            },
        ),
        (9.0, ("beside-blas", "adam after a product", "3e4", "limit"), set()),  # it only explains
        (
            1.4,
            ("batch-norm", "forward", "(64, 14, 14, 256), channels last", "numba"),
            {"(64, 14, 14, 256), channels last forward: last / first"},
        ),
        (
            0.5,
            ("batch-norm", "backward", "(8, 32, 384, 384)", "limit"),
            {"(8, 32, 384, 384) backward: limit / fused"},
        ),
        (
            0.3,
            ("training", "epoch", "mnist, batch 16", "torch fused"),
            {"MNIST epoch, batch 16: PyTorch / onepass"},
        ),
        (
            0.2,
            ("training", "epoch", "mnist, batch 128", "jax scan"),
            {"MNIST epoch, batch 128: JAX's scan / onepass"},
        ),
        (
            1.5,
            ("training", "epoch", "mnist, batch 128", "onepass"),
            {"MNIST epoch, batch 128: products / onepass"},
        ),
        (
            3.0,
            ("busy", "beside a loop", "3840 samples, batch 128", "onepass"),
            {"epoch beside a loop / quiet"},
        ),
        (
            5.0,
            ("busy", "beside NumPy", "3840 samples, batch 128", "onepass"),
            {
                "epoch beside NumPy / quiet",
                "epoch beside NumPy: JAX's scan / onepass",
                "epoch beside NumPy: PyTorch / onepass",
            },
        ),
        (9.0, ("busy", "beside two loops", "3840 samples, batch 128", "onepass"), set()),
        (
            1.4,
            ("estimators", "mnist", "an epoch", "onepass"),
            {"mnist: epochs, MLP / Net"},
        ),
        (
            0.4,
            ("estimators", "wine", "an epoch", "sklearn one thread"),
            {"wine: epochs, MLP / Net"},
        ),
        (3.0, ("estimators", "synthetic 100000 x 50", "an epoch", "onepass"), set()),
        (
            5.0,
            ("estimators", "text, sparse", "an epoch", "onepass"),
            {"text, sparse: epochs, MLP / Net"},
        ),
        (
            2e6,
            ("first-call", "import and adam step", "new process", "onepass"),
            {"import and first step, cached: s"},
        ),
    ],
)
def test_what_is_too_slow_misses_its_promises_alone(factor, where, figures):
    assert missed(slowed(ideal(), factor, *where)) == figures


@pytest.mark.parametrize(
    ("factor", "where", "figures"),
    [
        (
            1.2,
            ("kernels", "adam", "6.4e7", "cupy"),
            {"GPU adam 6.4e7: copy / fused"},
        ),
        (
            6.0,
            ("kernels", "adam", "6.4e7", "cupy"),
            {
                "GPU adam 6.4e7: copy / fused",
                "GPU adam 6.4e7: PyTorch fused / fused",
                "GPU adam 6.4e7: CuPy / fused",
            },
        ),
        (0.2, ("kernels", "sgd", "6.4e7", "array"), set()),  # whose expressions move too little
        (9.0, ("kernels", "sgd", "6.4e7", "numba-cuda"), set()),  # it is only told
        (0.2, ("kernels", "sgd", "6.4e7", "torch fused"), {"GPU sgd 6.4e7: PyTorch fused / fused"}),
        (
            1.5,
            ("tensors", "adam", "3000 x 3500", "flat"),
            {"GPU 3000 x 3500: PyTorch fused / flat"},
        ),
        (
            5.0,
            ("kernels", "forward", "(128, 256)", "cupy"),
            {"GPU (128, 256) forward: PyTorch / fused", "GPU (128, 256) forward: CuPy / fused"},
        ),
        (
            1.3,
            ("kernels", "backward", "(8, 32, 384, 384)", "cupy"),
            {"GPU (8, 32, 384, 384) backward: copy / fused"},
        ),
    ],
)
def test_what_is_too_slow_on_a_gpu_misses_its_promises_alone(factor, where, figures):
    assert missed(slowed(ideal(), factor, *where, device="cuda")) == figures


def test_a_gpu_keeps_no_promise_of_the_cpu_nor_the_cpu_one_of_a_gpu():
    rows = ideal().measurements
    for device in ("cpu", "cuda"):
        found = judged(small_report(*(one for one in rows if one.device == device)))
        assert [row["figure"] for row in found] == [
            one.figure for one in promises() if one.device == device
        ]
    second = [replace(one, device="cuda:1") for one in rows if one.device == "cuda"]
    assert all(row["figure"].startswith("GPU ") for row in judged(small_report(*second)))


def test_a_row_tells_value_bound_and_times():
    report = slowed(ideal(), 3.0, "steps", "adam", "1e7", "numba")
    (row,) = (row for row in judged(report) if row["figure"] == "adam 1e7: NumPy / fused")
    assert row["value"] == pytest.approx(20 / 3)
    assert (row["at_least"], row["reached"]) == (10, False)
    assert row["seconds"] == {
        "steps adam 1e7 float32 cpu array": pytest.approx(20e-6),
        "steps adam 1e7 float32 cpu numba": pytest.approx(3e-6),
    }
    (row,) = (row for row in judged(report) if row["figure"] == "adam 1e3: whole call, us")
    assert (row["value"], row["at_most"]) == (pytest.approx(1.0), 5)


def test_the_peer_of_a_promise_is_the_quickest_one():
    report = slowed(ideal(), 0.5, "steps", "sgd", "1e8", "torch for-loop")
    (row,) = (row for row in judged(report) if row["figure"] == "sgd 1e8: best peer / fused")
    assert row["value"] == pytest.approx(2.0)


def test_what_was_not_measured_is_not_judged():
    report = ideal()
    rows = [one for one in report.measurements if not one.path.startswith(PEERS)]
    names = {row["figure"] for row in judged(small_report(*rows))}
    assert names == {
        one.figure
        for one in promises()
        if not any(word in one.figure for word in ("PyTorch", "peer", "DeepSpeed", "JAX"))
    }
    assert judged(small_report()) == []


def test_other_dtypes_are_not_judged():
    rows = [one for one in ideal().measurements if one.dtype == "float64"]
    assert rows
    assert judged(small_report(*rows)) == []


def curve(path, last, data="digits", batch=16):
    return Curve(data, path, batch, [1.0, 0.5], [0.5, 0.9], [0.99, last], [1.0, 1.0])


@pytest.mark.parametrize(
    ("ours", "theirs", "value", "reached"),
    [(0.978, 0.980, 0.2, True), (0.976, 0.980, 0.4, False), (0.99, 0.98, -1.0, True)],
)
def test_the_last_test_accuracy_must_be_near_pytorchs(ours, theirs, value, reached):
    curves = [curve("torch fused", theirs), curve("onepass", ours), curve("array", 0.1)]
    (row,) = judged(small_report(curves=curves))
    assert row["figure"] == "digits, batch 16: accuracy behind PyTorch, points"
    assert (row["value"], row["at_most"]) == (pytest.approx(value), 0.3)
    assert row["reached"] is reached


def test_accuracies_of_other_runs_are_not_compared():
    curves = [
        curve("onepass", 0.5),
        curve("torch fused", 0.98, batch=128),
        curve("torch fused", 0.98, data="mnist"),
    ]
    assert judged(small_report(curves=curves)) == []
