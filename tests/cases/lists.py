"""Steps of many arrays in one go: each array is held to the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
from onepass import kernels
from oracles.rules import RULES, Rule
from tolerances import assert_step, signed

SIZES = (1, 0, 31, 257, 64, 1023)
SIGNED = ("param", "grad", "velocity", "m", "momentum_buffer", "grad_avg")
"""What may be below 0; other states are sums of squares."""


def prepared(function: str, options: dict[str, Any]) -> Any:
    """What a step function hands to `launch`: the rule and its coefficients."""
    module = f"onepass.kernels.rules.{function.removesuffix('_step')}"
    with mock.patch(f"{module}.launch") as launched:
        rule = RULES[function]
        arrays = dict.fromkeys(rule.arrays_with(options), ())
        rule.call(getattr(kernels, function), arrays, options)
    return launched.call_args.args[0]


def draw(
    rule: Rule, dtype: str, sizes: Sequence[int] = SIZES, options: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """For each size the arrays of a call with these options, by name."""
    rng = np.random.default_rng(5)
    calls = []
    for size in sizes:
        call = {
            name: signed(rng, size, 0.25, 2.0, dtype) for name in rule.arrays_with(options or {})
        }
        calls.append({name: plausible(name, array) for name, array in call.items()})
    return calls


def plausible(name: str, values: Any) -> Any:
    """Of random numbers those of the parameter, the gradient or a state of that name: averages of
    gradients are so small that their squares don't cancel the averages of squares."""
    if name == "grad_avg":
        return values / 8
    return values if name in SIGNED else np.abs(values)


def check(
    run: Callable[[Any, tuple[tuple[Any, ...], ...]], object],
    function: str,
    rule: Rule,
    options: dict[str, Any],
    calls: Sequence[dict[str, Any]],
    factor: float = 1.0,
    to_numpy: Callable[[Any], Any] = np.asarray,
) -> None:
    """Step all calls' arrays by `run`, given the rule and its columns, and look at each."""
    options = options | ({"step": 3} if "step" in rule.options else {})
    before = [{name: np.array(to_numpy(a)) for name, a in call.items()} for call in calls]
    columns = tuple(tuple(call[name] for call in calls) for name in rule.arrays_with(options))
    run(prepared(function, options), columns)

    def as_run(arrays: dict[str, Any], results: dict[str, Any], *_: Any, **named: Any) -> None:
        for name, result in results.items():
            arrays[name][...] = to_numpy(result)

    for arrays, stepped in zip(before, calls, strict=True):
        assert_step(partial(as_run, arrays, stepped), rule, arrays, options, factor=factor)
