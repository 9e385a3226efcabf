"""What a step is prepared with: changed by options, and joined for groups of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from .rule import Prepared, decayed


class Runs(NamedTuple):
    """Runs of a flat array's elements that are stepped, each with the coefficients of a group.

    Attributes:
        starts, sizes: of each run, in elements, int64.
        groups: the group that each belongs to, int64.
    """

    starts: np.ndarray
    sizes: np.ndarray
    groups: np.ndarray

    def whole(self, size: int) -> bool:
        """Whether it is one run of all elements of an array."""
        return self.sizes.tolist() == [size]


def with_range(prepared: Prepared, most: float) -> Prepared:
    """The same step with gradients whose elements are held between -most and most, after their
    factor and before weight decay."""
    rule, coefficients = prepared
    count = len(rule.factors)
    return rule.clipped, (*coefficients[:count], -1.0, -most, *coefficients[count:])


def with_average(prepared: Prepared, hold: float, take: float) -> Prepared:
    """The same step, which then makes the average hold * average + take * param."""
    rule, coefficients = prepared
    return rule.averaged, (*coefficients, hold, take)


def with_factor(prepared: Prepared, factor: float) -> Prepared:
    """The same step with gradients that many times as large."""
    rule, (scale, *others) = prepared
    return rule, (scale * factor, *others)


def joined(groups: Sequence[Prepared]) -> Prepared:
    """What several groups of arrays are stepped with together.

    The rule with L2 weight decay serves those that have none, too, but for infinite parameters,
    which become NaN.

    Raises:
        ValueError: their rules are different ones.
    """
    if len(groups) == 1:
        return groups[0]
    rule = groups[0][0]
    for other, _ in groups:
        if other.update is not rule.update:
            raise ValueError(
                f"the groups are stepped by the rules {rule.name!r} and {other.name!r}; expected "
                "one rule for all: make an optimizer for each"
            )
        rule = other if other.prelude is decayed else rule
    return rule, tuple(chain.from_iterable(coefficients for _, coefficients in groups))


def of_group(prepared: Prepared, group: int) -> Prepared:
    """What the arrays of one group are stepped with."""
    rule, coefficients = prepared
    width = len(rule.scalars)
    return rule, coefficients[group * width : (group + 1) * width]


def groups_of(prepared: Prepared) -> int:
    """Of how many groups these are."""
    rule, coefficients = prepared
    return len(coefficients) // len(rule.scalars)
