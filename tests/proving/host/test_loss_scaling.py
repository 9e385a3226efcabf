"""What is decided on a step of a scaled loss: the text that ships, run on the host."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from onepass.kernels.program.stops import NOT_FINITE
from onepass.kernels.rule_engines.cuda_clock import (
    CALLS,
    FACTOR,
    SCALE,
    SINCE,
    STEP,
    STOP,
    STUCK,
    TAKEN,
    WORDS,
)
from onepass.kernels.rule_engines.cupy_pending import decide_kernel

from proving.host import chunks as host_chunks
from proving.host import elementwise as hostcuda
from proving.host.device import planted
from proving.host.elementwise import on_host
from proving.host.graph import clock_of

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
BASE, TAKEN_BEFORE, INTERVAL = 4, 9, 3
LEAST, MOST = 2.0**-64, 2.0**127


@dataclass(frozen=True)
class Device(host_chunks.Device):
    """How the kernel is built and run in the place of a GPU."""

    def decide(self, squares: float, scale: float, since: int, grad_scale: float, clip: float):
        words = np.zeros(WORDS, np.int64)
        words[[SINCE, STUCK, TAKEN, CALLS]] = since, 2, TAKEN_BEFORE, 11
        words.view(np.float64)[SCALE] = scale
        words, clock, taken = on_host(words), clock_of(1, 7, -1.0), on_host(np.array(False))
        total = on_host(np.array(squares))
        with self.running():
            numbers = (*np.array([grad_scale, clip, 4.0, 0.25]), np.int64(INTERVAL), np.int64(BASE))
            decide_kernel()(total, 1, 1, total, *numbers, words, clock, taken)
        return words, clock, bool(taken)


def decided(squares: float, scale: float, since: int, grad_scale: float, clip: float) -> Any:
    """(factor, or None where it is left out; scale, steps since it changed, how often stuck)."""
    norm = math.sqrt(squares) * abs(grad_scale / scale) if squares >= 0 else math.nan
    if not math.isfinite(norm):
        smaller = scale * 0.25
        return (None, scale, since, 3) if smaller < LEAST else (None, smaller, 0, 2)
    factor = grad_scale / scale * min(1.0, clip / norm if norm else 1.0)
    if since + 1 < INTERVAL:
        return factor, scale, since + 1, 2
    return factor, scale * 4 if scale * 4 < MOST else scale, 0, 2


def check_decided(device, *given):
    def check(device):
        words, clock, taken = device.decide(*given)
        factor, *expected = decided(*given)
        found = [float(words.view("float64")[SCALE]), int(words[SINCE]), int(words[STUCK])]
        assert found == expected, "scale, steps since, stuck"
        assert taken == (factor is not None)
        assert words[TAKEN] == TAKEN_BEFORE + taken
        assert words[CALLS] == 12
        assert clock[STOP] == (0 if taken else NOT_FINITE)
        if taken:
            assert clock[STEP] == TAKEN_BEFORE + 1 - BASE
            np.testing.assert_allclose(clock.view("float64")[FACTOR], factor, rtol=1e-15)

    device.prove(check)


@pytest.mark.parametrize("clip", [math.inf, 2.0])
@pytest.mark.parametrize("grad_scale", [1.0, -0.5])
@pytest.mark.parametrize("since", [0, INTERVAL - 1])
@pytest.mark.parametrize("scale", [8.0, LEAST, LEAST * 4, MOST / 4, MOST / 8])
@pytest.mark.parametrize("squares", [0.0, 0.5, 1e4, 1e77, math.inf, math.nan])
def test_what_is_decided(squares, scale, since, grad_scale, clip):
    check_decided(Device(), squares, scale, since, grad_scale, clip)


@pytest.mark.parametrize("squares", [1e4, math.inf])
def test_it_is_decided_cleanly(squares, kind):
    check_decided(Device(kind), squares, 8.0, INTERVAL - 1, 1.0, 2.0)


@pytest.mark.parametrize(
    "mistake",
    [
        ("fabs(factor)", "factor"),
        ("sqrt(*squares)", "*squares"),
        ("norm < INFINITE", "!(norm > MOST)"),
        ("if (larger < MOST) *scale", "*scale"),
        ("++words[SINCE] ==", "words[SINCE]++ =="),
        ("++words[TAKEN] - base", "++words[TAKEN]"),
        ("backoff < LEAST", "backoff < 0"),
        ("    ++words[CALLS];", ""),
        ("grad_scale / *scale;", "grad_scale;"),
    ],
)
def test_a_planted_mistake_in_what_is_decided_is_caught(mistake):
    with pytest.raises(AssertionError):
        check_several(Device(edit=planted("decide", *mistake)))


def check_several(device):
    check_decided(device, 1e4, 8.0, 0, -0.5, 2.0)
    check_decided(device, 1e4, MOST / 4, INTERVAL - 1, 1.0, math.inf)
    check_decided(device, math.nan, 8.0, 0, 1.0, math.inf)
    check_decided(device, math.inf, LEAST, 0, 1.0, math.inf)


def test_what_shows_mistakes_is_right_without_one():
    check_several(Device())
