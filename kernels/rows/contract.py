"""What an engine of operations over rows owes."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from ...backend import Array
from ..operation import OperationEngine
from .skeleton import Rows, Shape

BESIDE = ("bfloat16",)
"""The dtypes of arrays of elements that such an operation takes beside those of all operations:
ml_dtypes' bfloat16, which exists where a user has imported that package."""


class Arrays(NamedTuple):
    """The arrays of a call, all contiguous, of one device, not empty.

    Attributes:
        elements: those of `Rows.arrays`, in that order, of one dtype, rows after rows; the result
            may be the very memory of others.
        vectors: those of `Rows.vectors`, in the numbers of the computation, or None.
        given, kept: (numbers, rows), in those of the computation; of no rows where there are none.
        added: where sums over columns go, (sums, period), in the same.
    """

    elements: tuple[Array, ...]
    vectors: tuple[Array | None, ...]
    given: Array
    kept: Array
    added: Array


class RowsEngine(OperationEngine):
    """Runs any `Rows`."""

    @abstractmethod
    def run(self, rows: Rows, shape: Shape, arrays: Arrays, numbers: tuple[float, ...]) -> None:
        """Write the result, what is kept, and the sums."""
