"""Two clocks for one call: how long the GPU works on it, and how long it keeps the host.

A call that is waited for holds both, one behind the other or one beside the other. What a kernel
takes is told by events around many of its launches, which were all asked for before the first one
began: the GPU is kept busy until then, so that the host's time between two launches is no part of
theirs. What a call costs the host is told by many calls that nobody waits for.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from ..measuring.candidate import Call

_TURN = 0.01  # seconds of work that the GPU has in one turn, if the calls are long enough
_MOST = 50  # calls in a turn on the GPU: what it takes in before it makes the host wait
_HOST = 100  # calls in a turn on the host
_HERTZ = 2e9  # about a GPU's clock
_LONGEST = 0.05  # seconds that it is kept busy for
_WAITING = """
extern "C" __global__ void onepass_wait(long long cycles) {
    const long long start = clock64();
    while (clock64() - start < cycles) {}
}
"""


def gpu_seconds(call: Call) -> float:
    """Seconds that the GPU takes for one of many such calls in a row, on the default stream."""
    import cupy

    calls, host = _calls(call)
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    _keep_busy(min(1.5 * host * calls, _LONGEST))
    begin.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    seconds: float = cupy.cuda.get_elapsed_time(begin, end) / 1e3 / calls
    return seconds


def host_seconds(call: Call) -> float:
    """Seconds for which one of many such calls keeps the host, on a GPU that had nothing to do."""
    import cupy

    cupy.cuda.runtime.deviceSynchronize()
    start = time.perf_counter()
    for _ in range(_HOST):
        call()
    seconds = (time.perf_counter() - start) / _HOST
    cupy.cuda.runtime.deviceSynchronize()
    return seconds


def _calls(call: Call) -> tuple[int, float]:
    """How many calls a turn has, and seconds of the host for one of them."""
    import cupy

    cupy.cuda.runtime.deviceSynchronize()
    start = time.perf_counter()
    call()
    host = time.perf_counter() - start
    cupy.cuda.runtime.deviceSynchronize()
    whole = time.perf_counter() - start
    return int(min(max(3, _TURN / whole), _MOST)), host


@cache
def _kernel() -> Any:
    import cupy

    return cupy.RawKernel(_WAITING, "onepass_wait")


def _keep_busy(seconds: float) -> None:
    """Give the GPU so long to do nothing."""
    import numpy as np

    _kernel()((1,), (1,), (np.int64(seconds * _HERTZ),))


def empty_launch() -> Call:
    """A launch of a kernel that does nothing, by CuPy: the least that any call costs."""
    import cupy

    kernel = cupy.RawKernel('extern "C" __global__ void onepass_nothing(float *x) {}',
                            "onepass_nothing")  # fmt: skip
    x = cupy.empty(4, "float32")
    return lambda: kernel((1,), (32,), (x,))
