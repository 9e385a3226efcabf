"""The arrays of many calls of one rule on a GPU, checked together, stepped in one launch a dtype.

At the first step all are looked at, and a table of them goes to the GPU. Later steps find the same
parameters and states, and look at the gradients alone: nothing is read of those that are the very
objects of the last step, and of others a table is made anew where any lies elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, is_
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from ...backend import Array
from ..compiling.gpu.cuda_chunks import Chunks, chunks_of
from .base import Kept
from .cuda_clock import standing_clock

Columns = tuple[tuple[Array, ...], ...]
GRADS = 1  # the column of the arrays that are only read

_dtype, _shape, _strides = attrgetter("dtype"), attrgetter("shape"), attrgetter("strides")
_memory, _address, _device = attrgetter("data"), attrgetter("ptr"), attrgetter("device_id")
_size, _nbytes = attrgetter("size"), attrgetter("nbytes")


class Model(NamedTuple):
    """What all arrays of a call share with its parameter, for each call."""

    kind: type
    device: int
    dtypes: list[np.dtype[Any]]
    shapes: list[tuple[int, ...]]
    strides: list[tuple[int, ...]]

    def addresses(self, column: Sequence[Array]) -> np.ndarray | None:
        """Where the arrays of a column begin; None unless all are like the model, without gaps."""
        if {*map(type, column)} != {self.kind} or [*map(_dtype, column)] != self.dtypes:
            return None
        memory = [*map(_memory, column)]
        if [*map(_shape, column)] != self.shapes or {*map(_device, memory)} != {self.device}:
            return None
        same = [*map(_strides, column)] == self.strides  # those of an axis of length 1 may be any
        if not (same or all(array.flags.c_contiguous for array in column)):
            return None
        return np.array([*map(_address, memory)], np.int64)


def model_of(params: Sequence[Array]) -> Model | None:
    """What arrays must be like to be stepped with these; None where they have gaps."""
    if not all(array.flags.c_contiguous for array in params):
        return None
    first, dtypes = params[0], [*map(_dtype, params)]
    shapes, strides = [*map(_shape, params)], [*map(_strides, params)]
    return Model(type(first), first.data.device_id, dtypes, shapes, strides)


class Bundle:
    """Arrays that were found fit, as CuPy's current stream then knows them.

    Attributes:
        tables: of each dtype the chunks of all its arrays, an argument of the rule after another.
        clock: for kernels that take their coefficients from a table, where there are groups.
    """

    def __init__(
        self, columns: Columns, model: Model, addresses: np.ndarray, groups: np.ndarray
    ) -> None:
        self._model, self._addresses, self._stream = model, addresses, _stream()
        self._written = _written(columns)
        self._held: Sequence[Array] | None
        self._nbytes = np.array([*map(_nbytes, columns[0])], np.int64)
        self._calls: list[np.ndarray] = []  # that have a dtype, for each table
        self.tables: list[Chunks] = []
        sizes = np.array([*map(_size, columns[0])], np.int64)
        kinds: dict[np.dtype[Any], list[int]] = {}
        for k, dtype in enumerate(model.dtypes):
            if sizes[k]:
                kinds.setdefault(dtype, []).append(k)
        for calls in map(np.array, kinds.values()):
            like = columns[0][calls[0]]
            self._calls.append(calls)
            own = groups[calls] if groups.size else None
            self.tables.append(chunks_of(like, sizes[calls], addresses[calls].T, own))
        self.clock = standing_clock() if groups.size else None
        self._seen(columns[GRADS])

    def follow(self, columns: Columns, order: np.ndarray) -> bool:
        """Whether these are the same parameters and states, with gradients that fit as well.

        The tables then are of these gradients, wherever they lie.
        """
        same = len(columns) == 1 + len(self._written) and self._stream == _stream()
        if not same or not all(map(_are, self._written, _written(columns))):
            return False
        grads = columns[GRADS]
        if self._are_the_last(grads):
            self._held = grads
            return True
        if (found := self._model.addresses(grads)) is None or len(found) != len(self._addresses):
            return False
        if (found != self._addresses[:, GRADS]).any():
            self._addresses[:, GRADS] = found
            if not all_apart(self._addresses, self._nbytes, order):
                return False
            self.tables = [
                chunks.moved(GRADS, found[calls])
                for chunks, calls in zip(self.tables, self._calls, strict=True)
            ]
        self._seen(grads)
        return True

    def _seen(self, grads: Sequence[Array]) -> None:
        """They are not kept alive: whoever makes new ones each step needs their memory again."""
        self._held = None
        self._references = [*map(ref, grads)]

    def _are_the_last(self, grads: Sequence[Array]) -> bool:
        """Whether they are the objects of the last step. Those that came twice are kept from then
        on, since whoever steps has kept them, too: to look is quicker."""
        if self._held is not None:
            last: Any = self._held
        else:
            last = map(ref.__call__, self._references)
        return len(grads) == len(self._references) and all(map(is_, grads, last))


def bundle_of(columns: Columns, kept: Kept) -> Bundle | None:
    """The bundle of these arrays on the current device, or None where any needs a closer look."""
    bundle, kept.bundle = kept.bundle, None  # what is only half told is not kept
    if bundle is None or not bundle.follow(columns, kept.order):
        bundle = _read(columns, kept)
    kept.bundle = bundle
    return bundle


def _read(columns: Columns, kept: Kept) -> Bundle | None:
    calls, order, groups = len(columns[0]), kept.order, kept.groups
    if order.size != calls * len(columns) or any(len(column) != calls for column in columns):
        return None
    if groups.size not in (0, calls):
        return None
    if (model := model_of(columns[0])) is None:
        return None
    addresses = np.empty((calls, len(columns)), np.int64)
    for k, column in enumerate(columns):
        if (found := model.addresses(column)) is None:
            return None
        addresses[:, k] = found
    nbytes = np.array([*map(_nbytes, columns[0])], np.int64)
    apart = all_apart(addresses, nbytes, order)
    return Bundle(columns, model, addresses, groups) if apart else None


def all_apart(addresses: np.ndarray, nbytes: np.ndarray, order: np.ndarray) -> bool:
    """Whether no array that is written shares memory with any other, of whichever call.

    Args:
        addresses: for each call, where its arrays begin.
        nbytes: of each array of a call.
        order: of all of them in memory, the last time; written.
    """
    arguments = addresses.shape[1]
    every = addresses.reshape(-1)
    starts = every[order]
    if (starts[1:] < starts[:-1]).any():
        order[:] = every.argsort(kind="stable")  # quick where most is in order
        starts = every[order]
    lengths = nbytes[order // arguments]
    starts, full = starts[lengths > 0], order[lengths > 0]
    ends, written = starts + lengths[lengths > 0], full % arguments != GRADS
    reach = np.maximum.accumulate(ends)
    written_reach = np.maximum.accumulate(np.where(written, ends, 0))
    over_all, over_written = starts[1:] < reach[:-1], starts[1:] < written_reach[:-1]
    return not (over_written | (over_all & written[1:])).any()


def on_gpu(coefficients: Sequence[float]) -> Array:
    """A table of them on the current device, for launches on CuPy's current stream."""
    import cupy

    return cupy.asarray(np.array(coefficients))


def _are(column: Sequence[Array], other: Sequence[Array]) -> bool:
    """Whether they hold the same objects."""
    return column is other or (len(column) == len(other) and all(map(is_, column, other)))


def _written(columns: Columns) -> Columns:
    """All columns but the gradients'."""
    return (columns[0], *columns[GRADS + 1 :])


def _stream() -> int:
    """CuPy's current one, of the current device."""
    import cupy

    return int(cupy.cuda.get_current_stream().ptr)
