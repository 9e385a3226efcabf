"""Adam element by element in Python: what every array expression is there to avoid."""

from __future__ import annotations

from math import sqrt

from ...backend import Array
from .numpy_steps import BETA1, BETA2, EPS, LR, STEP


def adam_loop(param: Array, grad: Array, m: Array, v: Array) -> None:
    """One step, in place; on lists, which Python reads several times as fast as arrays."""
    p, g, first, second = param.tolist(), grad.tolist(), m.tolist(), v.tolist()
    unbias1, unbias2 = 1 - BETA1**STEP, 1 - BETA2**STEP
    for i in range(len(p)):
        first[i] = BETA1 * first[i] + (1 - BETA1) * g[i]
        second[i] = BETA2 * second[i] + (1 - BETA2) * g[i] * g[i]
        p[i] -= LR * (first[i] / unbias1) / (sqrt(second[i] / unbias2) + EPS)
    param[:], m[:], v[:] = p, first, second
