"""Argument checks: each returns the value as the kernels want it, or raises naming the argument."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from .plain_array import NOT_PLAIN

Check = Callable[[str, Any], Any]

WORD = 1 << 64


def plain_number(value: Any) -> Any:
    """The number in an array of one, such as numpy.array(0.1); anything else as it is.

    Not in a PyTorch tensor: it is looked up by its identity, so that results remembered for it
    would be those of an earlier value.
    """
    if isinstance(value, NOT_PLAIN) or type(value).__hash__ is not None:
        return value
    return value.item() if getattr(value, "shape", None) in ((), (1,)) else value


def finite_number(name: str, value: Any, expected: str = "a finite number") -> float:
    """A finite number of any Python or NumPy type (not a bool), or an array of one, as a float."""
    real = isinstance(value, Real) or isinstance(value := plain_number(value), Real)
    if not real or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); expected {expected}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} is {str(value)[:40]}; expected {expected}")
    return number


def non_negative(name: str, value: Any) -> float:
    """A finite number >= 0."""
    if (number := finite_number(name, value, "a finite number >= 0")) < 0:
        raise ValueError(f"{name} is {value!r}; expected a finite number >= 0")
    return number


def positive(name: str, value: Any) -> float:
    """A finite number > 0."""
    if (number := finite_number(name, value, "a finite number > 0, such as 1e-5")) <= 0:
        raise ValueError(f"{name} is {value!r}; expected a finite number > 0, such as 1e-5")
    return number


def fraction(name: str, value: Any) -> float:
    """A number in [0, 1]."""
    if not 0 <= (number := finite_number(name, value, "a number in [0, 1], such as 0.1")) <= 1:
        raise ValueError(f"{name} is {value!r}; expected a number in [0, 1], such as 0.1")
    return number


def share(name: str, value: Any) -> float:
    """A part that leaves something of the whole: a number in [0, 1)."""
    expected = "a number in [0, 1), such as 0.1"
    if not 0 <= (number := finite_number(name, value, expected)) < 1:
        raise ValueError(f"{name} is {value!r}; expected {expected}")
    return number


def decay_rate(name: str, value: Any) -> float:
    """The weight of the past in an exponentially weighted average: a number in [0, 1)."""
    if not 0 <= (number := finite_number(name, value, "a number in [0, 1)")) < 1:
        raise ValueError(f"{name} is {value!r}; expected a number in [0, 1), such as 0.9")
    return number


def decay_rates(name: str, value: Any) -> tuple[float, float]:
    """A pair of decay rates."""
    if getattr(value, "shape", None) == (2,):
        value = list(value)
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name} is {value!r}; expected a pair of numbers, such as (0.9, 0.999)")
    return decay_rate(f"{name}[0]", value[0]), decay_rate(f"{name}[1]", value[1])


def step_number(name: str, value: Any) -> int:
    """The number of this update, counting from 1."""
    if type(value) is int and 0 < value < 1 << 63:
        return value
    value = plain_number(value)
    if not isinstance(value, Integral) or isinstance(value, bool):
        kind = ValueError if isinstance(value, Real) and not isinstance(value, bool) else TypeError
        raise kind(
            f"{name} is {value!r} ({type(value).__name__}); expected an integer, 1 at the first "
            "update"
        )
    if not 1 <= int(value) < 1 << 63:
        raise ValueError(f"{name} is {value!r}; expected 1 at the first update, then 2, 3, ...")
    return int(value)


def optional_step(name: str, value: Any, needed_by: str) -> int:
    """The number of this update, or 1 where it is None; which `needed_by`, if not "", can't do."""
    if value is not None:
        return step_number(name, value)
    if needed_by:
        raise TypeError(
            f"{name} is None; expected the number of this update, 1 at the first, on which "
            f"{needed_by} depends"
        )
    return 1


def count(name: str, value: Any) -> int:
    """A number of things, at least one."""
    value = plain_number(value)
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(
            f"{name} is {value!r} ({type(value).__name__}); expected an integer, at least 1"
        )
    if int(value) < 1:
        raise ValueError(f"{name} is {value!r}; expected at least 1")
    return int(value)


def random_word(name: str, value: Any) -> int:
    """A word of a random generator: an integer of 64 bits without a sign."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(
            f"{name} is {value!r} ({type(value).__name__}); expected an integer, 0 to 2^64 - 1"
        )
    if not 0 <= int(value) < WORD:
        raise ValueError(f"{name} is {value}; expected 0 to 2^64 - 1")
    return int(value)


def flag(name: str, value: Any) -> bool:
    """True or False (NumPy's count too)."""
    value = plain_number(value)
    if type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); expected True or False")
    return bool(value)


def one_of(*choices: str) -> Check:
    """A check for one of these strings."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}")
        if value not in choices:
            raise ValueError(
                f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}"
            )
        return value

    return check
