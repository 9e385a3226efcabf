"""What cuBLASLt has on a GPU: its handle, and memory to work in for each stream."""

from __future__ import annotations

from ctypes import CDLL, byref
from ctypes import c_void_p as pointer
from functools import cache
from typing import Any

from .cublaslt import load

HOPPER = 9
ALIGNED = 256  # bytes: the most that cuBLASLt asks for, and what CuPy's new memory is aligned to
LARGE, SMALL = 32 << 20, 4 << 20  # bytes to work in, as NVIDIA advises, from Hopper on and before


class NoProductError(Exception):
    """cuBLASLt has no such product here; the text tells why."""


@cache
def library() -> CDLL:
    """cuBLASLt, of CuPy's CUDA version; OSError where there is none."""
    import cupy

    return load(cupy.cuda.runtime.runtimeGetVersion() // 1000)


def checked(status: int, name: str) -> None:
    """Raise NoProductError for what a function of the library returned, unless all was well."""
    if status:
        told = library().cublasLtGetStatusName(status) or b"an unknown status"
        raise NoProductError(f"{name}: {told.decode()}, {status}")


class ProductDevice:
    """GPU `index`. To be made while it is the current device.

    Attributes:
        handle: of the library.
        bytes: of memory that a product may work in.
        rooms: a stream -> that memory. It is taken from CuPy's pool at the first product on the
            stream, and kept: a captured graph goes on using that of the stream it was captured on,
            so no other product may run on this stream while the graph does elsewhere.
    """

    def __init__(self, index: int) -> None:
        import cupy

        self.index = index
        self.handle = pointer()
        checked(library().cublasLtCreate(byref(self.handle)), "cublasLtCreate")
        capability = cupy.cuda.Device(index).compute_capability
        self.bytes = LARGE if int(capability[:-1]) >= HOPPER else SMALL
        self.rooms: dict[int, Any] = {}

    def room(self, stream: int) -> Any:
        """The memory of a stream, which is the current one if it is new."""
        import cupy

        if (found := self.rooms.get(stream)) is None:
            made = cupy.cuda.alloc(self.bytes)
            if made.ptr % ALIGNED:  # by an allocator that is not CuPy's
                raise NoProductError(f"memory to work in is not aligned to {ALIGNED} bytes")
            found = self.rooms.setdefault(stream, made)
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
