"""One value a channel, as engines take it: contiguous, in the precision of the computation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array
from .contract import Running

_CHARS = {"float32": "f", "float64": "d"}
_NATIVE = {name: np.dtype(name) for name in _CHARS}
_RUN = 0x1 | 0x100  # NumPy's C_CONTIGUOUS | ALIGNED


def computed(x: Array) -> str:
    """The dtype that batch normalization of `x` computes in."""
    return "float64" if x.dtype.char == "d" else "float32"


def gradient_dtype(vector: Array, x: Array) -> Any:
    """The dtype of the gradient of gamma or beta: theirs, unless they hold integers."""
    return vector.dtype if vector.dtype.kind == "f" else np.dtype(computed(x))


def fits(vector: Array, dtype: str) -> bool:
    """Whether engines can take a vector as it is."""
    if type(vector) is np.ndarray and vector.dtype is _NATIVE[dtype]:  # the common case
        return vector.flags.num & _RUN == _RUN
    kind, flags = vector.dtype, vector.flags
    return bool(
        kind.char == _CHARS[dtype]
        and kind.isnative
        and flags.c_contiguous
        and getattr(flags, "aligned", True)
    )


def readable(vector: Array | None, dtype: str) -> Array | None:
    """`vector` itself if engines can take it, else a copy of its C values."""
    if vector is None or fits(vector, dtype):
        return vector
    return vector.astype(dtype, order="C", copy=True)


def given(
    xp: Any, gamma: Array | None, beta: Array | None, channels: int, dtype: str
) -> tuple[Array, Array]:
    """gamma and beta, or what stands for None."""
    return (
        xp.ones(channels, dtype) if gamma is None else gamma,
        xp.zeros(channels, dtype) if beta is None else beta,
    )


def running_of(
    mean: Array | None,
    var: Array | None,
    dtype: str,
    momentum: float,
    apart: bool = False,
    biased: float | None = None,
) -> Running | None:
    """Both running statistics as engines write them; `apart`: as copies, which a GPU can copy back.

    Copying back then takes no code that is not compiled: the copies are put once where they come
    from, which changes nothing.

    Engines average the unbiased variance. `biased` is (m - 1) / m where the biased one is wanted,
    which is so much smaller: they get the old one so much larger, and `write_back` takes the
    average down again.
    """
    if mean is None or var is None:
        return None
    if not apart and biased is None:
        return Running(readable(mean, dtype), readable(var, dtype), momentum)
    copies = [vector.astype(dtype, order="C", copy=True) for vector in (mean, var)]
    running = Running(copies[0], copies[1], momentum)
    write_back(running, mean, var)
    if biased is not None:
        copies[1] *= 1.0 / biased
    return running


def write_back(
    running: Running | None, mean: Array | None, var: Array | None, biased: float | None = None
) -> None:
    """Copy what an engine wrote to copies into the user's own arrays."""
    if running is not None:
        if biased is not None:
            scaled = running.var
            scaled *= biased
        with np.errstate(over="ignore", under="ignore"):  # float16 holds inf, or 0, beyond it
            for own, written in ((mean, running.mean), (var, running.var)):
                if own is not None and own is not written:
                    own[...] = written
