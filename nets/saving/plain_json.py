"""Values as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np


def plain(value: Any, name: str) -> Any:
    """`value`, called `name` in errors, as JSON gives it back: tuples become lists.

    NumPy's numbers become Python's.

    Raises:
        TypeError: something in it is not None, a bool, a number, a string, a list or a mapping with
            strings as keys.
        ValueError: a number is not finite, which JSON can't hold.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{name} is {value}; expected finite numbers, as JSON has them")
        return float(value)
    if isinstance(value, (list, tuple)):
        return [plain(each, f"{name}[{k}]") for k, each in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(
                    f"{name} has the key {key!r} ({type(key).__name__}); expected strings, as JSON "
                    "has them"
                )
        return {str(key): plain(each, f"{name}[{key!r}]") for key, each in value.items()}
    raise TypeError(
        f"{name} is {_short(value)} ({type(value).__name__}); expected what JSON can hold: "
        "numbers, strings, bools, None, lists, mappings (an array as array.tolist())"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
