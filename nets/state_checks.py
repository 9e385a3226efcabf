"""Checks of what is loaded from a checkpoint, made before anything is overwritten."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..backend.checks.plain_array import check_plain
from .types import Array


def check_keys(found: object, expected: Collection[Any], what: str) -> Mapping[Any, Any]:
    """Return `found`, called `what` in errors, if it is a mapping with the keys `expected`.

    Raises:
        TypeError: it is not a mapping.
        ValueError: keys are missing or unexpected; both are listed.
    """
    if not isinstance(found, Mapping):
        raise TypeError(f"{what} is a {type(found).__name__}; expected a mapping")
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    differences = [
        f"{verb} {', '.join(map(repr, keys))}"
        for verb, keys in (("lacks", missing), ("has the unexpected", unexpected))
        if keys
    ]
    if differences:
        names = ", ".join(map(repr, expected)) or "no keys"
        raise ValueError(f"{what} {' and '.join(differences)}; expected {names}")
    return found


def check_values(found: object, expected: Mapping[Any, Array], what: str) -> Mapping[Any, Any]:
    """Return `found` if it is NumPy arrays with the names, shapes and dtypes of `expected`.

    Raises:
        TypeError: it is not a mapping, a value is not a plain NumPy array, or a dtype is
            another.
        ValueError: names are missing or unexpected, or a shape is another.
    """
    arrays = check_keys(found, expected, what)
    for name, model in expected.items():
        array = arrays[name]
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{what}[{name!r}] is a {type(array).__name__}; expected a NumPy array")
        check_plain(array, f"{what}[{name!r}]")
        if array.shape != model.shape:
            raise ValueError(
                f"{what}[{name!r}] has shape {array.shape}; expected {tuple(model.shape)}"
            )
        if array.dtype != model.dtype:
            raise TypeError(
                f"{what}[{name!r}] has dtype {array.dtype}; expected {model.dtype}. "
                f"Convert it with .astype({model.dtype.name!r})"
            )
    return arrays
