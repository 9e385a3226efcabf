"""The CUDA C text that decides by its gradients on a step of a scaled loss, and on the next scale.

As plain text, so that it can be proven without a GPU.
"""

from __future__ import annotations

from ..program.stops import NOT_FINITE
from .cuda_clock import CALLS, FACTOR, LEAST, MOST, SCALE, SINCE, STEP, STOP, STUCK, TAKEN
from .cuda_text import defines

KERNEL = "scale_decide"

# One thread. `base` steps were taken before that of the table's first row.
_DECIDE = """
extern "C" __global__ void scale_decide(
    const double *squares, const double grad_scale, const double clip_norm, const double growth,
    const double backoff, const long long interval, const long long base, long long *words,
    long long *clock, bool *taken
) {
    double *const scale = (double *)words + SCALE;
    double factor = grad_scale / *scale;
    const double norm = fabs(factor) * sqrt(*squares);
    const bool finite = norm < INFINITE;
    if (finite) {
        if (norm > clip_norm) factor = factor * clip_norm / norm;
        if (++words[SINCE] == interval) {
            const double larger = *scale * growth;
            if (larger < MOST) *scale = larger;
            words[SINCE] = 0;
        }
        clock[STEP] = ++words[TAKEN] - base;
        ((double *)clock)[FACTOR] = factor;
    } else if (*scale * backoff < LEAST) {
        ++words[STUCK];
    } else {
        *scale *= backoff;
        words[SINCE] = 0;
    }
    clock[STOP] = finite ? 0 : NOT_FINITE;
    ++words[CALLS];
    *taken = finite;
}
"""

_NUMBERS = {
    "STEP": STEP, "STOP": STOP, "FACTOR": FACTOR, "NOT_FINITE": NOT_FINITE,
    "SCALE": SCALE, "SINCE": SINCE, "STUCK": STUCK, "TAKEN": TAKEN, "CALLS": CALLS,
    "LEAST": LEAST, "MOST": MOST, "INFINITE": "(1.0 / 0.0)",
}  # fmt: skip


def decide() -> str:
    """scale_decide(squares, grad_scale, clip_norm, growth, backoff, interval, base, words, clock,
    taken)."""
    return f"{defines(_NUMBERS)}{_DECIDE}"
