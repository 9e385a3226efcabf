"""Dropout's test cases, and the check that holds a result to the oracle."""

from __future__ import annotations

import numpy as np
from oracles import dropout as oracle
from tolerances import assert_close

BIG = {"seed": 0x9E3779B97F4A7C15, "draw": 0xFFFFFFFF00000001}  # all 64 bits count
SEEDS = [{"seed": 0, "draw": 0}, {"seed": 3, "draw": 5}, BIG]


def example(shape, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return np.asarray(rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape)).astype(dtype)


def assert_right(found, x, keep_prob, what="y", **mask):
    """Every element within one rounding of 1 / keep_prob and one of the product."""
    native = x.dtype.newbyteorder("=")
    want = oracle.dropout(x, keep_prob, **mask)
    assert_close(found.astype(native), want, native.name, limit=1.5, what=what)


def halves(words):
    """64-bit numbers of pairs of 32-bit words, the lower first."""
    return [low | high << 32 for low, high in zip(words[::2], words[1::2], strict=True)]
