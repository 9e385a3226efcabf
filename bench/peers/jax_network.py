"""The network of section "training" in JAX: its step, an epoch by scan, its right answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from ..cases.trainer import LR
from .jax_steps import BETA1, BETA2, EPS, unbias

MOMENTUM, NORM_EPS = 0.1, 1e-5
Named = dict[str, Any]


class State(NamedTuple):
    """All that a step replaces: parameters and running statistics by name, Adam's, steps done."""

    params: Named
    running: Named
    m: Named
    v: Named
    done: Any


class Functions(NamedTuple):
    """Jitted; the first three take over (donate) the state that they are given.

    Attributes:
        step: (state, rows, labels) -> state, (mean loss, right answers).
        gathered: (state, x, y, numbers) -> likewise, for the rows of x with these numbers.
        epoch: (state, x, y, order) -> likewise for each row of `order`, by one scan.
        right: (params, running, x, y) -> right answers.
    """

    step: Callable[..., Any]
    gathered: Callable[..., Any]
    epoch: Callable[..., Any]
    right: Callable[..., Any]


@cache
def functions() -> Functions:
    """Made once, so that what they compile stays."""
    import jax
    from jax import numpy as jnp

    def hidden(x: Any, k: int, params: Named, mean: Any, var: Any) -> Any:
        gamma, beta = params[f"{k}.gamma"], params[f"{k}.beta"]
        return jax.nn.relu(gamma * (x - mean) * jax.lax.rsqrt(var + NORM_EPS) + beta)

    def loss(params: Named, running: Named, x: Any, y: Any) -> Any:
        found = {}
        for k in (1, 3):
            x = x @ params[f"{k - 1}.weight"]
            mean, var, n = x.mean(0), x.var(0), len(x)
            for name, value in (("mean", mean), ("var", var * n / (n - 1))):
                past = running[f"{k}.running_{name}"]
                found[f"{k}.running_{name}"] = (1 - MOMENTUM) * past + MOMENTUM * value
            x = hidden(x, k, params, mean, var)
        logits = x @ params["4.weight"] + params["4.bias"]
        of_class = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)
        return -of_class.mean(), (found, (logits.argmax(1) == y).sum())

    def step(state: State, x: Any, y: Any) -> tuple[State, Any]:
        every = jax.tree.map
        ask = jax.value_and_grad(loss, has_aux=True)
        (mean, (running, right)), grads = ask(state.params, state.running, x, y)
        done = state.done + 1
        unbias1, unbias2 = unbias(BETA1, done), unbias(BETA2, done)
        m = every(lambda m, g: BETA1 * m + (1 - BETA1) * g, state.m, grads)
        v = every(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, state.v, grads)

        def update(p: Any, m: Any, v: Any) -> Any:
            return p - LR * (m / unbias1) / (jnp.sqrt(v / unbias2) + EPS)

        params = every(update, state.params, m, v)
        return State(params, running, m, v, done), (mean, right)

    def gathered(state: State, x: Any, y: Any, numbers: Any) -> tuple[State, Any]:
        return step(state, x[numbers], y[numbers])

    def epoch(state: State, x: Any, y: Any, order: Any) -> tuple[State, Any]:
        return jax.lax.scan(lambda state, batch: gathered(state, x, y, batch), state, order)

    def right(params: Named, running: Named, x: Any, y: Any) -> Any:
        for k in (1, 3):
            x = x @ params[f"{k - 1}.weight"]
            x = hidden(x, k, params, *(running[f"{k}.running_{s}"] for s in ("mean", "var")))
        return ((x @ params["4.weight"] + params["4.bias"]).argmax(1) == y).sum()

    one, by_number, scan = (jax.jit(f, donate_argnums=0) for f in (step, gathered, epoch))
    return Functions(one, by_number, scan, jax.jit(right))
