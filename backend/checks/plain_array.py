"""What is a plain array, and what errors say of anything else."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import is_jax_array, is_torch_array

NOT_PLAIN = (np.ma.MaskedArray, np.matrix)
"""NumPy arrays that compute otherwise than arrays do."""


def check_plain(value: Any, name: str) -> None:
    """Refuse masked arrays, whose mask numpy.asarray drops without a word, and matrices.

    Raises:
        TypeError: `value` is one, or a list or tuple that holds some, however deep.
    """
    if type(value) is np.ndarray:
        return
    if isinstance(value, NOT_PLAIN):
        raise TypeError(f"{name} is {described(value)}; expected an array. {remedy(value, name)}")
    if isinstance(value, (list, tuple)):
        kinds = set(map(type, value))
        if kinds & {list, tuple} or any(issubclass(kind, NOT_PLAIN) for kind in kinds):
            for k, each in enumerate(value):
                check_plain(each, f"{name}[{k}]")


def described(value: Any) -> str:
    """What `value` is, in words: "a list", "a torch Tensor"."""
    if value is None:
        return "None"
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    return f"a {kind.__name__}" if module == "builtins" else f"a {module} {kind.__name__}"


def remedy(value: Any, name: str) -> str:
    """How to make a plain array of `value`, called `name`."""
    if value is None:
        if name.startswith("grad"):
            return "Leave out a parameter that has no gradient, or pass zeros for it"
        return "Leave it out, or pass an array"
    if isinstance(value, np.ma.MaskedArray):
        return "Fill what is masked, with its method filled(value), or leave those rows out"
    if isinstance(value, np.matrix):
        return "numpy.asarray makes one of it"
    if is_torch_array(value):
        return f"onepass.as_array({name}) shares a tensor's memory"
    if is_jax_array(value):
        return f"JAX arrays can't be written in place: use numpy.array({name})"
    return f"Make one with numpy.asarray({name}, dtype=numpy.float32)"
