"""A network's parameters, each array by itself: where states have formats of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....backend.foreign import taken_in
from ....kernels.encoded_states import moved
from ...network.parameters import Parameters
from ...state_checks import check_keys
from ...types import Array, HostArray
from .flat_storage import FlatStorage
from .storage import Calls, Key


class EachStorage(FlatStorage):
    """A target for each array of a network."""

    def __init__(self, params: Parameters) -> None:
        super().__init__(params)
        self._of: Array | None = None

    def targets(self) -> tuple[Array, ...]:
        self._look()
        return self._targets

    def gradients(self, grads: Any) -> tuple[tuple[Array, ...], frozenset[Key]]:
        self._look()
        if grads is None:
            return self._own, frozenset()
        own = self.params.grads
        check_keys(grads, own, "grads")
        without = frozenset(key for key in own if grads[key] is None)
        there = [key for key in own if key not in without]
        taken = taken_in((f"grads[{key!r}]" for key in there), (grads[key] for key in there))
        found = {**dict.fromkeys(own), **dict(zip(there, taken, strict=True))}
        return tuple(found[key] for key in own), without

    def _look(self) -> None:
        """Take the views out once, so that each step has the same objects."""
        if self._of is not self.params.flat:
            self._of = self.params.flat
            self._targets = tuple(self.params.values())
            self._own = tuple(self.params.grads.values())

    def _cut_by_groups(self) -> bool:
        return False

    def _cut_column(self, column: Sequence[Array], keys: tuple[Key, ...]) -> tuple[Array, ...]:
        stepped = {*keys}
        pairs = zip(self.params, column, strict=True)
        return tuple(array for key, array in pairs if key in stepped)

    def _groups(self, keys: tuple[Key, ...]) -> Sequence[int]:
        return [self._numbers[key] for key in keys]

    def check(self, calls: Calls, states: Sequence[str]) -> None:
        return None

    def views(self, state: Sequence[Array]) -> dict[Key, Array]:
        return dict(zip(self.params, state, strict=True))

    def split(self, state: Sequence[Any]) -> dict[Key, Any]:
        return {
            key: moved(array, lambda each: self.backend.to_numpy(each).copy())
            for key, array in zip(self.params, state, strict=True)
            if array is not None
        }

    def join(self, state: Mapping[Key, HostArray]) -> tuple[Any, ...]:
        return tuple(moved(state.get(key), self.backend.asarray) for key in self.params)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_of": None, "_targets": (), "_own": ()}
