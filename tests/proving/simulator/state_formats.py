"""Steps on encoded states on Numba's CUDA simulator, as a script."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

from onepass.kernels.state_formats.gpu import numba_cuda_kernels

from proving.host.state_formats import take_steps
from proving.layouts import LAYOUTS
from proving.simulator import simulator
from proving.simulator.simulator import CONTROL, outcome, tell
from proving.simulator.tools import Outcome

MOST_THREADS = 16  # so that threads take several elements of a block
SMALL = dict.fromkeys(LAYOUTS, (2 * 64 + 17, 64))
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
    """Attributes: wrong, whether codes with a sign are decoded to twice what they are."""

    wrong: bool = False

    where: ClassVar[str] = "state_formats.step"

    def _patches(self) -> Iterable[Any]:
        right = numba_cuda_kernels.functions()

        def twice(code: Any, scale: Any) -> Any:
            return right["signed"](code, scale + scale)

        functions = right | ({"signed": twice} if self.wrong else {})
        yield from super()._patches()
        changed = {"MOST_THREADS": MOST_THREADS, "functions": lambda: functions}
        yield mock.patch.multiple(numba_cuda_kernels, **changed)


def check(name: str) -> Outcome:
    """Steps from the public function down to the simulated threads."""
    case = name if name != CONTROL else "adam_f32_f32_q8_q8"
    layout, (size, block) = LAYOUTS[case.split()[0]], CASES[case]
    if not layout.in_blocks:
        block = 256
    device = Simulated(wrong=name == CONTROL)
    return outcome(device, lambda device: take_steps(device, layout, size, block))


if __name__ == "__main__":
    tell(names(), check)
