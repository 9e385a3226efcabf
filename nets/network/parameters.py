"""The arrays of a network, as views into one buffer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ...backend import Backend, get_backend
from ..types import Array, Device, Shape, floating


class Parameters(Mapping[str, Array]):
    """Named arrays that are views into one contiguous buffer, and their gradients in a second.

    `parameters["0.weight"]` is a view into `parameters.flat`, and `parameters.grads["0.weight"]`
    the view of the same place in `parameters.flat_grads`. So an optimizer step, a clipping norm,
    an all-reduce and a checkpoint are one call each, however many layers there are.

    Args:
        shapes: name -> shape, in the order in which the arrays lie in the buffer. They are packed
            without padding: `flat.size` is the number of parameters.
        dtype: float16, float32 or float64, of every array.
        device: where both buffers live: "auto", "cpu", "cuda", "cuda:N" or a Backend.

    Both buffers start at zero. Write through a view, `parameters["0.bias"][...] = 1`: a name can't
    be bound to another array. An optimizer writes in place: a view that you keep, W_old, changes
    too, unless it is a copy. Pickling and deep copying keep the views views.

    Raises:
        TypeError: `dtype` is none of the three.
        ValueError: a shape holds a negative number.
        DeviceUnavailableError: the named device can't be used.
    """

    def __init__(
        self,
        shapes: Mapping[str, Shape],
        *,
        dtype: npt.DTypeLike = "float32",
        device: Device = "auto",
    ) -> None:
        for name, shape in shapes.items():
            if any(length < 0 for length in shape):
                raise ValueError(f"shape of {name!r} is {shape}; expected lengths >= 0")
        zeros = np.zeros(sum(map(prod, shapes.values())), floating(dtype))
        self._start(dict(shapes), get_backend(device), zeros, zeros.copy())

    @property
    def flat(self) -> Array:
        """All parameters: one contiguous array of shape (total,)."""
        return self._flat

    @property
    def flat_grads(self) -> Array:
        """All gradients, each in the place of its parameter: shape (total,)."""
        return self._flat_grads

    @property
    def grads(self) -> Mapping[str, Array]:
        """Name -> view into `flat_grads`. The same mapping stays right after `move`."""
        return MappingProxyType(self._grad_views)

    @property
    def backend(self) -> Backend:
        """Where both buffers live."""
        return self._backend

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of every array."""
        return np.dtype(self._flat.dtype)

    def move(self, device: Device) -> None:
        """Move both buffers to `device`: this object and its names stay, the views are new.

        An optimizer made from these parameters goes on working; its states follow at its next
        step. Views taken out before the move still show the old buffers. A no-op where `device`
        is the present one.
        """
        backend = get_backend(device)
        if backend != self._backend:
            flat, flat_grads = map(self._backend.to_numpy, (self._flat, self._flat_grads))
            self._place(backend, flat, flat_grads)

    def split(self, flat: Array) -> dict[str, Array]:
        """Name -> view, in shape, into `flat`: any array of shape (total,)."""
        views: dict[str, Array] = {}
        start = 0
        for name, shape in self._shapes.items():
            stop = start + prod(shape)
            views[name] = flat[start:stop].reshape(shape)
            start = stop
        return views

    def _start(
        self, shapes: dict[str, Shape], backend: Backend, flat: Array, flat_grads: Array
    ) -> None:
        self._shapes = shapes
        self._views: dict[str, Array] = {}
        self._grad_views: dict[str, Array] = {}
        self._place(backend, flat, flat_grads)

    def _place(self, backend: Backend, flat: Array, flat_grads: Array) -> None:
        flat, flat_grads = map(backend.asarray, (flat, flat_grads))
        self._backend, self._flat, self._flat_grads = backend, flat, flat_grads
        self._views.update(self.split(self._flat))
        self._grad_views.update(self.split(self._flat_grads))

    def __getstate__(self) -> tuple[Any, ...]:
        """The buffers alone: pickle would turn each view into an array of its own."""
        flat, flat_grads = map(self._backend.to_numpy, (self._flat, self._flat_grads))
        return self._shapes, self._backend, flat, flat_grads

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shapes, backend, flat, flat_grads = state
        self._start(shapes, backend, np.array(flat), np.array(flat_grads))  # joblib maps files

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __eq__(self, other: object) -> bool:
        """Identity, since arrays compared elementwise have no single truth value."""
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return (
            f"Parameters({len(self)} arrays, {self._flat.size} values, {self.dtype}, "
            f"{self._backend.device})"
        )
