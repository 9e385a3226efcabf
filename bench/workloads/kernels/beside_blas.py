"""Section "beside-blas": a step alone, and right after a matrix product.

A product leaves another library's threads spinning, which can stall ours. It also pushes arrays and
the interpreter out of the core's caches: the product on one thread does that alone, and the limit
shows what it costs a loop that only loads and stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import numpy as np

from ...cases.steps import CASES
from ...measuring.candidate import Candidate
from ...measuring.workload import Workload
from .steps import Step

ALONE, AFTER, AFTER_ONE = "alone", "after a product", "after a product on one thread"
_PATHS = ("numba", "limit")


class BesideProduct(Workload):
    """Adam's step in one of the three situations."""

    section = "beside-blas"
    dtype, device = "float32", "cpu"

    def __init__(self, situation: str, label: str, size: int) -> None:
        self.situation, self.operation, self.label = situation, f"adam {situation}", label
        self.step = Step(CASES["adam"], label, size, self.dtype)

    @property
    def size(self) -> int:
        return self.step.size

    @property
    def bytes(self) -> int:
        return self.step.bytes

    @property
    def paths(self) -> tuple[str, ...]:
        return _PATHS

    def missing(self, path: str) -> str:
        if self.situation == AFTER_ONE and find_spec("threadpoolctl") is None:
            return 'threadpoolctl is not installed: pip install "onepass[bench]"'
        return super().missing(path)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        before = {ALONE: None, AFTER: _product(), AFTER_ONE: _product_on_one_thread()}
        return {
            path: replace(candidate, before=before[self.situation])
            for path, candidate in self.step.prepare(paths).items()
        }


def _product() -> Callable[[], object]:
    """256 x 784 x 256, as a training step has it."""
    draw = np.random.default_rng(0)
    left = draw.standard_normal((256, 784), dtype="float32")
    right = draw.standard_normal((784, 256), dtype="float32")
    return partial(np.matmul, left, right, out=np.empty((256, 256), dtype="float32"))


def _product_on_one_thread() -> Callable[[], object]:
    product = _product()

    def run() -> None:
        from threadpoolctl import ThreadpoolController

        with ThreadpoolController().limit(limits=1, user_api="blas"):
            product()

    return run
