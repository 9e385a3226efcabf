"""What cuBLASLt has on a GPU: its handle, and memory to work in for each stream."""

from __future__ import annotations

from ctypes import CDLL, byref
from ctypes import c_void_p as pointer
from functools import cache
from threading import get_ident
from typing import Any

from .cublaslt import load
from .problem import ALIGNED, NoProductError

HOPPER = 9  # the major number of its compute capability
_EACH_THREADS_OWN = 2  # cudaStreamPerThread
LARGE, SMALL = 32 << 20, 4 << 20  # bytes to work in, as NVIDIA advises, from Hopper on and before


class NoRoomError(Exception):
    """There is no memory to work in at this moment; the text tells why."""


@cache
def library() -> CDLL:
    """cuBLASLt, of CuPy's CUDA version; OSError where there is none."""
    import cupy

    return load(cupy.cuda.runtime.runtimeGetVersion() // 1000)


def checked(status: int, name: str) -> None:
    """Raise NoProductError for what cublasLt<name> returned, unless all was well."""
    if status:
        told = library().cublasLtGetStatusName(status) or b"an unknown status"
        raise NoProductError(f"cublasLt{name}: {told.decode()}, {status}")


class ProductDevice:
    """GPU `index`. To be made while it is the current device.

    Attributes:
        handle: of the library.
        bytes: of memory that a product may work in.
        rooms: a stream -> that memory, taken from CuPy's pool at the first product on the stream,
            and kept. The default streams that threads have for their own are one number of CUDA's,
            so these have the thread's beside it. A captured graph goes on using the memory of the
            stream it was captured on: run it there, or nothing else on that stream meanwhile.
    """

    def __init__(self, index: int) -> None:
        import cupy

        self.handle = pointer()
        checked(library().cublasLtCreate(byref(self.handle)), "Create")
        capability = cupy.cuda.Device(index).compute_capability
        self.bytes = LARGE if int(capability[:-1]) >= HOPPER else SMALL
        self.rooms: dict[int | tuple[int, int], Any] = {}

    def room(self, stream: int) -> Any:
        """The memory of a stream, which is the current one if it is new.

        Raises:
            NoRoomError: there is none.
        """
        import cupy

        key = stream if stream != _EACH_THREADS_OWN else (stream, get_ident())
        if (found := self.rooms.get(key)) is None:
            try:
                made = cupy.cuda.alloc(self.bytes)
            except cupy.cuda.memory.OutOfMemoryError as error:
                raise NoRoomError(f"there is no memory to work in: {error}") from None
            if made.ptr % ALIGNED:  # by an allocator that is not CuPy's
                raise NoRoomError(f"memory to work in is not aligned to {ALIGNED} bytes")
            found = self.rooms.setdefault(key, made)
        return found


@cache
def device(index: int) -> ProductDevice:
    """What cuBLASLt has on that GPU, which must be the current device when it is first asked for.

    Raises:
        NoProductError: the library is not there, or can't be used on this GPU.
    """
    try:
        library()
    except OSError as error:
        raise NoProductError(str(error)) from None
    return ProductDevice(index)
