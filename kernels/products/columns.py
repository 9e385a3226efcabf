"""How a matrix looks to a library that stores matrices by columns."""

from __future__ import annotations

from typing import NamedTuple


class Stored(NamedTuple):
    """A matrix of `rows` and `columns` in memory, a column every `leading` elements, of which the
    matrix meant is the transpose if `turned`."""

    rows: int
    columns: int
    leading: int
    turned: bool


def transposed(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> Stored | None:
    """How such an array's TRANSPOSE is stored; None where neither its rows nor its columns are
    runs of memory, one behind the other.

    Rows that are runs of memory are the columns of the transpose: nothing is turned.
    """
    rows, columns = shape
    down, along = strides
    if (leading := _leading(rows, columns, down, along, itemsize)) is not None:
        return Stored(columns, rows, leading, False)
    if (leading := _leading(columns, rows, along, down, itemsize)) is not None:
        return Stored(rows, columns, leading, True)
    return None


def _leading(runs: int, length: int, step: int, within: int, itemsize: int) -> int | None:
    """Elements from a run to the next one of `runs`, each of `length` elements.

    The stride along an axis of one element says nothing.
    """
    if length > 1 and within != itemsize:
        return None
    if runs == 1:
        return length
    leading, rest = divmod(step, itemsize)
    return None if rest or leading < length else leading
