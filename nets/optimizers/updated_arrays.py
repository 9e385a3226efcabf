"""The arrays an optimizer updates: one flat buffer, or arrays that lie apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, ValuesView
from typing import Any, TypeAlias

import numpy as np

from ...backend import Backend, backend_of
from ...backend.beside_torch import BesideTorch, beside_torch
from ...backend.checks.arrays import check_arrays
from ...backend.checks.overlap import any_overlap
from ...backend.foreign import taken_in
from ..network.parameters import Parameters
from ..state_checks import check_keys
from ..types import Array, HostArray

Arrays: TypeAlias = Parameters | Mapping[str, Array] | Sequence[Array] | Iterator[Array]
"""What an optimizer takes as `params` and as `grads`."""

Key: TypeAlias = str | int
"""A parameter's name, or its index in a list."""


class Storage(ABC):
    """Parameters by key, and the arrays ("targets") on which kernels are called.

    A state has an array for each target while it is in use, and for each key in a checkpoint.

    Attributes:
        beside: the block for a step where parameters are tensors of PyTorch's on a GPU, or None.
    """

    beside: BesideTorch | None = None

    @property
    @abstractmethod
    def backend(self) -> Backend:
        """Where the parameters live at this moment."""

    @abstractmethod
    def arrays(self) -> Mapping[Key, Array]:
        """Key -> parameter."""

    @abstractmethod
    def targets(self) -> tuple[Array, ...]:
        """The arrays on which kernels are called."""

    @abstractmethod
    def gradients(self, grads: Any) -> tuple[Array, ...]:
        """`grads`, as a user gave them, as one array for each target.

        TypeError or ValueError where the structure is not the params'.
        """

    @abstractmethod
    def check(self, columns: Sequence[Sequence[Array]], states: Sequence[str]) -> None:
        """Raise where the arrays of one kernel call don't fit together, or calls share memory.

        `columns` are the targets, the gradients for them, and each state, called `states`.
        """

    @abstractmethod
    def split(self, state: Sequence[Array]) -> dict[Key, HostArray]:
        """Key -> NumPy copy, from one array for each target."""

    @abstractmethod
    def join(self, state: Mapping[Key, HostArray]) -> tuple[Array, ...]:
        """One new array for each target, where the parameters live: the inverse of `split`."""

    def zeros(self) -> tuple[Array, ...]:
        """One new array of zeros for each target, where the parameters live."""
        return tuple(_like(target, np.zeros((), target.dtype)) for target in self.targets())


class FlatStorage(Storage):
    """A network's parameters: one target, however many arrays there are."""

    def __init__(self, params: Parameters) -> None:
        self.params = params

    @property
    def backend(self) -> Backend:
        return self.params.backend

    def arrays(self) -> Mapping[Key, Array]:
        return dict(self.params.items())

    def targets(self) -> tuple[Array, ...]:
        return (self.params.flat,)

    def gradients(self, grads: Any) -> tuple[Array, ...]:
        if grads is None:
            return (self.params.flat_grads,)
        own = self.params.grads
        check_keys(grads, own, "grads")
        if all(grads[key] is own[key] for key in own):
            return (self.params.flat_grads,)
        given = taken_in((f"grads[{key!r}]" for key in own), (grads[key] for key in own))
        for (key, param), grad in zip(self.params.items(), given, strict=True):
            check_arrays([f"params[{key!r}]", f"grads[{key!r}]"], [param, grad])
        with self.backend.scope():
            return (self.backend.xp.concatenate([grad.ravel() for grad in given]),)

    def check(self, columns: Sequence[Sequence[Array]], states: Sequence[str]) -> None:
        return None  # there is one call, and it checks

    def split(self, state: Sequence[Array]) -> dict[Key, HostArray]:
        flat = self.backend.to_numpy(state[0])
        return {key: view.copy() for key, view in self.params.split(flat).items()}

    def join(self, state: Mapping[Key, HostArray]) -> tuple[Array, ...]:
        return (self.backend.asarray(np.concatenate([state[key].ravel() for key in self.params])),)


class SeparateStorage(Storage):
    """A list or a dict of arrays: a target each."""

    def __init__(self, params: Mapping[str, Array] | Sequence[Array]) -> None:
        self.named = isinstance(params, Mapping)
        given: dict[Key, Array] = dict(_items(params))
        if not given:
            raise ValueError("params are empty; expected at least one array")
        names = [f"params[{key!r}]" for key in given]
        self.params: dict[Key, Array] = dict(
            zip(given, taken_in(names, given.values()), strict=True)
        )
        self.beside = beside_torch(given.values())
        self._targets = arrays = tuple(self.params.values())
        self._backend = backend_of(*arrays, names=names)
        self._as_they_are = frozenset(map(type, arrays))
        for name, array in zip(names, arrays, strict=True):
            check_arrays([name], [array])
        if pair := any_overlap(names, arrays):
            raise ValueError(
                f"{pair[0]} and {pair[1]} overlap in memory; expected separate arrays, since a "
                "step would update what they share twice"
            )

    @property
    def backend(self) -> Backend:
        return self._backend

    def arrays(self) -> Mapping[Key, Array]:
        return self.params

    def targets(self) -> tuple[Array, ...]:
        return self._targets

    def gradients(self, grads: Any) -> tuple[Array, ...]:
        if type(grads) is dict and self.named and grads.keys() == self.params.keys():
            grads = list(map(grads.__getitem__, self.params))
        elif grads is None:
            raise TypeError(
                "grads are left out; expected a gradient for each array of params (only an "
                "optimizer made from net.parameters() finds them itself)"
            )
        else:
            grads = self._in_order(grads)
        if not self._as_they_are.issuperset(map(type, grads)):  # nothing to take in
            return taken_in((f"grads[{key!r}]" for key in self.params), grads)
        return tuple(grads)

    def _in_order(self, grads: Any) -> Sequence[Any]:
        """A gradient for each array of `params`; TypeError or ValueError where they are others."""
        expected = Mapping if self.named else (list, tuple)
        if not isinstance(grads, expected) and not isinstance(grads := listed(grads), expected):
            kind = "mapping" if self.named else "list"
            raise TypeError(f"grads is a {type(grads).__name__}; expected a {kind}, as params are")
        if not isinstance(grads, Mapping) and len(grads) == len(self.params):
            return grads
        given = check_keys(dict(_items(grads)), self.params, "grads")
        return [given[key] for key in self.params]

    def check(self, columns: Sequence[Sequence[Array]], states: Sequence[str]) -> None:
        for key, call in zip(self.params, zip(*columns, strict=True), strict=True):
            check_arrays([f"params[{key!r}]", f"grads[{key!r}]", *states], call)
        # A gradient that lies in another parameter is written before it is read.
        names = [f"{kind}[{key!r}]" for kind in ("params", "grads") for key in self.params]
        arrays = [*columns[0], *columns[1]]
        if pair := any_overlap(names, arrays, read_only_from=len(self.params)):
            raise ValueError(
                f"{pair[0]} and {pair[1]} overlap in memory; expected separate arrays, since one "
                "is written before the other is read. Pass a copy"
            )

    def split(self, state: Sequence[Array]) -> dict[Key, HostArray]:
        arrays = map(self.backend.to_numpy, state)
        return {key: array.copy() for key, array in zip(self.params, arrays, strict=True)}

    def join(self, state: Mapping[Key, HostArray]) -> tuple[Array, ...]:
        return tuple(_like(target, state[key]) for key, target in self.params.items())


def storage_of(params: Arrays) -> Storage:
    """The storage for what a user gave as `params`; TypeError says what can be given."""
    if isinstance(params, Parameters):
        return FlatStorage(params)
    if isinstance(params, (Mapping, list, tuple)):
        return SeparateStorage(params)
    raise TypeError(
        f"params is a {type(params).__name__}; expected net.parameters(), a list of arrays or a "
        "dict of arrays (put one array into a list: [array])"
    )


def listed(arrays: Any) -> Any:
    """A list of what a generator or a dict's values() yields; anything else as it is."""
    return list(arrays) if isinstance(arrays, (Iterator, ValuesView)) else arrays


def _like(target: Array, values: HostArray) -> Array:
    """A new array of `values` beside `target`, of its shape; on the CPU in its memory order too."""
    if not isinstance(target, np.ndarray):
        return backend_of(target).asarray(np.array(np.broadcast_to(values, target.shape)))
    array = np.empty_like(target, subok=False)
    array[...] = values
    return array


def _items(arrays: Mapping[str, Array] | Sequence[Array]) -> Iterable[tuple[Key, Array]]:
    if not isinstance(arrays, Mapping):
        return enumerate(arrays)
    for key in arrays:
        if not isinstance(key, str):
            raise TypeError(f"name {key!r} is a {type(key).__name__}; expected a string")
    return arrays.items()
