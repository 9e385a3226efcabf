"""Rows of a SciPy sparse matrix, of which only a few at a time are ever made dense."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..backend.checks.plain_array import described
from ..backend.foreign import check_real
from ..backend.memory_pool import empty
from .types import HostArray, Shape

_PIECE = 1 << 16  # values that are converted and looked at at a time
_BLOCK = 1 << 20  # bytes of a gradient that are made at a time: a core's second cache holds them


class SparseRows:
    """Rows of a CSR matrix, which it leaves untouched, with the words of an array for them.

    They lie on the CPU, whatever device the network is on. Column numbers in any order, in int32 or
    int64, zeros that are stored, and several values of one place, which count as their sum, all
    mean what they mean to SciPy.

    Args:
        matrix: a scipy.sparse CSR matrix or array.
    """

    ndim = 2

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix

    @property
    def shape(self) -> Shape:
        return tuple(map(int, self.matrix.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.matrix.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> SparseRows:
        if rows.indices(len(self)) == (0, len(self), 1):
            return self
        return SparseRows(self.matrix[rows])

    def take(self, rows: HostArray, axis: int = 0) -> SparseRows:
        """The rows of those numbers; a copy."""
        return SparseRows(self.matrix[rows])

    def astype(self, dtype: Any) -> SparseRows:
        """In another dtype, or these themselves."""
        return self if self.dtype == dtype else SparseRows(self.matrix.astype(dtype))

    def dense(self) -> HostArray:
        """As an array (n, width) of their dtype."""
        made: HostArray = self.matrix.toarray(out=empty(self.shape, self.dtype))
        return made

    def __matmul__(self, weight: HostArray) -> HostArray:
        product: HostArray = self.matrix @ weight
        return product

    def gradient(self, dz: HostArray, out: HostArray) -> None:
        """x.T dz, written to `out`: some columns of x at a time, in memory that a cache holds."""
        columns = self.matrix.T.tocsr()
        step = max(1, _BLOCK // max(1, out[:1].nbytes))
        for start in range(0, len(out), step):
            part = slice(start, start + step)
            out[part] = columns[part] @ dz

    def all_finite(self, dtype: Any) -> bool:
        """Whether every value is finite, also in `dtype`."""
        values = self.matrix.data[: self.matrix.indptr[-1]]
        with np.errstate(over="ignore", under="ignore"):
            pieces = (
                values[start : start + _PIECE].astype(dtype, copy=False)
                for start in range(0, len(values), _PIECE)
            )
            return all(bool(np.isfinite(piece).all()) for piece in pieces)


def is_sparse(x: Any) -> bool:
    """Whether it is a sparse matrix or array of SciPy's, which is not imported for it."""
    if type(x) is np.ndarray:
        return False
    scipy_sparse = sys.modules.get("scipy.sparse")  # nobody has made one without
    return scipy_sparse is not None and bool(scipy_sparse.issparse(x))


def sparse_rows(x: Any, name: str) -> SparseRows | None:
    """`x`, called `name` in errors, as SparseRows where it is sparse; None where it is not.

    A CSR matrix is taken as it is; one of another format is converted, in a copy.

    Raises:
        TypeError: it holds no real numbers, or float16, or is a sparse matrix of CuPy's.
        ValueError: it is not of two dimensions, or its arrays don't fit its shape.
    """
    if type(x) is np.ndarray or isinstance(x, SparseRows):
        return x if isinstance(x, SparseRows) else None
    if type(x).__module__.startswith("cupyx.scipy.sparse"):
        raise TypeError(
            f"{name} is {described(x)}; expected one of SciPy's, whose rows go to the GPU a batch "
            f"at a time: {name.partition(' ')[0]}.get() makes one of it"
        )
    if not is_sparse(x):
        return None
    if len(x.shape) != 2:
        raise ValueError(f"{name} has shape {x.shape}; expected (n, features), a row a sample")
    try:
        check_real(x, np.float64)
    except TypeError as error:
        raise TypeError(f"{name} is no matrix of numbers: {error}") from error
    if x.dtype.kind not in "biuf" or x.dtype == np.float16:
        raise TypeError(
            f"{name} is {described(x)} of {x.dtype}, which SciPy does not work with; expected "
            "float32 or float64: its method astype makes one"
        )
    matrix = x.tocsr()
    _check_parts(matrix, name)
    return SparseRows(matrix)


def _check_parts(matrix: Any, name: str) -> None:
    """ValueError where SciPy's compiled code would read beyond what is there."""
    (rows, columns), starts, numbers = matrix.shape, matrix.indptr, matrix.indices
    stored = int(starts[-1]) if len(starts) else -1
    good = (
        len(starts) == rows + 1
        and starts[0] == 0
        and stored <= min(len(numbers), len(matrix.data))
        and bool((starts[1:] >= starts[:-1]).all())
    )
    if not good:
        raise ValueError(
            f"{name} has an indptr that does not fit its {rows} rows and {len(matrix.data)} stored "
            "values; expected what its method check_format(full_check=True) lets pass"
        )
    if not stored:
        return
    numbers = numbers[:stored]
    if numbers.min() < 0 or numbers.max() >= columns:
        wrong = numbers.min() if numbers.min() < 0 else numbers.max()
        raise ValueError(
            f"{name} stores a value in column {wrong}; expected columns 0..{columns - 1}, as its "
            f"shape {matrix.shape} has them"
        )
