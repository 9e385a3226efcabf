"""Batch normalization of arrays that threads share: the cases, and all that a step computes."""

from __future__ import annotations

import hashlib

import numpy as np
from onepass import kernels

# shape, channel axis, dtype: all large enough to be shared
SHARED = {
    "many channels": ((8, 96, 48, 48), 1, "float32"),
    "few channels, large slabs": ((3, 2, 601, 499), 1, "float32"),
    "one channel": ((2, 1, 1_000_003), 1, "float32"),
    "one slab a channel": ((5, 300_007), 0, "float32"),
    "channels last": ((16, 60, 61, 31), -1, "float32"),
    "rows": ((20_011, 100), 1, "float32"),
    "few columns": ((700_001, 3), 1, "float32"),
    "float64": ((8, 31, 80, 80), 1, "float64"),
    "float16": ((8, 64, 64, 64), 1, "float16"),
    "float16, channels last": ((16, 64, 64, 66), -1, "float16"),
}


def step(case, engine="numba"):
    """Everything one training step and one of inference compute."""
    running = [case.running_mean.copy(), case.running_var.copy()]
    y, saved = kernels.batch_norm_forward(
        case.x, case.gamma, case.beta, *running, engine=engine, **case.options
    )
    grads = kernels.batch_norm_backward(case.dy, saved, engine=engine)
    plain = kernels.batch_norm_inference(
        case.x, case.gamma, case.beta, *running, engine=engine, **case.options
    )
    return [y, saved.mean, saved.inv_std, *grads, *running, plain]


def digest(results):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in results)).hexdigest()
