"""A rule: what an optimizer computes for one element, written once for every engine.

`Rule.update` is a Python function of scalars. The array engine calls it on whole arrays, the Numba
engines compile it, the CuPy engine translates its statements to C. So it may only hold assignments,
`+ - * /`, `sqrt`, `maximum`, `absolute` and `sign` (imported from NumPy), one `return` of a tuple,
and no numeric literal: a literal is float64 and would promote float32. Constants arrive as
coefficients, worked out once a step in double precision on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, TypeAlias, TypeVar

from numpy import maximum

from ..backend.checks.numbers import Check, finite_number, flag, non_negative

AVERAGE = "average"
"""The state of `Rule.averaged`."""

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


def clipped(
    p: Any, g: Any, scale: Any, decay: Any, keep: Any, minus: Any, lowest: Any
) -> tuple[Any, Any]:
    """`decayed` of a scaled gradient that is held between `lowest` and -`lowest`; minus is -1."""
    w = keep * p
    d = minus * maximum(minus * (scale * g), lowest)
    d = maximum(d, lowest) + decay * p
    return w, d


def averaged(p: Any, average: Any, hold: Any, take: Any) -> tuple[Any]:
    """After a rule: a running average of the new parameters."""
    average = hold * average + take * p
    return (average,)


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
        prelude: what comes before `update`: (p, g, *factors) -> (p, g); the factors begin with
            scale, decay, keep.
        after: None, or what comes after it: (new p, average, *coefficients) -> (new average,), of
            the last state.
        floor: the least that `update` divides by, an expression of its coefficients such as "eps";
            empty where it divides by nothing.
        unsigned: the states that are never negative, and by whose roots or values it divides.
        exact: the states of whose difference it takes a root, of which rounding leaves noise:
            optimizers keep them in float32.
        scalars: names of a step's coefficients in order: of `prelude`, `update`, and `after`.
        arguments: what users call its arrays, in order.
    """

    name: str
    update: Callable[..., tuple[Any, ...]]
    state: tuple[str, ...] = ()
    prelude: Callable[..., tuple[Any, Any]] = decayed
    after: Callable[..., tuple[Any]] | None = None
    floor: str = ""
    unsigned: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    scalars: tuple[str, ...] = field(init=False)
    arguments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names, expected = _names(self.update), ("p", "g", *self.updated)
        if names[: len(expected)] != expected:
            raise TypeError(f"update of rule {self.name} takes {names}; expected {expected} first")
        scalars = (*self.factors, *self.coefficients, *self.last)
        if len({*scalars, *expected}) < len(scalars) + len(expected):
            raise TypeError(f"rule {self.name} has {scalars}; expected a name for each")
        object.__setattr__(self, "scalars", scalars)
        object.__setattr__(self, "arguments", ("param", "grad", *self.state))

    @cached_property
    def updated(self) -> tuple[str, ...]:
        """The states that `update` takes and returns."""
        return self.state if self.after is None else self.state[:-1]

    @cached_property
    def factors(self) -> tuple[str, ...]:
        """Names of the coefficients of `prelude`."""
        return _names(self.prelude)[2:]

    @cached_property
    def coefficients(self) -> tuple[str, ...]:
        """Names of those of `update`."""
        return _names(self.update)[2 + len(self.updated) :]

    @cached_property
    def last(self) -> tuple[str, ...]:
        """Names of those of `after`."""
        return () if self.after is None else _names(self.after)[2:]

    @cached_property
    def clipped(self) -> Rule:
        """The same rule for gradients whose elements are held within a range."""
        return replace(self, name=f"{self.name}-clipped", prelude=clipped)

    @cached_property
    def averaged(self) -> Rule:
        """The same rule, which keeps a running average of the parameters beside its states."""
        state = (*self.state, AVERAGE)
        return replace(self, name=f"{self.name}-averaged", state=state, after=averaged)

    @cached_property
    def without_decay(self) -> Rule:
        """The same rule for calls without L2 weight decay."""
        return replace(self, prelude=undecayed)

    def prepared(self, *coefficients: float) -> Prepared:
        """The rule with the coefficients of a step: the prelude's, then its own."""
        return (self.without_decay if coefficients[1] == 0.0 else self), coefficients


def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    """What the arguments of a function are called."""
    return function.__code__.co_varnames[: function.__code__.co_argcount]


Prepared: TypeAlias = tuple[Rule, tuple[float, ...]]
"""All of a step that is the same for every array: what to compute, with which numbers; for arrays
in groups, the numbers of one group after those of another (groups.py)."""


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
