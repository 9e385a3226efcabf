"""Seeds of random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Made = TypeVar("Made")


def seeded(make: Callable[[Any], Made], seed: Any, name: str = "seed") -> Made:
    """`make(seed)`, such as `numpy.random.default_rng`, whose errors name the argument.

    Raises:
        TypeError, ValueError: `seed` is what `make` refuses.
    """
    try:
        return make(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name} is {seed!r} ({type(seed).__name__}); expected an integer >= 0 ({error})"
        ) from error
