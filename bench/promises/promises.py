"""What this library promises of its speed, and whether a report keeps it.

Each is a ratio of medians that took turns in one process. What a report did not measure, it does
not judge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..cases.batch_norm import BLOCKS, CHANNELS_LAST, DENSE, IMAGES, LARGE, TALL
from ..cases.sizes import BESIDE_PRODUCT, BUSY, ESTIMATORS, STEPS
from ..cases.steps import CASES
from ..cases.tables import SPARSE
from ..measuring.measurement import Measurement
from ..report.fits import last_score, pairs
from ..report.record import Report
from ..workloads.training.busy import SITUATIONS
from ..workloads.training.estimators import ONE_THREAD
from .gpu_promises import gpu_promises
from .promise import Paths, Promise, between, ratio, row, seconds
from .rank_promises import counted_promises, rank_promises

SEEDS = 3
"""Trainings of which a standard error says something, at least."""


def promises() -> Iterator[Promise]:
    """Every one of them."""
    yield from _steps()
    yield from _batch_norm()
    yield from _training()
    yield from _busy()
    yield from _estimators()
    yield from rank_promises()
    cached = ("first-call", "import and adam step", "new process")
    yield Promise("import and first step, cached: s", (cached,), seconds("onepass", 1), 1, True)
    yield from gpu_promises()


def _steps() -> Iterator[Promise]:
    def at(label: str, name: str = "adam") -> tuple[tuple[str, str, str]]:
        return (("steps", name, label),)

    yield Promise("adam 1e7: NumPy / fused", at("1e7"), ratio("array", "numba"), 10)
    yield Promise("adam 1e7: limit / fused", at("1e7"), ratio("limit", "numba"), 0.95)
    yield Promise("adam 1e3: whole call, us", at("1e3"), seconds("numba", 1e6), 5, True)
    yield Promise("adam 1e6: DeepSpeed / fused", at("1e6"), ratio("deepspeed", "numba"), 1.05)
    for name in CASES:
        for label, size in STEPS.items():
            need = 3.0 if 1e3 <= size <= 1e4 else 2.0 if size == 1e5 else 1.0
            yield Promise(
                f"{name} {label}: best peer / fused", at(label, name), ratio("peer", "numba"), need
            )
    for label in BESIDE_PRODUCT:
        alone, after, single = (
            ("beside-blas", f"adam {situation}", label)
            for situation in ("alone", "after a product", "after a product on one thread")
        )
        what = "after a product / alone"
        yield Promise(f"adam {label}: {what}", (after, alone), between("numba"), 1.5, True)
        yield Promise(f"  its limit {label}: {what}", (after, alone), between("limit"), None, True)
        what = f"adam {label}: after a product on all / on 1 thread"
        yield Promise(what, (after, single), between("numba"), 1.5, True)


def _batch_norm() -> Iterator[Promise]:
    for case in (*IMAGES, *DENSE, *CHANNELS_LAST):
        for what, need in (("forward", 3.0), ("forward+backward", 2.5)):
            bound: float | None = None if case in CHANNELS_LAST else need
            if case in DENSE:
                bound = None if what == "forward" else 3.0
            at = (("batch-norm", what, case.name),)
            yield Promise(
                f"{case.name} {what}: PyTorch / fused", at, ratio("torch", "numba"), bound
            )
            if case in IMAGES:
                yield Promise(f"{case.name} {what}: NumPy / fused", at, ratio("array", "numba"), 8)
    for case in TALL:
        at, what = (("batch-norm", "forward+backward", case.name),), "forward+backward"
        yield Promise(f"{case.name} {what}: PyTorch / fused", at, ratio("torch", "numba"), 2.0)
    for case in BLOCKS:
        what = "forward+backward residual relu"
        at = (("batch-norm", what, case.name),)
        yield Promise(f"{case.name} {what}: PyTorch / fused", at, ratio("torch", "numba"), 1.5)
        yield Promise(f"{case.name} {what}: apart / fused", at, ratio("apart", "numba"), None)
    for first, last in zip(IMAGES, CHANNELS_LAST, strict=True):
        for what in ("forward", "forward+backward"):
            both = (("batch-norm", what, last.name), ("batch-norm", what, first.name))
            yield Promise(f"{last.name} {what}: last / first", both, between("numba"), 1.3, True)
    for case in (*LARGE, *IMAGES):
        for what in ("forward", "backward"):
            at = (("batch-norm", what, case.name),)
            share = 0.8 if case in LARGE else None
            yield Promise(f"{case.name} {what}: limit / fused", at, ratio("limit", "numba"), share)


def _training() -> Iterator[Promise]:
    for batch, jax, torch, floor in ((128, 1.5, 2.2, 0.75), (16, 1.9, 5.0, 0.6)):
        at, what = (("training", "epoch", f"mnist, batch {batch}"),), f"MNIST epoch, batch {batch}"
        yield Promise(f"{what}: JAX's scan / onepass", at, ratio("jax scan", "onepass"), jax)
        yield Promise(f"{what}: PyTorch / onepass", at, ratio("torch fused", "onepass"), torch)
        yield Promise(f"{what}: products / onepass", at, ratio("product", "onepass"), floor)


def _busy() -> Iterator[Promise]:
    quiet, *busy = (("busy", name, f"{BUSY} samples, batch 128") for name in SITUATIONS)
    needs: dict[str, float] = {"beside a loop": 2.2, "beside NumPy": 3.3}
    for at in busy:
        name, need = at[1], needs.get(at[1])
        yield Promise(f"epoch {name} / quiet", (at, quiet), between("onepass"), need, True)
        for what, path in (("JAX's scan", "jax scan"), ("PyTorch", "torch fused")):
            least = None if need is None else 1.0
            yield Promise(f"epoch {name}: {what} / onepass", (at,), ratio(path, "onepass"), least)


def _estimators() -> Iterator[Promise]:
    """Seconds an epoch of scikit-learn's over ours, on as many threads as are best for it."""

    def value(paths: Paths) -> tuple[float, list[Measurement]]:
        theirs = min((paths["sklearn"], paths[ONE_THREAD]), key=lambda one: one.timing.median)
        return theirs.timing.median / paths["onepass"].timing.median, [theirs, paths["onepass"]]

    needs: dict[str, float] = {**dict.fromkeys(ESTIMATORS, 2.0), "mnist": 3.0, SPARSE: 1.0}
    for data, need in needs.items():
        at = (("estimators", data, "an epoch"),)
        yield Promise(f"{data}: epochs, MLP / Net", at, value, need)


def judged(report: Report) -> list[dict[str, Any]]:
    """The promises that `report` can judge, as rows: figure, value, bound, reached, seconds."""
    found = {
        (one.device.partition(":")[0], *one.workload[:3]): paths
        for paths in report.workloads()
        for one in [next(iter(paths.values()))]
        if one.dtype == "float32"
    }
    rows = []
    for promise in promises():
        keys = ((promise.device, *workload) for workload in promise.workloads)
        try:
            value, behind = promise.value(*(found[key] for key in keys))
        except KeyError:
            continue
        rows.append(row(promise, value, {one.name: one.timing.median for one in behind}))
    rows += [*_accuracies(report), *_memory(report), *_scores(report), *counted_promises(report)]
    return rows


def _memory(report: Report) -> Iterator[dict[str, Any]]:
    """The peak of a fit on sparse rows, these included, over what rows and network take."""
    held = {
        one.operation: one.memory
        for one in report.measurements
        if (one.section, one.path) == ("estimators", "onepass")
    }
    for one in report.fits:
        beside = held.get(one.data) if (one.data, one.path) == (SPARSE, "onepass") else None
        if beside is not None:
            needed = one.data_bytes + one.network_bytes
            what = Promise(f"{SPARSE}: peak / rows + network", (), ratio("", ""), 1.3, True)
            yield row(what, (one.data_bytes + beside) / needed, {})


def _scores(report: Report) -> Iterator[dict[str, Any]]:
    """How far ours are behind scikit-learn's, beyond the standard error of the difference."""
    for ours, theirs in pairs(report):
        if min(len(ours.scores), len(theirs.scores)) < SEEDS:
            continue
        mine, other = last_score(ours), last_score(theirs)
        behind = other.value - mine.value - math.hypot(mine.error, other.error)
        what = f"{ours.data}: {ours.score} behind beyond an error, points"
        yield row(Promise(what, (), ratio("", ""), 0.0, True), 100 * behind, {})


def _accuracies(report: Report) -> Iterator[dict[str, Any]]:
    """How far the last test accuracies of the same network lie apart."""
    last = {(c.data, c.batch, c.path): c.test_accuracy[-1] for c in report.curves}
    for (data, batch, path), accuracy in last.items():
        other = last.get((data, batch, "torch fused"))
        if path == "onepass" and other is not None:
            what = f"{data}, batch {batch}: accuracy behind PyTorch, points"
            yield row(Promise(what, (), ratio("", ""), 0.3, True), 100 * (other - accuracy), {})
