"""Steps on encoded states on Numba's CUDA simulator, as a script."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

from onepass.kernels.state_formats import noise
from onepass.kernels.state_formats.gpu import numba_cuda_kernels

from proving.host.state_formats import take_steps
from proving.layouts import LAYOUTS
from proving.simulator import simulator
from proving.simulator.simulator import CONTROL, outcome, tell
from proving.simulator.tools import Outcome

MOST_THREADS = 16  # so that threads take several elements of a block
SMALL = {name: (2 * 64 + 17, 64) for name in LAYOUTS}
CASES = {
    **SMALL,
    "adam_f32_f32_q8_q8 in blocks of 128": (3 * 128 + 1, 128),
    "adam_b16_b16_q8_q8 of one element": (1, 64),
    "momentum_f32_f32_b16 in several blocks": (4 * 256 + 9, 256),
}


def names() -> list[str]:
    return [*CASES, CONTROL]


@dataclass(frozen=True)
class Simulated(simulator.Simulated):
    where: ClassVar[str] = "state_formats.step"

    def _patches(self) -> Iterable[Any]:
        yield from super()._patches()
        yield mock.patch.object(numba_cuda_kernels, "MOST_THREADS", MOST_THREADS)


def check(name: str) -> Outcome:
    """Steps from the public function down to the simulated threads."""
    case = name if name != CONTROL else "adam_f32_f32_q8_q8"
    size, block = CASES[case]
    if not LAYOUTS[case.split()[0]].in_blocks:
        block = 256

    def held(device: simulator.Simulated) -> None:
        take_steps(device, LAYOUTS[case.split()[0]], size, block)

    wrong = mock.patch.object(noise, "upper", noise.lower)
    with wrong if name == CONTROL else nullcontext():
        return outcome(Simulated(), held)


if __name__ == "__main__":
    tell(names(), check)
