"""What cuBLASLt has on a GPU: its handle, and memory to work in for each stream."""

from __future__ import annotations

from ctypes import CDLL, byref
from ctypes import c_void_p as pointer
from functools import cache
from typing import Any

from ..compiling.gpu.cuda_launch import by_stream, current_stream
from .cublaslt import load
from .problem import ALIGNED, NoProductError

HOPPER = 9  # the major number of its compute capability
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
        rooms: of each stream that memory, taken from CuPy's pool at the first product on it, and
            kept. A captured graph goes on using the memory of the stream it was captured on: run it
            there, or nothing else on that stream meanwhile.
    """

    def __init__(self, index: int) -> None:
        import cupy

        self.index, self.handle = index, pointer()
        checked(library().cublasLtCreate(byref(self.handle)), "Create")
        capability = cupy.cuda.Device(index).compute_capability
        self.bytes = LARGE if int(capability[:-1]) >= HOPPER else SMALL
        self.rooms: dict[tuple[int, int, int], Any] = {}
        by_stream.append(self.rooms)

    def room(self) -> Any:
        """The memory of the current stream.

        Raises:
            NoRoomError: there is none.
            OutOfMemoryError: nor is there in a capture, where there is no other way.
        """
        import cupy

        key = self.index, *current_stream()
        if (found := self.rooms.get(key)) is None:
            try:
                made = cupy.cuda.alloc(self.bytes)
            except cupy.cuda.memory.OutOfMemoryError as error:
                if cupy.cuda.get_current_stream().is_capturing():  # CuPy can't multiply there
                    raise
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
