"""The gate of continuous integration: fast paths must stay fast, whatever the machine.

    python -m onepass.bench.gate

It judges ratios that were measured in one run, so a slow or busy machine slows both sides. The
bounds are far below what is promised (promises.py) and far above what a path has that lost its
point: noise passes, a kernel that has lost its SIMD or walks memory several times does not. Tests
slow kernels down on purpose and see them stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..kernels import get_num_threads, set_num_threads
from .cases.batch_norm import IMAGES
from .cases.sizes import BESIDE_PRODUCT, STEPS
from .cases.steps import CASES
from .measuring.candidate import Call, Candidate
from .measuring.timing import Effort
from .measuring.workload import Workload, measure
from .workloads.first_call import FirstCall
from .workloads.kernels.batch_norm import Norm
from .workloads.kernels.beside_blas import AFTER, ALONE, BesideProduct
from .workloads.kernels.steps import Step

_EFFORT = Effort(rounds=5, block=4e-3, least=3)
_TRIES = 3  # a bound that is missed in each of them is missed


@dataclass(frozen=True)
class Bound:
    """The least that time of `above` / time of `below` may be in a workload.

    Attributes:
        reference: the workload in which `above` is measured, where it is another one.
    """

    workload: Workload
    above: str
    below: str
    least: float
    reference: Workload | None = None


@dataclass(frozen=True)
class Outcome:
    """A bound and the best ratio of some tries."""

    bound: Bound
    value: float

    @property
    def passed(self) -> bool:
        return self.value >= self.bound.least

    def __str__(self) -> str:
        bound = self.bound
        sign = "ok  " if self.passed else "FAIL"
        what = f"{bound.workload.section} {bound.workload.operation} {bound.workload.label}"
        above = bound.above
        if bound.reference is not None:
            above += f" in {bound.reference.operation}"
        return (
            f"{sign} {what}: {above} / {bound.below} is {self.value:.3g}; "
            f"expected {bound.least:g} or more"
        )


def bounds() -> Iterator[Bound]:
    """In a cache, where threads and memory have no part in it, and at one size far beyond.

    The array path walks memory 3 (SGD) to 18 times (AMSGrad); the fused path at half the limit's
    speed or less has lost its SIMD or takes memory twice. Right after a matrix product a step takes
    twice its time, in colder caches; one whose threads wait for the product's takes 900 times.
    """
    for name, gain in {"sgd": 1.5, "momentum": 2, "rmsprop": 2.5, "adam": 3, "amsgrad": 3}.items():
        yield Bound(_step(name, "1e5"), "array", "numba", gain)
    yield Bound(_step("adam", "1e7"), "array", "numba", 4)
    yield Bound(_step("adam", "1e7"), "limit", "numba", 0.4)
    yield Bound(_step("adam", "1e3"), "array", "numba", 1.5)
    # Of the limit, two cores of an AMD EPYC whose memory is quick beside a core reach 0.35 to 0.4
    # forward and in inference, 0.44 to 0.7 backward; Intel Xeons more than 0.45 in all three. The
    # EPYC's gain backward is 4.3 to 5.4, and 2.8 in phases of slow memory.
    for what, gain, share in (("forward", 4, 0.31), ("backward", 2, 0.4), ("inference", 3, 0.31)):
        yield Bound(Norm(IMAGES[1], what), "array", "numba", gain)
        yield Bound(Norm(IMAGES[1], what), "limit", "numba", share)
    for (label, size), share in zip(BESIDE_PRODUCT.items(), (0.03, 0.1), strict=True):
        alone, after = (BesideProduct(when, label, size) for when in (ALONE, AFTER))
        yield Bound(after, "numba", "numba", share, reference=alone)
    yield Bound(FirstCall("import"), "numpy", "onepass", 0.4)


def alarms() -> Iterator[Bound]:
    """What must be stopped: a step without SIMD, a batch norm that walks memory several times."""
    yield Bound(_SlowStep(CASES["adam"], "1e5", STEPS["1e5"], "float32"), "array", "numba", 3)
    yield Bound(_SlowNorm(IMAGES[1], "forward"), "array", "numba", 4)
    yield Bound(_SlowNorm(IMAGES[1], "backward"), "array", "numba", 2)


class _SlowStep(Step):
    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        return _slowed(super().prepare(paths), times=8)


class _SlowNorm(Norm):
    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        return _slowed(super().prepare(paths), times=6)


def _slowed(candidates: dict[str, Candidate], times: int) -> dict[str, Candidate]:
    """The fused path does its work several times over."""

    def repeated(call: Call) -> Call:
        return lambda: [call() for _ in range(times)]

    fused = candidates["numba"]
    return candidates | {"numba": replace(fused, call=repeated(fused.call))}


def judge(bound: Bound, slowed: bool = False) -> Outcome:
    """The best ratio, measured anew while it is below the bound, a few times at most.

    Where the path was `slowed` down: the worst ratio, measured anew while it is not below.
    """
    found: list[float] = []
    while len(found) < _TRIES:
        found.append(_ratio(bound))
        if (found[-1] >= bound.least) != slowed:
            break
    return Outcome(bound, min(found) if slowed else max(found))


def _ratio(bound: Bound) -> float:
    paths = (bound.above, bound.below) if bound.reference is None else (bound.below,)
    times = {one.path: one.timing.median for one in measure(bound.workload, paths, _EFFORT)}
    below = times[bound.below]
    if bound.reference is not None:
        (one,) = measure(bound.reference, (bound.above,), _EFFORT)
        return one.timing.median / below
    return times[bound.above] / below


def main() -> int:
    """Print every outcome; 1 if a bound was missed, or met by what was slowed down."""
    good = True
    for bound in bounds():
        outcome = judge(bound)
        good &= outcome.passed
        print(outcome, flush=True)
    print("slowed down on purpose, on one thread; each must FAIL:")
    threads = get_num_threads()
    set_num_threads(1)  # many would make up for it
    try:
        for bound in alarms():
            outcome = judge(bound, slowed=True)
            good &= not outcome.passed
            print(outcome, flush=True)
    finally:
        set_num_threads(threads)
    return 0 if good else 1


def _step(name: str, label: str) -> Step:
    return Step(CASES[name], label, STEPS[label], "float32")


if __name__ == "__main__":
    sys.exit(main())
