"""A product that cuBLASLt has made ready, for arrays that are described alike."""

from __future__ import annotations

from ctypes import byref, c_int, c_int32, c_uint32, c_uint64, sizeof
from ctypes import c_void_p as pointer
from threading import Lock
from typing import Any
from weakref import finalize

import numpy as np

from ...backend import Array, KernelError
from . import cublaslt as lt
from .cupy_device import checked, device, library
from .problem import ALIGNED, NoProductError, Problem

_CANDIDATES = 4


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

        kind, stored = problem.kind(), problem.stored()
        self._index, self._device = problem.a.device, device(problem.a.device)
        self._shape, self._dtype = problem.shape, np.dtype(problem.a.kind)
        self._reads_vector = problem.reads_vector
        self._bytes = [
            ((each.columns - 1) * each.leading + each.rows) * kind.itemsize for each in stored
        ]
        self._bytes.append(problem.shape[1] * kind.itemsize)  # of the vector
        self._new, self._scope = cupy.ndarray, cupy.cuda.Device
        self._current, self._stream = cupy.cuda.runtime.getDevice, cupy.cuda.get_current_stream
        self._call, self._rooms = library().cublasLtMatmul, self._device.rooms
        self._one, self._zero = (byref(kind.real(value)) for value in (1, 0))
        self._lock, self._told = Lock(), 0  # the vector that the description has
        self._description = _made("MatmulDesc", self, kind.compute, kind.scale)
        turned = [lt.CUBLAS_OP_T if each.turned else lt.CUBLAS_OP_N for each in stored]
        self._describe(lt.CUBLASLT_MATMUL_DESC_TRANSA, c_int32(turned[0]))
        self._describe(lt.CUBLASLT_MATMUL_DESC_TRANSB, c_int32(turned[1]))
        self._describe(lt.CUBLASLT_MATMUL_DESC_EPILOGUE, c_uint32(problem.epilogue))
        self._layouts = [
            _made("MatrixLayout", self, kind.number, each.rows, each.columns, each.leading)
            for each in stored
        ]
        self._algorithm = self._fastest(problem)

    def _fastest(self, problem: Problem) -> Any:
        """The algorithm that the library takes for the fastest.

        Where one splits a sum, the parts are added up in the type that is computed in, never in
        that of the result.
        """
        a, b, d = self._layouts
        result = [each.aligned for each in (problem.out, problem.vector) if each is not None]
        aligned = min(result, default=ALIGNED)
        if problem.vector is not None:  # by its address the library sees how it is aligned
            self._tell(problem.vector.aligned)
        wanted = pointer()
        checked(library().cublasLtMatmulPreferenceCreate(byref(wanted)), "MatmulPreferenceCreate")
        try:
            for name, value in (
                (lt.CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, c_uint64(self._device.bytes)),
                (
                    lt.CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                    c_uint32(lt.CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE),
                ),
                (lt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, c_uint32(problem.b.aligned)),
                (lt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, c_uint32(problem.a.aligned)),
                (lt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c_uint32(aligned)),
                (lt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c_uint32(aligned)),
            ):
                _set("MatmulPreference", wanted, name, value)
            found, count = (lt.HeuristicResult * _CANDIDATES)(), c_int()
            status = library().cublasLtMatmulAlgoGetHeuristic(
                self._device.handle, self._description, a, b, d, d, wanted, _CANDIDATES, found,
                byref(count),
            )  # fmt: skip
        finally:
            library().cublasLtMatmulPreferenceDestroy(wanted)
        checked(status, "MatmulAlgoGetHeuristic")
        for each in found[: count.value]:
            if not each.state:
                return byref(each.algo)
        raise NoProductError("cublasLtMatmulAlgoGetHeuristic found no algorithm")

    def run(self, a: Array, b: Array, out: Array | None, vector: Array | None) -> Array | None:
        """The product, launched on CuPy's current stream of the arrays' GPU; None, and nothing was
        done, where memory overlaps or is not aligned as it should.

        Raises:
            NoProductError, NoRoomError: cuBLASLt refuses it after all, or finds no memory to work
                in; nothing was done.
            KernelError: it fails.
        """
        if self._current() == self._index:
            return self._launch(a, b, out, vector)
        with self._scope(self._index):
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
        if not (fresh and self._reads_vector) and self._meet(first, second, place, third):
            return None
        stream = self._stream().ptr
        room = self._rooms.get((self._device.index, stream, 0)) or self._device.room()
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
            _fail(status)
        return out

    def _meet(self, first: int, second: int, place: int, vector: int) -> bool:
        """Whether what is written reaches into what is read, or into the other result."""
        one, two, three, four = self._bytes
        end = place + three
        if (first < end and place < first + one) or (second < end and place < second + two):
            return True
        if not vector:
            return False
        behind = vector + four
        if vector < end and place < behind:
            return True
        return not self._reads_vector and (
            (first < behind and vector < first + one) or (second < behind and vector < second + two)
        )

    def _tell(self, vector: int) -> None:
        self._describe(lt.CUBLASLT_MATMUL_DESC_BIAS_POINTER, pointer(vector))
        self._told = vector

    def _describe(self, attribute: int, value: Any) -> None:
        _set("MatmulDesc", self._description, attribute, value)


def _made(name: str, owner: Plan, *values: int) -> pointer:
    """A description or layout of the library, which goes with its owner."""
    made = pointer()
    checked(getattr(library(), f"cublasLt{name}Create")(byref(made), *values), f"{name}Create")
    destroy = finalize(owner, getattr(library(), f"cublasLt{name}Destroy"), made)
    destroy.atexit = False
    return made


def _set(name: str, of: pointer, attribute: int, value: Any) -> None:
    """Set an attribute of a description, or of preferences."""
    function = getattr(library(), f"cublasLt{name}SetAttribute")
    checked(function(of, attribute, byref(value), sizeof(value)), f"{name}SetAttribute {attribute}")


def _fail(status: int) -> None:
    """Raise what a product's status means."""
    try:
        checked(status, "Matmul")
    except NoProductError as error:
        if status in (lt.CUBLAS_STATUS_INVALID_VALUE, lt.CUBLAS_STATUS_NOT_SUPPORTED):
            raise
        raise KernelError(f"a matrix product failed on the GPU: {error}") from None
