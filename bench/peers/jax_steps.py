"""Optimizer steps in JAX, jitted, on flat arrays of its own that each step takes over (donated)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from ...backend import Array
from ..measuring.candidate import Candidate
from ..measuring.why_missing import EXTRA

RULES = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw")
MOMENTUM, ALPHA, BETA1, BETA2, WEIGHT_DECAY = 0.9, 0.99, 0.9, 0.999, 1e-2
EPS, ADAGRAD_EPS = 1e-8, 1e-10


def why_no_jax(device: str = "cpu") -> str:
    """Why JAX can't be measured on `device`; "" if it can."""
    if find_spec("jax") is None:
        return f"jax is missing. Remedy: {EXTRA}"
    return "" if device == "cpu" else "JAX is measured on the CPU alone"


def why_no_jax_step(rule: str, device: str, dtype: str) -> str:
    """Why JAX can't step by `rule` on such arrays; "" if it can."""
    if reason := why_no_jax(device):
        return reason
    if rule not in RULES:
        return f"{rule} is not written in JAX"
    if dtype != "float32":
        return f"JAX computes {dtype} in float32, unless the whole process is set otherwise"
    return ""


def jax_step(rule: str, arrays: tuple[Array, ...], options: Mapping[str, Any]) -> Candidate:
    """JAX's step on copies of `arrays`, which `reset` takes anew and `after` writes back to."""
    import jax

    cpu = jax.local_devices(backend="cpu")[0]
    step, lr = _jitted(rule), np.float32(options["lr"])
    state: dict[str, Any] = {}

    def reset() -> None:
        state["grad"] = jax.device_put(arrays[1].copy(), cpu)
        own = (arrays[0], *arrays[2:], np.float32(options.get("step", 1) - 1))
        state["own"] = tuple(jax.device_put(np.array(each), cpu) for each in own)

    def call() -> None:
        state["own"] = jax.block_until_ready(step(state["own"], state["grad"], lr))

    def after() -> None:
        own = state["own"][:-1]
        for array, found in zip((arrays[0], *arrays[2:]), own, strict=True):
            array[...] = found

    reset()
    return Candidate(call, reset, after=after)


@cache
def _jitted(rule: str) -> Callable[..., tuple[Any, ...]]:
    """(param, *states, steps done), grad, lr -> the first of these after the step."""
    import jax

    update = {
        "nesterov": partial(_momentum, nesterov=True),
        "adamw": partial(_adam, weight_decay=WEIGHT_DECAY),
    }.get(rule) or globals()[f"_{rule}"]

    def step(own: Any, grad: Any, lr: Any) -> Any:
        *values, done = own
        return (*update(*values, grad, lr, done + 1), done + 1)

    return jax.jit(step, donate_argnums=0)


def _sgd(p: Any, g: Any, lr: Any, count: Any) -> Any:
    return (p - lr * g,)


def _momentum(p: Any, velocity: Any, g: Any, lr: Any, count: Any, nesterov: bool = False) -> Any:
    velocity = MOMENTUM * velocity + g
    return p - lr * (MOMENTUM * velocity + g if nesterov else velocity), velocity


def _adagrad(p: Any, sum_sq: Any, g: Any, lr: Any, count: Any) -> Any:
    from jax.numpy import sqrt

    sum_sq = sum_sq + g * g
    return p - lr * g / (sqrt(sum_sq) + ADAGRAD_EPS), sum_sq


def _rmsprop(p: Any, square_avg: Any, g: Any, lr: Any, count: Any) -> Any:
    from jax.numpy import sqrt

    square_avg = ALPHA * square_avg + (1 - ALPHA) * g * g
    return p - lr * g / (sqrt(square_avg) + EPS), square_avg


def _adam(p: Any, m: Any, v: Any, g: Any, lr: Any, count: Any, weight_decay: float = 0.0) -> Any:
    from jax.numpy import sqrt

    m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g * g
    unbias1, unbias2 = unbias(BETA1, count), unbias(BETA2, count)
    if weight_decay:
        p = p * (1 - lr * weight_decay)
    return p - lr / unbias1 * m / (sqrt(v) / sqrt(unbias2) + EPS), m, v


def unbias(beta: float, count: Any) -> Any:
    """1 - beta^count, of whose digits float32 loses none."""
    from jax.numpy import expm1

    return -expm1(count * np.log(beta))
