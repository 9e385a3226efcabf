"""How weights start."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

from ..types import HostArray

DEVIATIONS: dict[str, Callable[[int, int], float]] = {
    "he": lambda n_in, n_out: sqrt(2 / n_in),
    "xavier": lambda n_in, n_out: sqrt(1 / n_in),
    "glorot": lambda n_in, n_out: sqrt(2 / (n_in + n_out)),
    "glorot_uniform": lambda n_in, n_out: sqrt(2 / (n_in + n_out)),
    "normal": lambda n_in, n_out: 0.01,
    "zeros": lambda n_in, n_out: 0.0,
}
"""Name -> standard deviation of a weight, from fan-in and fan-out."""

EVENLY = ("glorot_uniform",)
"""Those that are spread evenly, and that biases can start by; the others are normal."""


def deviation(name: str, n_in: int, n_out: int) -> float:
    """The standard deviation with which weights are drawn.

        name      variance              for
        "he"      2 / n_in              ReLU, which lets half of the variance through
        "xavier"  1 / n_in              tanh
        "glorot"  2 / (n_in + n_out)    signals and gradients, balanced
        "glorot_uniform"    the same    drawn evenly from -c to c, c = sqrt(6 / (n_in + n_out))
        "normal"  0.01^2                shallow networks; signals fade in deep ones
        "zeros"   0                     a single layer; before hidden ones equal units stay equal

    Args:
        name: one of the above.
        n_in: inputs of each unit, at least 1.
        n_out: units, at least 1.

    Raises:
        ValueError: `name` is none of the above, or a count is smaller than 1.
        TypeError: a count is not an integer.

    Source: He et al. 2015, eq. 10 ("he"); LeCun et al. 1998, eq. 16 ("xavier", as course notes
    call it); Glorot and Bengio 2010, eq. 12 ("glorot").
    """
    if name not in DEVIATIONS:
        raise ValueError(f"init is {name!r}; expected one of {', '.join(map(repr, DEVIATIONS))}")
    for word, count in (("n_in", n_in), ("n_out", n_out)):
        if not isinstance(count, (int, np.integer)) or isinstance(count, bool):
            raise TypeError(f"{word} is {count!r} ({type(count).__name__}); expected an integer")
        if count < 1:
            raise ValueError(f"{word} is {count}; expected at least 1")
    return DEVIATIONS[name](n_in, n_out)


def initialize(name: str, n_in: int, n_out: int, rng: np.random.Generator) -> HostArray:
    """Draw weights of shape (n_in, n_out), float64, from N(0, deviation(name, n_in, n_out)^2).

    Those of "glorot_uniform" are spread evenly, with that deviation: from -c to c, as `bound`.

    They are drawn on the CPU in float64 whatever the network's device and dtype, so that networks
    of one seed start equal on CPU and GPU, and equal but for rounding in float32 and float64.
    `rng` advances by n_in * n_out normals for every name, "zeros" too: another start of one layer
    leaves the other layers as they were; "glorot_uniform" alone takes as many even numbers instead.
    Raises as `deviation` does.
    """
    if name in EVENLY:
        c = bound(n_in, n_out)
        return rng.uniform(-c, c, (n_in, n_out))
    return deviation(name, n_in, n_out) * rng.standard_normal((n_in, n_out))


def bound(n_in: int, n_out: int) -> float:
    """The largest number that "glorot_uniform" draws: sqrt(6 / (n_in + n_out))."""
    return sqrt(3) * deviation("glorot_uniform", n_in, n_out)
