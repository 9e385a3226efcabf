"""A network's parameters that several ranks step together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot
from typing import Any

import numpy as np

from ...kernels import global_norm
from ...kernels.launch import Runs
from ..network.parameters import Parameters
from ..optimizers.storage.flat_storage import FlatStorage
from ..optimizers.storage.storage import Key
from ..types import Array, HostArray
from .agreement import Agreement
from .shards import shards


class SharedStorage(FlatStorage):
    """One buffer on each rank: gradients are added up over the ranks, before each step.

    Each rank adds up its part of the gradients. Then, `sharded`, it steps that part of the
    parameters, whose states it alone has, and the parameters are handed round; else the gradients
    are, and all ranks take the same step. Either way the same bytes are sent, and the same bits
    result. Norms are put together from those of the parts.

    Args:
        params: of this rank.
        agreement: of all ranks.
        sharded: whether each has a part of the states.
    """

    def __init__(self, params: Parameters, agreement: Agreement, sharded: bool) -> None:
        super().__init__(params)
        self.agreement, self.sharded = agreement, sharded
        self.communicator = communicator = agreement.communicator
        self.bounds = shards(params.flat.size, communicator.size)
        rank = communicator.rank
        self.own = slice(self.bounds[rank], self.bounds[rank + 1])
        self.share = 1.0 / communicator.size
        self._views_of: tuple[Array, Array] | None = None

    def targets(self) -> tuple[Array, ...]:
        return (self._own_views()[0],) if self.sharded else super().targets()

    def gradients(self, grads: Any) -> tuple[tuple[Array, ...], frozenset[Key]]:
        """The network's own, of which this rank has the sums over all ranks now."""
        (flat,), without = super().gradients(grads)
        if flat is not self.params.flat_grads or without:
            raise ValueError(
                "grads are given to an optimizer that several ranks step together; expected the "
                "network's own, which its backward wrote"
            )
        self.communicator.sum_parts(flat, self.bounds)
        if self.sharded:
            return (self._own_views()[1],), without
        self.communicator.gather_parts(flat, self.bounds)
        return (flat,), without

    def network_gradients(self) -> tuple[Array, ...]:
        return (self._own_views()[1],) if self.sharded else (self.params.flat_grads,)

    def stepped(self) -> None:
        if self.sharded:
            self.communicator.gather_parts(self.params.flat, self.bounds)

    def runs(self, keys: tuple[Key, ...] | None = None) -> Runs:
        whole = super().runs(keys)
        return self._cut_to_own(whole) if self.sharded else whole

    def norm(self, keys: Sequence[Key]) -> float:
        return self._norms([self._own_pieces(tuple(keys))])[0]

    def norms(self, keys: Sequence[Key]) -> list[float]:
        return self._norms([self._own_pieces((key,)) for key in keys])

    def join(self, state: Mapping[Key, HostArray]) -> tuple[Array, ...]:
        return tuple(self.part(each) for each in super().join(state))

    def whole(self, state: Array) -> Array:
        """All of a state, from the parts of all ranks; a copy where each has a part."""
        if not self.sharded:
            return state
        self.agreement.meet("all of a state of the optimizer")
        with self.backend.scope():
            found = self.backend.empty(self.params.flat.shape, state.dtype)
            found[self.own] = state
        self.communicator.gather_parts(found, self.bounds)
        return found

    def part(self, state: Array) -> Array:
        """What this rank keeps of a whole state."""
        with self.backend.scope():
            return state[self.own].copy() if self.sharded else state

    def take_back(self, state: Sequence[Array], views: Mapping[Key, Array]) -> None:
        if self.sharded:
            with self.backend.scope():
                flat = self.backend.xp.concatenate([each.reshape(-1) for each in views.values()])
                state[0][...] = flat[self.own]

    def _own_views(self) -> tuple[Array, Array]:
        """This rank's part of parameters and gradients: the same views until the network moves."""
        flats = self.params.flat, self.params.flat_grads
        kept = self._views_of
        if kept is None or kept[0].base is not flats[0]:
            with self.backend.scope():
                self._views_of = kept = flats[0][self.own], flats[1][self.own]
        return kept

    def _own_pieces(self, keys: tuple[Key, ...]) -> list[Array]:
        """What this rank's part has of the gradients of these parameters."""
        runs, grads = self._cut_to_own(super().runs(keys)), self.params.flat_grads[self.own]
        places = zip(runs.starts.tolist(), runs.sizes.tolist(), strict=True)
        return [grads[start : start + size] for start, size in places]

    def _norms(self, pieces: Sequence[Sequence[Array]]) -> list[float]:
        """Of each list of pieces the norm, over all ranks."""
        own = np.array([global_norm(each) if each else 0.0 for each in pieces])
        return [hypot(*each) for each in self.communicator.gathered(own).T.tolist()]

    def _cut_to_own(self, runs: Runs) -> Runs:
        """Of runs through the whole buffer those in this rank's part, counted from its start."""
        starts = np.maximum(runs.starts, self.own.start)
        sizes = np.minimum(runs.starts + runs.sizes, self.own.stop) - starts
        there = sizes > 0
        return Runs(starts[there] - self.own.start, sizes[there], runs.groups[there])

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(
            "an optimizer that several ranks step together can't be pickled or copied; expected "
            "its state_dict(), or a copy after DataParallel.close()"
        )
