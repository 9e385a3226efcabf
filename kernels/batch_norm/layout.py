"""The one layout step: an array of any shape as (outer, channel, inner) in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from ...backend import Array
from ..order import order_of


@dataclass(frozen=True)
class Layout:
    """How an array of some shape and strides lies around its channel axis.

    Attributes:
        outer, channels, inner: lengths in memory; inner is 1 for channels-last.
        axis: the channel axis, counted from 0.
        ndim: number of axes of the array.
        order: the axes from the slowest to the fastest in memory; None where the array has gaps,
            is not aligned or of another byte order, so that it is not one run of numbers.
    """

    outer: int
    channels: int
    inner: int
    axis: int
    ndim: int
    order: tuple[int, ...] | None

    @property
    def count(self) -> int:
        """m, the number of values a channel."""
        return self.outer * self.inner

    @property
    def others(self) -> tuple[int, ...]:
        """Every axis but the channel's, to sum over."""
        return tuple(axis for axis in range(self.ndim) if axis != self.axis)

    def flat(self, array: Array) -> Array:
        """`array` as one run of memory, without a copy."""
        if self.order is not None and array.flags.c_contiguous:
            return array.reshape(-1)
        return array.transpose(self.order).reshape(-1)

    def matrix(self, array: Array) -> Array:
        """`array` seen as (outer, channel, inner), without a copy."""
        return array.transpose(self.order).reshape(self.outer, self.channels, self.inner)

    def along(self, vector: Array) -> Array:
        """A vector of one value a channel, so that it broadcasts against the array."""
        return vector.reshape([-1 if axis == self.axis else 1 for axis in range(self.ndim)])


def layout_of(array: Array, axis: int) -> Layout:
    """The layout of `array`, whose channel axis is `axis` >= 0."""
    flags = array.flags
    if flags.c_contiguous and array.dtype.isnative and getattr(flags, "aligned", True):
        return contiguous_layout(array.shape, axis)
    order = order_of(array)
    if order is None:
        return _scattered(array.shape, axis)
    return _ordered(array.shape, axis, list(order))


@lru_cache(maxsize=256)
def contiguous_layout(shape: tuple[int, ...], axis: int) -> Layout:
    """The layout of a C-contiguous array."""
    return _ordered(shape, axis, list(range(len(shape))))


def _ordered(shape: tuple[int, ...], axis: int, order: list[int]) -> Layout:
    place = order.index(axis)
    outer = prod(shape[k] for k in order[:place])
    inner = prod(shape[k] for k in order[place + 1 :])
    if shape[axis] == 1:
        outer, inner = 1, outer * inner
    return Layout(outer, shape[axis], inner, axis, len(shape), tuple(order))


def _scattered(shape: tuple[int, ...], axis: int) -> Layout:
    return Layout(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]), axis, len(shape), None)
