"""Steps of many arrays in one go: each array is held to the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
from onepass import kernels
from oracles.rules import Rule
from tolerances import assert_step, signed

SIZES = (1, 0, 31, 257, 64, 1023)


def prepared(function: str, options: dict[str, Any]) -> Any:
    """What a step function hands to `launch`: the rule and its coefficients."""
    module = f"onepass.kernels.rules.{function.removesuffix('_step')}"
    with mock.patch(f"{module}.launch") as launched:
        step = getattr(kernels, function)
        arrays = [None] * step.__code__.co_argcount
        step(*arrays, **options)
    return launched.call_args.args[0]


def draw(rule: Rule, dtype: str, sizes: Sequence[int] = SIZES) -> list[dict[str, Any]]:
    """For each size the arrays of a call, by name."""
    rng = np.random.default_rng(5)
    calls = []
    for size in sizes:
        call = {name: signed(rng, size, 0.25, 2.0, dtype) for name in rule.arrays}
        signs = ("param", "grad", "velocity", "m")  # others are sums of squares
        calls.append({name: a if name in signs else np.abs(a) for name, a in call.items()})
    return calls


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
    columns = tuple(tuple(call[name] for call in calls) for name in rule.arrays)
    run(prepared(function, options), columns)

    def as_run(results: Iterable[Any], *arrays: Any, **_: Any) -> None:
        for array, result in zip(arrays, results, strict=True):
            array[...] = to_numpy(result)

    for arrays, stepped in zip(before, calls, strict=True):
        assert_step(partial(as_run, stepped.values()), rule, arrays, options, factor=factor)
