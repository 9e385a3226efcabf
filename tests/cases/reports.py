"""Synthetic reports: times that follow a model, so that every ratio is known."""

from __future__ import annotations

from functools import cache

import numpy as np
from onepass.bench.cases.ranks import LABEL, PARAMETERS
from onepass.bench.measuring.measurement import Measurement
from onepass.bench.measuring.timing import Timing, timing
from onepass.bench.report.record import Curve, Fitted, Ranked, Report, Skipped

RULES = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "amsgrad")
SIZES = {f"1e{k}": 10**k for k in range(2, 9)}
VALUES = {"sgd": 3, "momentum": 5, "nesterov": 5, "adagrad": 5, "rmsprop": 5, "adam": 7}

# Seconds a call, and seconds a byte that must be moved.
COSTS = {
    "array": (0.5e-6, 16e-10),
    "tuned": (11e-6, 7e-10),
    "serial": (1.5e-6, 1.4e-10),
    "numba": (2.6e-6, 1.05e-10),
    "limit": (0.4e-6, 1e-10),
    "torch fused": (22e-6, 1.5e-10),
    "torch foreach": (60e-6, 6e-10),
}
SHAPES = {
    "(32, 64, 56, 56)": 6_422_528,
    "(64, 256, 14, 14)": 3_211_264,
    "(128, 512, 7, 7)": 3_211_264,
    "(32, 56, 56, 64), channels last": 6_422_528,
    "(4096, 1024)": 4_194_304,
}


@cache
def made_timing(median: float, noise: float = 0.02, blocks: int = 9, seed: int = 0) -> Timing:
    """`blocks` blocks of 5 calls around `median`, each block off by about `noise`."""
    draw = np.random.default_rng(seed)
    return timing(
        [list(median * (1 + noise * draw.standard_normal()) * np.ones(5)) for _ in range(blocks)]
    )


def exact(median: float, blocks: int = 9) -> Timing:
    return Timing(median, median, median, 5 * blocks, (median,) * blocks)


def measurement(path: str, seconds: float | Timing, **changed) -> Measurement:
    """Adam on 1e6 elements, unless told otherwise."""
    given = {
        "section": "steps",
        "operation": "adam",
        "label": "1e6",
        "dtype": "float32",
        "device": "cpu",
        "size": 1_000_000,
        **changed,
    }
    return Measurement(
        path=path, timing=seconds if isinstance(seconds, Timing) else exact(seconds), **given
    )


def small_report(*measurements: Measurement, **changed) -> Report:
    given = {
        "date": "2026-11-21",
        "mode": "quick",
        "versions": {"python": "3.11.7", "onepass": "0.1.0", "numpy": "2.4.6"},
        "hardware": ["cpu: Some Processor, 2 core(s)"],
        **changed,
    }
    return Report(measurements=list(measurements), **given)


def model(path: str, size: int, rule: str = "adam") -> float:
    call, byte = COSTS[path]
    return call + byte * 4 * VALUES.get(rule, 7) * size


def _steps(device: str, rename: dict[str, str]) -> list[Measurement]:
    found = []
    for rule in RULES:
        for label, size in SIZES.items():
            must = 4 * VALUES.get(rule, 7) * size
            moved = {"array": 4 * must, "tuned": 3 * must}
            for k, path in enumerate(COSTS):
                if rename.get(path, path):
                    found.append(
                        measurement(
                            rename.get(path, path),
                            made_timing(model(path, size, rule), seed=k),
                            operation=rule,
                            label=label,
                            size=size,
                            device=device,
                            bytes=must,
                            moved=moved.get(path),
                            launches={"array": 12, "tuned": 12}.get(path),
                            memory={"array": 4 * size, "tuned": 8 * size}.get(path),
                        )
                    )
    return found


def _norms() -> list[Measurement]:
    return [
        measurement(
            path,
            made_timing(values * 4 * size * byte, seed=3),
            section="batch-norm",
            operation=operation,
            label=label,
            size=size,
            bytes=values * 4 * size,
        )
        for operation, values in (
            ("forward", 3),
            ("forward relu", 3),
            ("backward", 5),
            ("backward relu", 5),
            ("forward+backward", 8),
            ("forward+backward relu", 8),
            ("inference", 2),
        )
        for label, size in SHAPES.items()
        for path, byte in (
            ("array", 9e-10),
            ("numba", 1.2e-10),
            ("limit", 1e-10),
            ("torch", 2.2e-10),
        )
    ]


def _others() -> list[Measurement]:
    rows = []

    def add(section, operation, label, size, **seconds):
        for path, value in seconds.items():
            rows.append(
                measurement(
                    path.replace("_", " "),
                    made_timing(value),
                    section=section,
                    operation=operation,
                    label=label,
                    size=size,
                )
            )

    for tensors in (10, 300, 3000):
        call = 1e-5 * tensors
        add(
            "tensors",
            "adam",
            f"{tensors} x 3500",
            tensors,
            separate=call,
            flat=call / 8,
            array=call * 9,
            torch_foreach=call,
        )
    for size in (30_000, 300_000):
        for operation, slow in (("adam alone", 1), ("adam after a product", 2)):
            add(
                "beside-blas",
                operation,
                f"{size / 10 ** (len(str(size)) - 1):.0f}e{len(str(size)) - 1}",
                size,
                numba=4e-10 * size * slow,
                limit=3e-10 * size * slow,
            )
    add("vectorize", "logistic regression", "1000 x 64", 64_000, loop=2.1, array=8e-3, numba=2.4e-3)
    for operation, value in (("import", 0.31), ("adam cold", 1.6), ("adam cached", 0.62)):
        add("first-call", operation, "", 0, onepass=value)
    for n in (1, 8, 64, 512):
        add("growth", "adam by tensors", f"{n} tensors", n, separate=3e-6 * n, flat=4e-6 + 1e-8 * n)
        add(
            "growth",
            "batch norm by channels",
            f"{n} channels",
            n,
            numba=2e-5 * n**0.98,
            array=1e-4 * n,
        )
    add(
        "training",
        "epoch",
        "mnist, batch 128",
        60_000,
        onepass=0.38,
        array=0.57,
        jax_scan=0.71,
        torch_fused=0.66,
        product=0.28,
    )
    for part, value in (("products", 8e-5), ("batch norm", 3e-5), ("whole step", 14e-5)):
        add("step-parts", "step of batch 128", part, 128, captured=value, plain=2 * value)
    for situation, slow in (("quiet", 1), ("beside a loop", 2)):
        seconds = {"onepass": 0.03 * slow, "jax_scan": 0.05 * slow**2, "torch_fused": 0.1 * slow**3}
        add("busy", situation, "3840 samples, batch 128", 3840, **seconds)
    for data, second in (("digits", 1.2e-3), ("wine", 2e-4)):
        for path, slow in (("onepass", 1), ("sklearn", 4), ("sklearn one thread", 3)):
            rows.append(
                measurement(
                    path,
                    second * slow,
                    section="estimators",
                    operation=data,
                    label="an epoch",
                    size=1347,
                    memory=640_000 if slow != 3 else None,
                )
            )
    return [*rows, *_ranks()]


def _ranks() -> list[Measurement]:
    """Two ranks on a link of 5 us and 2 GB/s, and cores of 50 GFLOP/s and 28 GB/s."""
    found = {
        ("training step", LABEL, 512): {
            "alone": 8e-3,
            "alone, one thread": 13e-3,
            "1 rank": 8.1e-3,
            "2 ranks": 8.8e-3,
            "2 ranks, sharded": 8.7e-3,
        },
        ("meeting", "7 numbers", 7): {"2 ranks": 10e-6},
        ("exchange", "1e4", 10_000): {"2 ranks": 30e-6},
        ("exchange", "1e6", 10**6): {"2 ranks": 2.01e-3},
        ("exchange", "1e7", 10**7): {"2 ranks": 25e-3},
        ("update", "the network", PARAMETERS): {"alone, one thread": 28 * PARAMETERS / 28e9},
        ("update", "1e7", 10**7): {"alone, one thread": 10e-3},
        ("overlap", "4e6", 4 * 10**6): {
            "exchange": 10e-3,
            "compute": 12e-3,
            "one after another": 22e-3,
            "at once": 21e-3,
            "polled": 17e-3,
        },
    }
    return [
        measurement(path, seconds, section="ranks", operation=what, label=label, size=size)
        for (what, label, size), paths in found.items()
        for path, seconds in paths.items()
    ]


def _ranked() -> list[Ranked]:
    whole = 4 * PARAMETERS
    return [
        Ranked(
            n,
            sharded,
            PARAMETERS,
            2 * (n - 1) * whole // n,
            1,
            whole,
            whole,
            2 * whole // (n if sharded else 1),
            whole // n,
        )
        for n in (2, 4)
        for sharded in (False, True)
    ]


def _fits() -> list[Fitted]:
    curves = [[0.98 - 0.1 / k + 0.0025 * (seed - 2) for k in range(1, 11)] for seed in range(5)]
    return [
        Fitted(data, path, 1347, 64, "accuracy", 344_832, 120_160, curves)
        for data in ("digits", "wine")
        for path in ("onepass", "sklearn")
    ]


def _curve(data: str, path: str, second: float) -> Curve:
    epochs = range(1, 11)
    return Curve(
        data=data,
        path=path,
        batch=128,
        loss=[2.0 / k for k in epochs],
        accuracy=[1 - 0.4 / k for k in epochs],
        test_accuracy=[0.985 - 0.4 / k for k in epochs],
        seconds=[second] * 10,
    )


def full_report(gpu: bool = False) -> Report:
    """Everything that a report can hold; with `gpu` also a second device."""
    rename = {"serial": "", "numba": "cupy", "torch foreach": ""}
    return small_report(
        *_steps("cpu", {}),
        *(_steps("cuda:0", rename) if gpu else ()),
        *_norms(),
        *_others(),
        mode="default",
        seconds=312.0,
        curves=[
            _curve(data, path, second * scale)
            for data, scale in (("digits", 0.1), ("mnist", 1))
            for path, second in (("onepass", 0.38), ("array", 0.57), ("torch fused", 0.66))
        ],
        fits=_fits(),
        ranks=_ranked(),
        skipped=[
            Skipped("steps", "deepspeed", 'deepspeed is missing. Remedy: pip install "a[b]"'),
            Skipped("tensors", "deepspeed", 'deepspeed is missing. Remedy: pip install "a[b]"'),
            Skipped("steps", "cupy", "no GPU"),
        ],
        figures=[
            {
                "figure": "adam 1e7: NumPy / fused",
                "value": 17.46,
                "at_least": 10,
                "reached": True,
                "seconds": {},
            },
            {
                "figure": "adam 1e3: whole call, us",
                "value": 5.61,
                "at_most": 5.0,
                "reached": False,
                "seconds": {},
            },
            {
                "figure": "  its limit 3e4: after a product / alone",
                "value": 2.0,
                "at_least": None,
                "reached": True,
                "seconds": {},
            },
        ],
    )
