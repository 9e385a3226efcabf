"""The figures of the optimizer steps: gain, limit, small calls, beside a product, PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..backend import get_backend
from .cases import CASES, assert_same
from .limits import mover
from .peers import torch_steps
from .row import Row, row
from .sizes import BESIDE_PRODUCT, SWEEP
from .timing import interleaved


def rule_figures() -> Iterator[Row]:
    """Yield one row a figure: what, the ratio, what it must reach, and the medians behind it."""
    cpu = get_backend("cpu")
    for case in CASES.values():
        assert_same(case, 100_003, "float32", cpu, "numba")
    yield from _against_numpy_and_limit()
    yield from _small_call()
    yield from _beside_a_product()
    yield from _against_torch()


def idiomatic_adam(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray) -> None:
    """Adam as a reader of the paper writes it in NumPy."""
    t, lr, beta1, beta2, eps = 10, 1e-4, 0.9, 0.999, 1e-8
    m[:] = beta1 * m + (1 - beta1) * g
    v[:] = beta2 * v + (1 - beta2) * g**2
    mhat = m / (1 - beta1**t)
    vhat = v / (1 - beta2**t)
    p -= lr * mhat / (np.sqrt(vhat) + eps)


def _against_numpy_and_limit() -> Iterator[Row]:
    adam, size = CASES["adam"], SWEEP["1e7"]
    arrays = adam.arrays(size, "float32", get_backend("cpu"))
    mine, theirs = (adam.arrays(1000, "float32", get_backend("cpu")) for _ in range(2))
    adam.call(mine, "numba")()
    idiomatic_adam(*theirs)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    times = interleaved(
        {
            "numpy": lambda: idiomatic_adam(*arrays),
            "fused": adam.call(arrays, "numba"),
            "limit": mover(adam.arrays(size, "float32", get_backend("cpu"), seed=1)),
        },
        rounds=15,
        block=0.03,
    )
    fused = times["fused"].median
    yield row("adam 1e7: NumPy / fused", times["numpy"].median / fused, 10, times, False)
    yield row("adam 1e7: limit / fused", times["limit"].median / fused, 0.95, times, False)


def _small_call() -> Iterator[Row]:
    adam = CASES["adam"]
    call = adam.call(adam.arrays(1000, "float32", get_backend("cpu")), "auto")
    times = interleaved({"fused": call}, rounds=15, pause=0.0)
    yield row("adam 1e3: whole call, us", times["fused"].median * 1e6, 5.0, times, True)


def _beside_a_product() -> Iterator[Row]:
    """The step and the limit, each alone, after a product, and after one on a single BLAS thread.

    A product also pushes the arrays and the interpreter out of the core's own caches. The product
    on one thread does the same without a second thread pool, so it shows what is left to blame on
    threads; the limit shows what the caches cost a loop that only loads and stores.
    """
    from threadpoolctl import threadpool_limits

    adam, cpu = CASES["adam"], get_backend("cpu")
    draw = np.random.default_rng(0)
    left = draw.standard_normal((256, 784), dtype="float32")
    right = draw.standard_normal((784, 256), dtype="float32")
    out = np.empty((256, 256), dtype="float32")

    def product() -> None:
        np.matmul(left, right, out=out)

    for label, size in BESIDE_PRODUCT.items():
        calls = {
            "fused": adam.call(adam.arrays(size, "float32", cpu), "auto"),
            "limit": mover(adam.arrays(size, "float32", cpu, seed=1)),
        }
        alone = interleaved(calls, rounds=15)
        after = interleaved(calls, rounds=15, before=product)
        with threadpool_limits(1, "blas"):
            single = interleaved(calls, rounds=15, before=product)
        times = {
            f"{name} {how}": timing
            for how, timings in (("alone", alone), ("after", after), ("after, 1 thread", single))
            for name, timing in timings.items()
        }
        ratio = after["fused"].median / alone["fused"].median
        limit = after["limit"].median / alone["limit"].median
        threads = after["fused"].median / single["fused"].median
        yield row(f"adam {label}: after a product / alone", ratio, 1.5, times, True)
        yield row(f"  its limit {label}: after a product / alone", limit, None, times, True)
        yield row(f"adam {label}: after a product on 2 / on 1 thread", threads, 1.5, times, True)


def _against_torch() -> Iterator[Row]:
    try:
        import torch
    except ImportError:
        return
    for name, case in CASES.items():
        for label, size in SWEEP.items():
            arrays = case.arrays(size, "float32", get_backend("cpu"))
            peers = torch_steps(name, arrays)
            calls: dict[str, Callable[[], Any]] = {"onepass": case.call(arrays, "auto"), **peers}
            with torch.no_grad():
                times = interleaved(calls, rounds=11 if size < 1e7 else 7)
            best = min(times[peer].median for peer in peers)
            need = 3.0 if size <= 1e4 else 2.0 if size <= 1e5 else 1.0
            yield row(
                f"{name} {label}: PyTorch's best / onepass",
                best / times["onepass"].median,
                need,
                times,
                False,
            )
