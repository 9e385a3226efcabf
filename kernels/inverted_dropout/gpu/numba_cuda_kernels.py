"""The kernel of dropout that Numba compiles for a GPU; names in capitals, `cuda` and `philox_round`
are replaced for each dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..philox import HALF, ROUNDS, philox_round

cuda: Any = None
COMPUTED: Any = np.float32  # what is computed in
LANES = np.uint64(4)


def dropout(x, y, seed, draw, last, scale):
    """A thread takes four neighbouring elements, whose bits are one call of the generator.

    Indices have no sign: for others Numba asks whether they count from the end.
    """
    size, call, step = np.uint64(x.size), np.uint64(cuda.grid(1)), np.uint64(cuda.gridsize(1))
    while call * LANES < size:
        c0, c1, c2, c3, k0, k1 = call, call >> HALF, draw, draw >> HALF, seed, seed >> HALF
        for _ in range(ROUNDS):
            c0, c1, c2, c3, k0, k1 = philox_round(c0, c1, c2, c3, k0, k1)
        bits = np.uint32(c0), np.uint32(c1), np.uint32(c2), np.uint32(c3)
        for lane in range(4):
            i = call * LANES + np.uint64(lane)
            if i < size:
                y[i] = COMPUTED(x[i]) * (scale if bits[lane] <= last else COMPUTED(0))
        call += step
