"""Which backend arrays belong to; nothing is imported to find out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from array_api_compat import is_cupy_array

from .base import Backend
from .checks.plain_array import NOT_PLAIN, described, remedy
from .errors import MixedBackendsError
from .numpy_backend import CPU
from .select import get_backend
from .types import Array

_ONLY_NUMPY = {np.ndarray}


def device_of(array: Array, name: str = "array") -> str:
    """The device string of one NumPy or CuPy array; TypeError for anything else, with a remedy."""
    if isinstance(array, np.ndarray) and not isinstance(array, NOT_PLAIN):
        return "cpu"
    if is_cupy_array(array):
        return f"cuda:{array.device.id}"
    raise TypeError(
        f"{name} is {described(array)}; expected a NumPy or CuPy array. {remedy(array, name)}"
    )


def backend_of(*arrays: Array, names: Sequence[str] | None = None) -> Backend:
    """The one backend on which all `arrays` live.

    Args:
        arrays: NumPy arrays, or CuPy arrays of one GPU; at least one.
        names: what to call them in errors; "array 0", "array 1", ... by default.

    Raises:
        TypeError: no arrays, or one that is neither a NumPy nor a CuPy array.
        MixedBackendsError: they live on different devices; both sides are named.
    """
    if {*map(type, arrays)} == _ONLY_NUMPY:  # the common case, in a fraction of the time
        return CPU
    if not arrays:
        raise TypeError("backend_of() needs at least one array")
    names = names or [f"array {k}" for k in range(len(arrays))]
    first = device_of(arrays[0], names[0])
    for name, array in zip(names[1:], arrays[1:], strict=True):
        if (device := device_of(array, name)) != first:
            raise MixedBackendsError(
                f"`{name}` is on {device} but `{names[0]}` is on {first}; expected one device. "
                f"Move one with get_backend({first!r}).asarray({name})"
            )
    return get_backend(first)
