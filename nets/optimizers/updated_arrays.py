"""The arrays an optimizer updates: one flat buffer, or arrays that lie apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, ValuesView
from operator import is_
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ...backend import Backend, backend_of
from ...backend.beside_torch import BesideTorch, beside_torch
from ...backend.checks.arrays import check_arrays
from ...backend.checks.overlap import any_overlap
from ...backend.foreign import taken_in
from ...kernels.engine_table import Kept
from ...kernels.launch import Runs
from ..network.parameters import Parameters
from ..state_checks import check_keys
from ..types import Array, HostArray

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
        return None

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
        return tuple(_like(target, np.zeros((), target.dtype)) for target in self.targets())


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
        taken = taken_in((f"grads[{key!r}]" for key in there), (given[key] for key in there))
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
