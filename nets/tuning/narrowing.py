"""A smaller box around good points: each kind of distribution on its own scale."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, floor, log
from typing import Any

from scipy.stats import randint, uniform

from .scales import LayerSizes, OneMinusLogUniform, log_uniform


def narrow(name: str, distribution: Any, best: Sequence[Any], keep: float) -> Any:
    """The part of `distribution` around the values `best`, of the same kind.

    From the smallest to the largest of them, on the distribution's own scale, and at least `keep`
    of the width there was, never beyond its ends. Of a list of choices, those among `best`.

    Raises:
        TypeError: it is none of log_uniform, one_minus_log_uniform, LayerSizes, scipy.stats'
            loguniform, uniform and randint, or a list.
    """
    if isinstance(distribution, (list, tuple)):
        return [choice for choice in distribution if any(choice == value for value in best)]
    if isinstance(distribution, OneMinusLogUniform):
        ends = log(distribution.low), log(distribution.high)
        low, high = _around([log(1 - value) for value in best], *ends, keep)
        return OneMinusLogUniform(exp(low), exp(high))
    if isinstance(distribution, LayerSizes):
        units = [size for sizes in best for size in sizes]
        return LayerSizes(
            _whole([len(sizes) for sizes in best], *distribution.layers, keep),
            _whole(units, *distribution.units, keep),
        )
    kind = getattr(getattr(distribution, "dist", None), "name", "")
    if kind in ("loguniform", "reciprocal", "uniform", "randint"):
        low, high = distribution.support()
        if kind == "uniform":
            low, high = _around(best, low, high, keep)
            return uniform(low, high - low)
        if kind == "randint":
            low, high = _whole(best, low, high, keep)
            return randint(low, high + 1)
        low, high = _around([log(value) for value in best], log(low), log(high), keep)
        return log_uniform(exp(low), exp(high))
    raise TypeError(
        f"the distribution of {name!r} is {distribution!r}; expected a list, log_uniform, "
        "one_minus_log_uniform, LayerSizes, or uniform or randint of scipy.stats"
    )


def _around(values: Sequence[float], low: float, high: float, keep: float) -> tuple[float, float]:
    """The span of `values`, widened evenly to `keep` of high - low, within [low, high]."""
    least, most = min(values), max(values)
    missing = max(0.0, keep * (high - low) - (most - least))
    least, most = least - missing / 2, most + missing / 2
    shift = max(0.0, low - least) - max(0.0, most - high)
    return max(low, least + shift), min(high, most + shift)


def _whole(values: Sequence[int], low: int, high: int, keep: float) -> tuple[int, int]:
    least, most = _around(values, low, high, keep)
    return floor(least), ceil(most)
