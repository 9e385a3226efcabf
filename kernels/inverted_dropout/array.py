"""Engine "array": dropout in NumPy or CuPy expressions, the readable reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array, backend_of
from ..compiling.dtypes import compute_dtype
from .contract import DropoutEngine, Mask
from .philox import HALF, LOW, ROUNDS, philox_round

_round: Any = philox_round


class ArrayDropout(DropoutEngine):
    """Takes any layout."""

    name = "array"

    def run(self, x: Array, y: Array, mask: Mask) -> None:
        dtype = compute_dtype(x.dtype)
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled engines are
            kept = random_bits(backend_of(x).xp, x.size, mask.seed, mask.draw) <= mask.last
            factor = kept.astype(dtype) * np.dtype(dtype).type(mask.scale)
            y[...] = x.astype(dtype, copy=False) * factor.reshape(x.shape)


def random_bits(xp: Any, size: int, seed: int, draw: int) -> Array:
    """The random bits of elements 0 to size - 1: 32-bit numbers, as uint64."""
    calls = xp.arange(-(-size // 4), dtype="uint64")  # of four elements each
    words = calls & LOW, calls >> HALF, *(xp.full_like(calls, half) for half in _halves(draw))
    state = (*words, *_halves(seed))
    for _ in range(ROUNDS):
        state = _round(*state)
    return xp.stack(state[:4]).T.reshape(-1)[:size] & LOW


def _halves(word: int) -> tuple[np.uint64, np.uint64]:
    """The lower and the upper 32 bits of a 64-bit number."""
    return np.uint64(word) & LOW, np.uint64(word) >> HALF
