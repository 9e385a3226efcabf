"""A network's parameters: one buffer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ....backend import Backend
from ....backend.checks.arrays import check_arrays
from ....backend.foreign import taken_in
from ....kernels.launch import Runs
from ...network.parameters import Parameters
from ...state_checks import check_keys
from ...types import Array, HostArray
from .storage import Calls, Key, Storage


class FlatStorage(Storage):
    """A network's parameters: one target, however many arrays there are."""

    own_gradients = True

    def __init__(self, params: Parameters) -> None:
        self.params = params

    @property
    def backend(self) -> Backend:
        return self.params.backend

    def arrays(self) -> Mapping[Key, Array]:
        return dict(self.params.items())

    def targets(self) -> tuple[Array, ...]:
        return (self.params.flat,)

    def gradients(self, grads: Any) -> tuple[tuple[Array, ...], frozenset[Key]]:
        if grads is None:
            return (self.params.flat_grads,), frozenset()
        own = self.params.grads
        check_keys(grads, own, "grads")
        if all(grads[key] is own[key] for key in own):
            return (self.params.flat_grads,), frozenset()
        without = frozenset(key for key in own if grads[key] is None)
        there = [key for key in own if key not in without]
        given = taken_in((f"grads[{key!r}]" for key in there), (grads[key] for key in there))
        found: dict[str, Any] = dict(zip(there, given, strict=True))
        for key, grad in found.items():
            check_arrays([f"params[{key!r}]", f"grads[{key!r}]"], [self.params[key], grad])
        with self.backend.scope():
            found |= {key: own[key] for key in without}
            return (self.backend.xp.concatenate([found[key].ravel() for key in own]),), without

    def runs(self, keys: tuple[Key, ...] | None = None) -> Runs:
        """Where these parameters lie, neighbours of one group in one run; all that are stepped
        where none are told."""
        stepped = {*(self._keys if keys is None else keys)}
        found: list[list[int]] = []
        start = 0
        for key, param in self.params.items():
            if key in stepped and param.size:
                number = self._numbers[key]
                if found and (sum(found[-1][:2]), number) == (start, found[-1][2]):
                    found[-1][1] += param.size
                else:
                    found.append([start, param.size, number])
            start += param.size
        return Runs(*np.array(found, np.int64).reshape(-1, 3).T.copy())

    def _cut_by_groups(self) -> bool:
        return self._several

    def _cut_column(self, column: Sequence[Array], keys: tuple[Key, ...]) -> tuple[Array, ...]:
        (whole,), runs = column, self.runs(keys)
        places = zip(runs.starts.tolist(), runs.sizes.tolist(), strict=True)
        return tuple(whole[start : start + size] for start, size in places)

    def _groups(self, keys: tuple[Key, ...]) -> Sequence[int]:
        return self.runs(keys).groups.tolist()

    def check(self, calls: Calls, states: Sequence[str]) -> None:
        return None  # calls share no memory, and each checks its own

    def views(self, state: Sequence[Array]) -> dict[Key, Array]:
        views = self.params.split(state[0])
        return {key: views[key] for key in self.params}

    def split(self, state: Sequence[Array]) -> dict[Key, HostArray]:
        flat = self.backend.to_numpy(state[0])
        return {key: view.copy() for key, view in self.params.split(flat).items()}

    def join(self, state: Mapping[Key, HostArray]) -> tuple[Array, ...]:
        return (self.backend.asarray(np.concatenate([state[key].ravel() for key in self.params])),)
