"""Tables of committed results, made whenever the manual is built: no figure is copied by hand.

    <!-- table: peers -->

in a page stands for one of TABLES.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

from onepass.bench.report.ratios import Ratios, ratios
from onepass.bench.report.record import Report, read_report
from onepass.bench.report.words import short_ratio, short_seconds

from .gallery import ROOT

MAIN = "2026-11-21-cpu-intel-xeon-2-cores"
NORMS = "2026-11-30-cpu-amd-epyc-2-cores-norms"
RESIDUAL = "2026-11-30-cpu-amd-epyc-2-cores-batch-norm"
TRAINING = "2026-11-29-cpu-intel-xeon-2-cores-training"
PATHS = {
    "array": "array expressions",
    "tuned": "the same into memory that is there",
    "torch for-loop": "PyTorch, for-loop",
    "torch foreach": "PyTorch, foreach",
    "torch fused": "PyTorch, fused",
    "deepspeed": "DeepSpeed",
    "serial": "onepass, one core",
    "numba": "onepass",
    "limit": "loads and stores alone",
}
TRAINERS = {
    "onepass": "onepass",
    "jax scan": "JAX, jitted scan",
    "jax step": "JAX, jitted step",
    "torch fused": "PyTorch eager, fused Adam",
    "torch compile": "torch.compile",
    "array": "array expressions",
    "product": "its matrix products alone",
}


@cache
def report(name: str) -> Report:
    return read_report(ROOT / "bench" / "results" / f"{name}.json")


def expanded(text: str) -> str:
    """A page with its tables."""
    return re.sub(
        r"^<!-- table: (\S+) -->$", lambda found: TABLES[found[1]](), text, flags=re.MULTILINE
    )


def _of(name: str, section: str) -> list[Ratios]:
    found = ratios(report(name))
    return [one for one in found if one.ours.section == section and one.ours.dtype == "float32"]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], source: str) -> str:
    columns = list(head)
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    hardware = report(source).hardware[0]
    return f"{text}\n\n{hardware}: [{source}.json](../bench/results/{source}.json).\n"


def one_step() -> str:
    """Adam at 1e7: time, passes and bytes of each path."""
    (here,) = (
        one for one in _of(MAIN, "steps") if (one.ours.operation, one.ours.label) == ("adam", "1e7")
    )
    rows = []
    for path, said in PATHS.items():
        if one := here.paths.get(path):
            each = "" if one.moved is None else f"{one.moved / one.size:.0f}"
            passes = "" if one.launches is None else str(one.launches)
            beside = short_ratio(one.timing.median / here.ours.timing.median)
            rows.append((said, short_seconds(one.timing.median), beside, passes, each))
    return _table(
        ("Adam, 1e7 parameters", "time", "beside ours", "passes", "bytes a parameter"), rows, MAIN
    )


def peers() -> str:
    """How many times as fast as the best peer, by rule and size."""
    found: dict[str, dict[str, float | None]] = {}
    for one in _of(MAIN, "steps"):
        found.setdefault(one.ours.operation, {})[one.ours.label] = one.against_peer
    sizes = [size for size in found["sgd"] if size.startswith("1e")]
    rows = (
        (rule, *(short_ratio(line.get(size)) for size in sizes))
        for rule, line in found.items()
        if rule in RULES
    )
    return _table(("rule", *sizes), rows, MAIN)


RULES = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "amsgrad")


def batch_norm() -> str:
    """Times as fast as PyTorch and as array expressions."""
    found: dict[str, dict[str, Ratios]] = {}
    for one in _of(MAIN, "batch-norm"):
        found.setdefault(one.ours.label, {})[one.ours.operation] = one
    both = ("forward", "backward", "forward+backward")
    head = ["x", *(f"PyTorch, {what}" for what in both), *(f"NumPy, {what}" for what in both)]
    rows = [
        (
            shape,
            *(short_ratio(line[what].against_peer) for what in both),
            *(short_ratio(line[what].gain) for what in both),
        )
        for shape, line in found.items()
        if set(both) <= set(line)
    ]
    return _table(head, rows, MAIN)


def residual() -> str:
    """Batch norm with a residual and a ReLU: beside PyTorch's three calls, and ours apart."""
    found = [one for one in _of(RESIDUAL, "batch-norm") if "residual" in one.ours.operation]
    return _beside(found, ("apart", "torch", "limit"), RESIDUAL)


def norms() -> str:
    """Layer, RMS and group norm beside other libraries and the memory's limit."""
    return _beside(_of(NORMS, "norms"), ("array", "tuned", "torch", "jax", "limit"), NORMS)


def _beside(found: Iterable[Ratios], paths: tuple[str, ...], source: str) -> str:
    """Our time, and how many times as long each of `paths` takes."""
    rows = (
        (
            one.ours.operation.removesuffix(" residual relu"),
            one.ours.label,
            short_seconds(one.ours.timing.median),
            *(
                short_ratio(one.paths[path].timing.median / one.ours.timing.median)
                for path in paths
            ),
        )
        for one in found
    )
    said = {"array": "NumPy", "tuned": "NumPy, tuned", "torch": "PyTorch", "jax": "JAX, jitted"}
    said |= {"apart": "onepass, three calls", "limit": "limit"}
    return _table(("", "x", "onepass", *(said[path] for path in paths)), rows, source)


def tensors() -> str:
    """One step over many separate tensors."""
    (here,) = _of(MAIN, "tensors")
    said = PATHS | {"separate": "onepass, as they are", "flat": "onepass, in one buffer"}
    rows = [(said[path], short_seconds(one.timing.median)) for path, one in here.paths.items()]
    return _table(("Adam, 3,000 tensors of 3,500", "time"), rows, MAIN)


def training() -> str:
    """An epoch by each trainer."""
    found = _of(TRAINING, "training")
    rows = [(said, *(_time(one, path) for one in found)) for path, said in TRAINERS.items()]
    return _table(("an epoch of", *(one.ours.label for one in found)), rows, TRAINING)


def _time(one: Ratios, path: str) -> str:
    return short_seconds(one.paths[path].timing.median) if path in one.paths else ""


def busy() -> str:
    """An epoch beside busy processes."""
    found = _of(TRAINING, "busy")
    paths = ("onepass", "jax scan", "torch fused", "sklearn without batch norm")
    rows = ((one.ours.operation, *(_time(one, path) for path in paths)) for one in found)
    return _table(("an epoch of 3,840 samples", *paths), rows, TRAINING)


TABLES: dict[str, Callable[[], str]] = {
    "one-step": one_step,
    "peers": peers,
    "batch-norm": batch_norm,
    "residual": residual,
    "norms": norms,
    "tensors": tensors,
    "training": training,
    "busy": busy,
}
