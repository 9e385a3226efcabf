"""A rule: what an optimizer computes for one element, written once for every engine.

`Rule.update` is a Python function of scalars. The array engine calls it on whole arrays, the Numba
engines compile it, the CuPy engine translates its statements to C. So it may only hold assignments,
`+ - * /`, `sqrt`, `maximum`, `absolute` and `sign` (imported from NumPy), one `return` of a tuple,
and no numeric literal: a literal is float64 and would promote float32. Constants arrive as
coefficients, worked out once a step in double precision on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from ..backend.checks.numbers import Check, finite_number, flag, non_negative

COMMON: Mapping[str, Check] = {
    "weight_decay": non_negative,
    "decoupled": flag,
    "maximize": flag,
    "grad_scale": finite_number,
}
"""The hyperparameters that every rule has."""


def decayed(p: Any, g: Any, scale: Any, decay: Any, keep: Any) -> tuple[Any, Any]:
    """Before a rule: decoupled weight decay, scaled gradient, L2 weight decay."""
    w = keep * p
    d = scale * g + decay * p
    return w, d


def undecayed(p: Any, g: Any, scale: Any, decay: Any, keep: Any) -> tuple[Any, Any]:
    """The same without the L2 term, which is not 0 but NaN where p is infinite."""
    w = keep * p
    d = scale * g
    return w, d


PRELUDE = ("scale", "decay", "keep")
PLAIN = (1.0, 0.0, 1.0)
"""The prelude coefficients that change nothing."""


def prelude_coefficients(
    lr: float, weight_decay: float, decoupled: bool, maximize: bool, grad_scale: float
) -> tuple[float, float, float]:
    """(scale, decay, keep): the gradient's factor, the L2 factor, the decoupled shrinking."""
    scale = -grad_scale if maximize else grad_scale
    return (scale, 0.0, 1.0 - lr * weight_decay) if decoupled else (scale, weight_decay, 1.0)


@dataclass(frozen=True, eq=False)
class Rule:
    """One optimizer update.

    Attributes:
        name: what engines and errors call it; also the stem of its public function, plus a variant.
        update: (p, g, *state, *coefficients) -> (new p, *new state), for scalars.
        state: names of the state arrays, in the order that `update` takes and returns them.
        prelude: what comes before `update`: (p, g, scale, decay, keep) -> (p, g).
        floor: the least that `update` divides by, an expression of its coefficients such as "eps";
            empty where it divides by nothing.
        coefficients: names of the remaining arguments of `update`.
        arguments: what users call its arrays, in order.
    """

    name: str
    update: Callable[..., tuple[Any, ...]]
    state: tuple[str, ...] = ()
    prelude: Callable[..., tuple[Any, Any]] = decayed
    floor: str = ""
    coefficients: tuple[str, ...] = field(init=False)
    arguments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = self.update.__code__.co_varnames[: self.update.__code__.co_argcount]
        expected = ("p", "g", *self.state)
        if names[: len(expected)] != expected:
            raise TypeError(f"update of rule {self.name} takes {names}; expected {expected} first")
        object.__setattr__(self, "coefficients", names[len(expected) :])
        object.__setattr__(self, "arguments", ("param", "grad", *self.state))

    @cached_property
    def without_decay(self) -> Rule:
        """The same rule for calls without L2 weight decay."""
        return replace(self, prelude=undecayed)

    def prepared(self, *coefficients: float) -> Prepared:
        """The rule with the coefficients of a step: the prelude's, then its own."""
        return (self.without_decay if coefficients[1] == 0.0 else self), coefficients


Prepared: TypeAlias = tuple[Rule, tuple[float, ...]]
"""All of a step that is the same for every array: what to compute, with which numbers; for arrays
in groups, the numbers of one group after those of another (`joined`)."""


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
    width = len(PRELUDE) + len(rule.coefficients)
    return rule, coefficients[group * width : (group + 1) * width]


def groups_of(prepared: Prepared) -> int:
    """Of how many groups these are."""
    rule, coefficients = prepared
    return len(coefficients) // (len(PRELUDE) + len(rule.coefficients))


T = TypeVar("T")


def remembered(checks: Mapping[str, Check], work: Callable[..., T]) -> Callable[..., T]:
    """`work` on checked hyperparameters, by position in the order of `checks`.

    Training repeats the same values, so the results for the last ones are kept.
    """

    def compute(*values: Any) -> T:
        checked = [
            check(name, value) for (name, check), value in zip(checks.items(), values, strict=True)
        ]
        return work(*checked)

    kept = lru_cache(maxsize=128, typed=True)(compute)

    def look_up(*values: Any) -> T:
        try:
            return kept(*values)
        except TypeError:  # an unhashable value (a list of betas), or one of a wrong type
            return compute(*values)

    return look_up
