"""Where dgamma and dbeta go: arrays of the user's, or new ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ...backend import Array, backend_of, device_of
from ...backend.checks.arrays import check_writeable
from ..compiling.gpu.first_launch import index_widths, is_new, remember
from .channel_vectors import computed, fits, gradient_dtype
from .contract import NOWHERE, Places
from .layout import Layout

PLACES = ("gamma_grad", "beta_grad")
_OF = dict(zip(PLACES, ("gamma", "beta"), strict=True))


def check_places(places: Places, vectors: Places, x: Array, layout: Layout) -> None:
    """Each of `places` can take the gradient of its vector, gamma or beta."""
    for name, place, vector in zip(PLACES, places, vectors, strict=True):
        if place is None:
            continue
        if vector is None:
            raise ValueError(
                f"{name} is given but {_OF[name]} was None in the forward, so that it has no "
                f"gradient; expected {name}=None"
            )
        backend_of(x, place, names=["x", name])
        dtype = gradient_dtype(vector, x)
        if place.dtype != dtype:
            raise TypeError(
                f"{name} has dtype {place.dtype}; expected {dtype}, in which the gradient of "
                f"{_OF[name]} is returned. Convert it with {name}.astype({dtype.name!r})"
            )
        if place.shape != (layout.channels,):
            raise ValueError(
                f"{name} has shape {place.shape}; expected ({layout.channels},), as {_OF[name]}"
            )
        check_writeable(name, place)


class Landing(NamedTuple):
    """What an engine may write to itself, and what its gradients go through where it may not."""

    direct: Places
    copies: Places


def landing_of(places: Places, vectors: Places, x: Array, replaces: bool) -> Landing:
    """How gradients reach their places, so that nothing is missing once the first is written.

    On a GPU a copy into another dtype, or into a place with gaps, takes code of its own and memory.
    Both are taken here, before anything is written: `replaces` tells that dx goes to memory that
    the user sees.
    """
    given = any(place is not None for place in places)
    if isinstance(x, np.ndarray) or not (given or replaces):
        return Landing(NOWHERE, NOWHERE)
    dtype = computed(x)
    direct: list[Array | None] = [None, None]
    copies: list[Array | None] = [None, None]
    for k, (place, vector) in enumerate(zip(places, vectors, strict=True)):
        if vector is None:
            continue
        if place is not None and fits(place, dtype):
            direct[k] = place
        elif place is not None or gradient_dtype(vector, x) != dtype:
            copies[k] = _copy_of(place, vector, gradient_dtype(vector, x), np.dtype(dtype))
    return Landing((direct[0], direct[1]), (copies[0], copies[1]))


def _copy_of(place: Array | None, vector: Array, kind: np.dtype, dtype: np.dtype) -> Array | None:
    """New memory for what is computed in `dtype`, if it does not go straight to its place; the
    code that brings it there was compiled."""
    xp = backend_of(vector).xp
    straight = place is not None and place.flags.c_contiguous and index_widths((place,)) == (False,)
    copy = None if straight else xp.empty(vector.shape, kind)
    code = "gradients of batch norm", device_of(vector), kind, dtype, min(vector.size, 2)
    if is_new(code):
        made = xp.empty(vector.shape, kind) if copy is None else copy
        made[...] = xp.zeros(vector.shape, dtype)
        remember([code])
    try_copies((place,))
    return copy


def try_copies(places: Iterable[Array | None]) -> None:
    """Take the code on a GPU that a copy into each of them takes, by one of what it holds, unless
    such code has run before."""
    for place in places:
        if place is None or isinstance(place, np.ndarray):
            continue
        kind, gaps = place.dtype, not place.flags.c_contiguous
        of = *index_widths((place,)), min(place.size, 2)
        code = "places of batch norm", device_of(place), kind, gaps, *of
        if is_new(code):
            place[...] = place.copy()
            remember([code])


def moved(gradients: Iterable[Array | None], places: Iterable[Array | None]) -> Places:
    """Gradients in their places, where they have any."""
    first, second = (
        gradient if place is None or gradient is None else write(place, gradient)
        for gradient, place in zip(gradients, places, strict=True)
    )
    return first, second


def write(place: Array, gradient: Array) -> Array:
    """The place, with the gradient in it."""
    place[...] = gradient
    return place


def landed(
    gradients: tuple[Array, Array],
    vectors: Places,
    x: Array,
    places: Places = NOWHERE,
    copies: Places = NOWHERE,
) -> Places:
    """dgamma and dbeta in the dtypes of gamma and beta, in their places; None where those are."""
    dtype, (gamma, beta) = gradients[0].dtype, vectors
    both = gamma is not None and beta is not None and places[0] is None is places[1]
    if both and gamma.dtype is dtype is beta.dtype:  # type: ignore[union-attr]
        return gradients
    with np.errstate(over="ignore", under="ignore"):  # float16 holds inf, or 0, beyond it
        first, second = (
            _landed(*each, x) for each in zip(gradients, vectors, places, copies, strict=True)
        )
    return first, second


def _landed(
    gradient: Array, vector: Array | None, place: Array | None, copy: Array | None, x: Array
) -> Array | None:
    if vector is None or gradient is place:
        return place
    if copy is not None:
        copy[...] = gradient
        gradient = copy
    if place is None:
        return gradient.astype(gradient_dtype(vector, x), copy=False)
    return write(place, gradient)
