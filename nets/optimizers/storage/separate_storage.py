"""Parameters that lie apart, in a list or a dict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ....backend import Backend, backend_of
from ....backend.beside_torch import beside_torch
from ....backend.checks.arrays import check_arrays, check_writeable
from ....backend.checks.overlap import any_overlap
from ....backend.foreign import taken_in
from ....kernels.encoded_states import is_bfloat16, moved, seen_as_bits
from ...state_checks import check_keys
from ...types import Array, HostArray
from .storage import Calls, Key, Storage, like, listed


class SeparateStorage(Storage):
    """A list or a dict of arrays: a target each."""

    def __init__(self, params: Mapping[str, Array] | Sequence[Array]) -> None:
        self.named = isinstance(params, Mapping)
        given: dict[Key, Array] = dict(_items(params))
        if not given:
            raise ValueError("params are empty; expected at least one array")
        names = [f"params[{key!r}]" for key in given]
        self.params: dict[Key, Array] = dict(
            zip(given, taken_in(names, map(seen_as_bits, given.values())), strict=True)
        )
        self.beside = beside_torch(given.values())
        self._targets = arrays = tuple(self.params.values())
        self._backend = backend_of(*arrays, names=names)
        self._as_they_are = frozenset(map(type, arrays))
        for name, array in zip(names, arrays, strict=True):
            if is_bfloat16(array):
                check_writeable(name, array)
            else:
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

    def gradients(self, grads: Any) -> tuple[tuple[Array, ...], frozenset[Key]]:
        if type(grads) is dict and self.named and grads.keys() == self.params.keys():
            grads = list(map(grads.__getitem__, self.params))
        elif grads is None:
            raise TypeError(
                "grads are left out; expected a gradient for each array of params (only an "
                "optimizer made from net.parameters() finds them itself)"
            )
        else:
            grads = self._in_order(grads)
        if self._as_they_are.issuperset(map(type, grads)):  # nothing to take in
            return tuple(grads), frozenset()
        given = dict(zip(self.params, grads, strict=True))
        without = frozenset(key for key, grad in given.items() if grad is None)
        there = [key for key in given if key not in without]
        bits = (seen_as_bits(given[key]) for key in there)
        taken = taken_in((f"grads[{key!r}]" for key in there), bits)
        given.update(zip(there, taken, strict=True))
        return tuple(given.values()), without

    def _cut_column(self, column: Sequence[Array], keys: tuple[Key, ...]) -> tuple[Array, ...]:
        stepped = {*keys}
        pairs = zip(self.params, column, strict=True)
        return tuple(array for key, array in pairs if key in stepped)

    def _groups(self, keys: tuple[Key, ...]) -> Sequence[int]:
        return [self._numbers[key] for key in keys]

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

    def check(self, calls: Calls, states: Sequence[str]) -> None:
        columns, keys = calls.columns, calls.keys
        for key, call in zip(keys, zip(*columns, strict=True), strict=True):
            check_arrays([f"params[{key!r}]", f"grads[{key!r}]", *states], call)
        # A gradient that lies in another parameter is written before it is read.
        names = [f"{kind}[{key!r}]" for kind in ("params", "grads") for key in keys]
        arrays = [*columns[0], *columns[1]]
        if pair := any_overlap(names, arrays, read_only_from=len(keys)):
            raise ValueError(
                f"{pair[0]} and {pair[1]} overlap in memory; expected separate arrays, since one "
                "is written before the other is read. Pass a copy"
            )

    def views(self, state: Sequence[Array]) -> dict[Key, Array]:
        return dict(zip(self.params, state, strict=True))

    def split(self, state: Sequence[Array]) -> dict[Key, HostArray]:
        return {
            key: moved(array, lambda each: self.backend.to_numpy(each).copy())
            for key, array in zip(self.params, state, strict=True)
            if array is not None
        }

    def join(self, state: Mapping[Key, HostArray]) -> tuple[Array, ...]:
        return tuple(
            like(target, state[key])
            if key in state and getattr(state[key], "dtype", None) == target.dtype
            else moved(state.get(key), self.backend.asarray)
            for key, target in self.params.items()
        )


def _items(arrays: Mapping[str, Array] | Sequence[Array]) -> Iterable[tuple[Key, Array]]:
    if not isinstance(arrays, Mapping):
        return enumerate(arrays)
    for key in arrays:
        if not isinstance(key, str):
            raise TypeError(f"name {key!r} is a {type(key).__name__}; expected a string")
    return arrays.items()
