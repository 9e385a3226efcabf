"""What every storage of an optimizer's arrays owes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, ValuesView
from operator import is_
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ....backend import Backend, backend_of
from ....backend.beside_torch import BesideTorch
from ....kernels.engine_table import Kept
from ...network.parameters import Parameters
from ...types import Array, HostArray

Arrays: TypeAlias = Parameters | Mapping[str, Array] | Sequence[Array] | Iterator[Array]
"""What an optimizer takes as `params` and as `grads`."""

Key: TypeAlias = str | int
"""A parameter's name, or its index in a list."""

Columns: TypeAlias = tuple[tuple[Array, ...], ...]
"""All parameters, all gradients, and all of each state, on which kernels are called."""

SETS = 8  # of arrays without gradients whose calls are kept


class Calls(NamedTuple):
    """What a step calls its kernel on: arrays that are stepped, cut where groups of them begin.

    Attributes:
        columns: an array for each call.
        kept: what engines know of them.
        keys: the parameters that are stepped.
    """

    columns: Columns
    kept: Kept
    keys: tuple[Key, ...]


class Storage(ABC):
    """Parameters by key, and the arrays ("targets") on which kernels are called.

    A state has an array for each target while it is in use, and for each key in a checkpoint.

    Attributes:
        beside: the block for a step where parameters are tensors of PyTorch's on a GPU, or None.
    """

    beside: BesideTorch | None = None
    share: float | None = None
    """What makes means over ranks of their sums, where several step together; then `norm`, `norms`
    and `stepped` are what they do together."""
    own_gradients = False
    """Whether gradients are the same arrays in each step."""

    def arrange(self, numbers: Mapping[Key, int], several: bool) -> None:
        """Step these alone, each by the group of that number; there may be several groups."""
        self._numbers, self._keys, self._several = dict(numbers), tuple(numbers), several
        self._whole = len(numbers) == len(self.arrays()) and not self._cut_by_groups()
        self.forget()

    def forget(self) -> None:
        """Let go of arrays of earlier steps, and of what is known of them."""
        self._kept: dict[frozenset[Key], Kept] = {}
        self._last: dict[tuple[Key, ...], tuple[Columns, Columns]] = {}

    def calls(self, columns: Columns, without: frozenset[Key]) -> Calls:
        """The calls of a step on `columns`, but for the parameters `without` gradients."""
        keys = self._keys
        if without:
            keys = tuple(key for key in keys if key not in without)
        cut = columns if self._whole and not without else self._cut(columns, keys)
        kept = self._kept.get(without)
        if kept is None or kept.order.size != len(cut[0]) * len(columns):
            if len(self._kept) == SETS:
                self.forget()
            groups = self._groups(keys) if self._several else None
            self._kept[without] = kept = Kept(len(cut[0]) * len(columns), groups)
        return Calls(cut, kept, keys)

    def _cut(self, columns: Columns, keys: tuple[Key, ...]) -> Columns:
        """The columns of these parameters alone, an array for each call; of columns that are those
        of the last step, what it had."""
        last, had = self._last.get(keys, ((), ()))
        if len(last) != len(columns):
            last = had = ((),) * len(columns)
        cut = tuple(
            own if len(before) == len(column) and all(map(is_, before, column)) and before
            else self._cut_column(column, keys)
            for column, before, own in zip(columns, last, had, strict=True)
        )  # fmt: skip
        if self.own_gradients:
            self._last[keys] = columns, cut
        else:  # whoever makes new ones each step needs their memory again
            self._last[keys] = (columns[0], (), *columns[2:]), (cut[0], (), *cut[2:])
        return cut

    def _cut_by_groups(self) -> bool:
        """Whether the arrays of a column hold several groups."""
        return False

    @abstractmethod
    def _cut_column(self, column: Sequence[Array], keys: tuple[Key, ...]) -> tuple[Array, ...]:
        """The column of these parameters alone, an array for each call."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_last": {}}  # views, which would become arrays

    @abstractmethod
    def _groups(self, keys: tuple[Key, ...]) -> Sequence[int]:
        """The group of each of those calls."""

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
    def gradients(self, grads: Any) -> tuple[tuple[Array, ...], frozenset[Key]]:
        """`grads`, as a user gave them, as one array for each target, and who has none: None.

        TypeError or ValueError where the structure is not the params'.
        """

    def network_gradients(self) -> tuple[Array, ...]:
        """Those that a step without `grads` takes, as they are now."""
        return self.gradients(None)[0]

    @abstractmethod
    def check(self, calls: Calls, states: Sequence[str]) -> None:
        """Raise where the arrays of one kernel call don't fit together, or calls share memory.

        The columns are the params, the gradients for them, and each state, called `states`.
        """

    def norm(self, keys: Sequence[Key]) -> float:
        """That of the gradients of these parameters together."""
        raise NotImplementedError

    def norms(self, keys: Sequence[Key]) -> list[float]:
        """That of the gradient of each by itself."""
        raise NotImplementedError

    def stepped(self) -> None:
        """A step was taken."""
        raise NotImplementedError

    @abstractmethod
    def views(self, state: Sequence[Array]) -> dict[Key, Array]:
        """Key -> what a state has of it, from one array for each target."""

    @abstractmethod
    def split(self, state: Sequence[Array]) -> dict[Key, HostArray]:
        """Key -> NumPy copy, from one array for each target."""

    @abstractmethod
    def join(self, state: Mapping[Key, HostArray]) -> tuple[Array, ...]:
        """One new array for each target, where the parameters live: the inverse of `split`."""

    def whole(self, state: Array) -> Array:
        """All of a state of a flat buffer, where each rank may have a part of it."""
        return state

    def part(self, state: Array) -> Array:
        """The inverse of `whole`."""
        return state

    def take_back(self, state: Sequence[Array], views: Mapping[Key, Array]) -> None:
        """Keep what was written to `views` of what `whole` has given of a state."""
        return None

    def zeros(self) -> tuple[Array, ...]:
        """One new array of zeros for each target, where the parameters live."""
        return tuple(like(target, np.zeros((), target.dtype)) for target in self.targets())


def listed(arrays: Any) -> Any:
    """A list of what a generator or a dict's values() yields; anything else as it is."""
    return list(arrays) if isinstance(arrays, (Iterator, ValuesView)) else arrays


def like(target: Array, values: HostArray) -> Array:
    """A new array of `values` beside `target`, of its shape; on the CPU in its memory order too."""
    if not isinstance(target, np.ndarray):
        return backend_of(target).asarray(np.array(np.broadcast_to(values, target.shape)))
    array = np.empty_like(target, subok=False)
    array[...] = values
    return array
