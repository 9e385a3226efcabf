"""What a product depends on, and whether cuBLASLt can be asked for it."""

from __future__ import annotations

from ctypes import c_double, c_float
from typing import Any, NamedTuple

from ...backend import Array
from . import cublaslt as lt
from .columns import Stored, transposed

ALIGNED = 256  # bytes: the most that cuBLASLt asks for, and what CuPy's new memory is aligned to
_LARGEST = 2**31 - 1  # rows, columns and steps that it takes


class NoProductError(Exception):
    """cuBLASLt has no such product here; the text tells why."""


class Kind(NamedTuple):
    """What cuBLASLt is told of a dtype; a bias, and its gradient, have the dtype of the result."""

    number: int
    compute: int
    scale: int
    real: Any
    itemsize: int


KINDS = {
    "e": Kind(lt.CUDA_R_16F, lt.CUBLAS_COMPUTE_32F, lt.CUDA_R_32F, c_float, 2),
    "f": Kind(lt.CUDA_R_32F, lt.CUBLAS_COMPUTE_32F, lt.CUDA_R_32F, c_float, 4),
    "d": Kind(lt.CUDA_R_64F, lt.CUBLAS_COMPUTE_64F, lt.CUDA_R_64F, c_double, 8),
}
"""float16 adds up in float32; float32 is not cut to TF32, as CuPy's and PyTorch's defaults."""


class Described(NamedTuple):
    """What a product depends on of a CuPy array: `kind` is the character of its dtype, and
    `aligned` to how many bytes its memory is."""

    device: int
    kind: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    aligned: int


def described(array: Array) -> tuple[int, str, tuple[int, ...], tuple[int, ...], int]:
    """The fields of `Described`, at once; AttributeError for what is no CuPy array."""
    data = array.data
    place = data.ptr | ALIGNED
    return data.device_id, array.dtype.char, array.shape, array.strides, place & -place


class Problem(NamedTuple):
    """out = f(a b + bias), or out = a b and bias_grad = the sums of b's columns.

    `out` is None where it is new memory; `vector` is bias or bias_grad, by the epilogue.
    """

    a: Described
    b: Described
    out: Described | None
    vector: Described | None
    epilogue: int

    @property
    def reads_vector(self) -> bool:
        """Whether it is a bias, not its gradient."""
        return self.epilogue != lt.CUBLASLT_EPILOGUE_BGRADA

    @property
    def shape(self) -> tuple[int, int]:
        """Of the result."""
        return self.a.shape[0], self.b.shape[1]

    def kind(self) -> Kind:
        """What cuBLASLt is told of the dtype of all arrays.

        Raises:
            NoProductError: they don't fit, or cuBLASLt can't be told of such arrays.
        """
        a, b, out, vector, _ = self
        given = [each for each in (a, b, out, vector) if each is not None]
        if len({(each.device, each.kind) for each in given}) > 1:
            raise NoProductError("the arrays are not of one GPU and one dtype")
        if a.kind not in KINDS:
            raise NoProductError(f"cuBLASLt is not called for dtype {a.kind!r}")
        if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0]:
            raise NoProductError(f"a {a.shape} and b {b.shape} are no matrices that fit")
        if 0 in (*a.shape, *b.shape):
            raise NoProductError("there is nothing to multiply")
        if max(*a.shape, *b.shape) > _LARGEST:
            raise NoProductError("a matrix is too long or too wide")
        if out is not None and out.shape != self.shape:
            raise NoProductError(f"out is {out.shape}; expected {self.shape}")
        kind = KINDS[a.kind]
        wanted = self.shape[1:], (kind.itemsize,)
        if vector is not None and (vector.shape, vector.strides) != wanted:
            raise NoProductError("bias or bias_grad has gaps, or another shape")
        return kind

    def stored(self) -> tuple[Stored, Stored, Stored]:
        """How b^T, a^T and out^T are stored, which are A, B and D to the library.

        Raises:
            NoProductError: one of them is stored as the library can't be told.
        """
        kind, (_, columns) = self.kind(), self.shape
        strides = (columns * kind.itemsize, kind.itemsize) if self.out is None else self.out.strides
        place = transposed(self.shape, strides, kind.itemsize)
        if place is None or place.turned or place.leading != place.rows:
            raise NoProductError("out has gaps, or lies in memory by columns")
        first = transposed(self.b.shape, self.b.strides, kind.itemsize)
        second = transposed(self.a.shape, self.a.strides, kind.itemsize)
        if first is None or second is None or max(first.leading, second.leading) > _LARGEST:
            raise NoProductError("neither rows nor columns of a matrix are runs of memory")
        return first, second, place
