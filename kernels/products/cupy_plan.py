"""A product that cuBLASLt has made ready: for shapes, layouts, a dtype, what comes behind it."""

from __future__ import annotations

from ctypes import Array as CArray
from ctypes import byref, c_double, c_float, c_int, c_int32, c_uint32, c_uint64, sizeof
from ctypes import c_void_p as pointer
from threading import Lock
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np

from ...backend import Array, KernelError
from . import cublaslt as lt
from .columns import Stored, transposed
from .cupy_device import ALIGNED, NoProductError, checked, device, library

_LARGEST = 2**31 - 1  # rows, columns and steps that it takes
_CANDIDATES = 4


class Kind(NamedTuple):
    """What cuBLASLt is told of a dtype."""

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

Described = tuple[int, str, tuple[int, ...], tuple[int, ...], int]


def described(array: Array) -> Described:
    """What a product depends on of a CuPy array: GPU, dtype's character, shape, strides, and to how
    many bytes it is aligned."""
    data = array.data
    place = data.ptr | ALIGNED
    return data.device_id, array.dtype.char, array.shape, array.strides, place & -place


class Problem(NamedTuple):
    """out = f(a b + bias), or bias_grad = the sums of b's columns beside out = a b.

    out is None where it is new memory. `vector` is bias or bias_grad, by the epilogue.
    """

    a: Described
    b: Described
    out: Described | None
    vector: Described | None
    epilogue: int


class Plan:
    """Runs one `Problem`, on whatever arrays are so described.

    NVIDIA's library stores by columns. An array whose rows are runs of memory is, read by columns,
    its transpose; so the product asked for is

        out^T = b^T a^T,        D = A B of the library, with A = b^T, B = a^T, D = out^T.

    The library's bias has one value for each row of D, added to all its columns: for each column of
    out, to all its rows. Its BGRADA sums the rows of A over the inner side of the product, and has
    one value for each row of D: the sums of b's columns. In dW = x^T dz those are over the rows of
    the batch, which is db.

    Args:
        problem: what is wanted. Its GPU must be the current device.

    Raises:
        NoProductError: cuBLASLt has no such product; the text tells why.
    """

    def __init__(self, problem: Problem) -> None:
        import cupy

        a, b, out, vector, self._epilogue = problem
        self._reads = self._epilogue != lt.CUBLASLT_EPILOGUE_BGRADA  # the vector, or writes it
        self.index = a[0]
        kind = _check(problem)
        self._shape, self._dtype = (a[2][0], b[2][1]), np.dtype(a[1])
        result = out[3] if out is not None else (self._shape[1] * kind.itemsize, kind.itemsize)
        factors = _stored(b, kind), _stored(a, kind)
        place = transposed(self._shape, result, kind.itemsize)
        if place is None or place.turned or place.leading != place.rows:
            raise NoProductError("out has gaps, or lies in memory by columns")
        self._bytes = tuple(_reach(each, kind.itemsize) for each in (*factors, place))
        self._vector_bytes = self._shape[1] * kind.itemsize
        self._device, self._lock = device(self.index), Lock()
        self._rooms = self._device.rooms
        self._call, self._set = library().cublasLtMatmul, _setter("MatmulDesc")
        self._new, self._scope = cupy.ndarray, cupy.cuda.Device
        self._current, self._stream = cupy.cuda.runtime.getDevice, cupy.cuda.get_current_stream
        self._one, self._zero = (byref(kind.real(value)) for value in (1, 0))
        self._told = 0  # the vector that the description has
        self._describe(kind, factors, place)
        self._algorithm = self._best(problem, vector)

    def _describe(self, kind: Kind, factors: tuple[Stored, Stored], place: Stored) -> None:
        self._description = _made("MatmulDesc", self, kind.compute, kind.scale)
        sides = lt.CUBLASLT_MATMUL_DESC_TRANSA, lt.CUBLASLT_MATMUL_DESC_TRANSB
        for side, factor in zip(sides, factors, strict=True):
            turned = lt.CUBLAS_OP_T if factor.turned else lt.CUBLAS_OP_N
            self._set(self._description, side, c_int32(turned))
        self._set(self._description, lt.CUBLASLT_MATMUL_DESC_EPILOGUE, c_uint32(self._epilogue))
        self._layouts = [
            _made("MatrixLayout", self, kind.number, each.rows, each.columns, each.leading)
            for each in (*factors, place)
        ]

    def _best(self, problem: Problem, vector: Described | None) -> Any:
        """The algorithm that the library takes for the fastest.

        None that adds up in the dtype of the result, or in an order that varies.
        """
        wanted = pointer()
        checked(library().cublasLtMatmulPreferenceCreate(byref(wanted)), "its preferences")
        aligned = [each[4] if each is not None else ALIGNED for each in problem[:4]]
        if vector is not None:  # its address, too, tells the library how it is aligned
            self._tell(aligned[3])
        try:
            prefer = _setter("MatmulPreference")
            for name, value in (
                (lt.CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, c_uint64(self._device.bytes)),
                (
                    lt.CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                    c_uint32(lt.CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE),
                ),
                (lt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, c_uint32(aligned[1])),
                (lt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, c_uint32(aligned[0])),
                (lt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c_uint32(min(aligned[2:]))),
                (lt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c_uint32(min(aligned[2:]))),
            ):
                prefer(wanted, name, value)
            found: CArray[lt.HeuristicResult] = (lt.HeuristicResult * _CANDIDATES)()
            count = c_int()
            a, b, d = self._layouts
            status = library().cublasLtMatmulAlgoGetHeuristic(
                self._device.handle, self._description, a, b, d, d, wanted, _CANDIDATES, found,
                byref(count),
            )  # fmt: skip
        finally:
            library().cublasLtMatmulPreferenceDestroy(wanted)
        checked(status, "cublasLtMatmulAlgoGetHeuristic")
        for result in found[: count.value]:
            if not result.state:
                return byref(result.algo)
        raise NoProductError("cublasLtMatmulAlgoGetHeuristic found no algorithm")

    def run(self, a: Array, b: Array, out: Array | None, vector: Array | None) -> Array | None:
        """The product, launched on CuPy's current stream of the arrays' GPU; None, and nothing was
        done, where memory overlaps or is not aligned as it should.

        Raises:
            NoProductError: cuBLASLt refuses it after all; nothing was done.
            KernelError: it fails.
        """
        if self._current() == self.index:
            return self._launch(a, b, out, vector)
        with self._scope(self.index):
            return self._launch(a, b, out, vector)

    def _launch(self, a: Array, b: Array, out: Array | None, vector: Array | None) -> Array | None:
        first, second = b.data.ptr, a.data.ptr
        third = 0 if vector is None else vector.data.ptr
        fresh = out is None
        if out is None:
            out = self._new(self._shape, self._dtype)
        place = out.data.ptr
        if fresh and place % ALIGNED:  # an allocator that is not CuPy's
            return None
        if not (fresh and self._reads) and self._meet(first, second, place, third):
            return None
        stream = self._stream().ptr
        room = self._rooms.get(stream) or self._device.room(stream)
        one, two, three = self._layouts
        with self._lock:  # the vector is told to the description, not to the call
            if third != self._told:
                self._tell(third)
            status = self._call(
                self._device.handle, self._description, self._one, first, one, second, two,
                self._zero, place, three, place, three, self._algorithm, room.ptr,
                self._device.bytes, stream,
            )  # fmt: skip
        if status:
            self._fail(status)
        return out

    def _tell(self, vector: int) -> None:
        self._set(self._description, lt.CUBLASLT_MATMUL_DESC_BIAS_POINTER, pointer(vector))
        self._told = vector

    def _meet(self, first: int, second: int, place: int, vector: int) -> bool:
        """Whether what is written reaches into what is read, or into the other result."""
        one, two, three = self._bytes
        end = place + three
        if (first < end and place < first + one) or (second < end and place < second + two):
            return True
        if not vector:
            return False
        behind = vector + self._vector_bytes
        if vector < end and place < behind:
            return True
        return not self._reads and (
            (first < behind and vector < first + one) or (second < behind and vector < second + two)
        )

    def _fail(self, status: int) -> None:
        try:
            checked(status, "cublasLtMatmul")
        except NoProductError as error:
            if status in (lt.CUBLAS_STATUS_INVALID_VALUE, lt.CUBLAS_STATUS_NOT_SUPPORTED):
                raise
            raise KernelError(f"a matrix product failed on the GPU: {error}") from None


def _check(problem: Problem) -> Kind:
    """What cuBLASLt is told of the dtype that all arrays have; NoProductError for others."""
    a, b, out, vector, _ = problem
    given = [each for each in (a, b, out, vector) if each is not None]
    if len({each[:2] for each in given}) > 1:
        raise NoProductError("the arrays are not of one GPU and one dtype")
    if a[1] not in KINDS:
        raise NoProductError("the arrays are not of floating-point numbers that cuBLASLt is told")
    if len(a[2]) != 2 or len(b[2]) != 2 or a[2][1] != b[2][0]:
        raise NoProductError(f"a {a[2]} and b {b[2]} are not matrices that fit")
    shape = a[2][0], b[2][1]
    if 0 in (*a[2], *b[2]):
        raise NoProductError("there is nothing to multiply")
    if max(*a[2], *b[2]) > _LARGEST:
        raise NoProductError("a side is too long")
    if out is not None and out[2] != shape:
        raise NoProductError(f"out is {out[2]}, not {shape}")
    kind = KINDS[a[1]]
    if vector is not None and (vector[2] != shape[1:] or vector[3] != (kind.itemsize,)):
        raise NoProductError("bias or bias_grad has gaps, or another shape")
    return kind


def _stored(factor: Described, kind: Kind) -> Stored:
    found = transposed(factor[2], factor[3], kind.itemsize)
    if found is None or found.leading > _LARGEST:
        raise NoProductError("neither rows nor columns of a matrix are runs of memory")
    return found


def _reach(stored: Stored, itemsize: int) -> int:
    """Bytes from the first to behind the last element."""
    return ((stored.columns - 1) * stored.leading + stored.rows) * itemsize


def _made(name: str, owner: Plan, *values: int) -> pointer:
    """A description or layout of the library, which goes with its owner."""
    made = pointer()
    checked(getattr(library(), f"cublasLt{name}Create")(byref(made), *values), f"{name}Create")
    destroy = finalize(owner, getattr(library(), f"cublasLt{name}Destroy"), made)
    destroy.atexit = False
    return made


def _setter(name: str) -> Any:
    """Sets an attribute of a description, or of preferences."""
    function = getattr(library(), f"cublasLt{name}SetAttribute")

    def set_(of: pointer, attribute: int, value: Any) -> None:
        checked(function(of, attribute, byref(value), sizeof(value)), f"{name}, {attribute}")

    return set_
