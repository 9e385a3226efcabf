"""The two doors to a GPU: kernels of this library are launched through CuPy's or Numba's.

cuBLASLt launches its products by itself (../products/), and CuPy its own expressions.

A kernel is launched on the device of one of its arrays, on CuPy's current stream, so that it keeps
the order. `observers` are told of each launch: the tests' account, their runs on the host and those
in Numba's simulator all see kernels there, whatever operation they belong to.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ....backend import Array, KernelError, device_of
from .. import python_text

Blocks = int | tuple[int, int]
P = ParamSpec("P")
K = TypeVar("K")

NULL = np.uint64(0)
"""The pointer to nothing, as a kernel takes it."""

THREADS = 256
_MULTIPROCESSORS = 16  # cudaDevAttrMultiProcessorCount
MAX_BLOCKS = 1 << 16  # beyond that, each thread takes several elements
ZEROS = 1 << 10  # more than a GPU's processors hold blocks

observers: list[Callable[[str, str, Array, tuple[Any, ...]], None]] = []
"""Called after each launch with engine, kernel's name, the array that chose device and dtype, and
all arguments."""


def blocks_for(size: int, each: int = 1) -> int:
    """Blocks whose threads take `each` elements of `size`, or some several times as many."""
    return min(-(-size // (each * THREADS)), MAX_BLOCKS)


class RawKernel:
    """A kernel of CUDA C `text` for arrays of a dtype; `symbol` is what the text calls it."""

    def __init__(self, name: str, dtype: str, text: str, symbol: str = "") -> None:
        import cupy

        include = f"#include <cupy/{dtype}.cuh>\n" if dtype in ("float16", "bfloat16") else ""
        self._name, self._kernel = name, cupy.RawKernel(include + text, symbol or name)
        self._compiled: set[int] = set()

    def compile(self) -> None:
        """Compile it for the current device, unless it is."""
        import cupy

        device = cupy.cuda.runtime.getDevice()
        if device not in self._compiled:  # CuPy's own would look for it anew, on every device
            self._kernel.compile()
            self._compiled.add(device)

    def __call__(self, like: Array, blocks: Blocks, threads: int, *args: Any) -> None:
        """Launch it on the device of `like`."""
        with like.device:
            self._kernel(blocks if isinstance(blocks, tuple) else (blocks,), (threads,), args)
        if observers:
            _tell("cupy", self._name, like, args)


class ElementwiseKernel:
    """One that CuPy writes around an operation; `parts` are what it is made of."""

    def __init__(self, name: str, parts: dict[str, str]) -> None:
        import cupy

        self._name, self._kernel = name, cupy.ElementwiseKernel(**parts)

    def __call__(self, like: Array, *args: Any) -> None:
        """Launch it on the device of `like`."""
        with like.device:
            self._kernel(*args)
        _tell("cupy", self._name, like, args)


class NumbaKernel:
    """A Python function that Numba compiles at its first launch with arguments of some types."""

    def __init__(self, name: str, function: Any, **options: Any) -> None:
        from numba import cuda

        self._name, self._kernel = name, cuda.jit(function, **options)

    def __call__(self, like: Array, blocks: Blocks, threads: int, *args: Any) -> None:
        """Launch it on the device of `like`."""
        with like.device:
            configured(self._kernel, blocks, threads, like)(*args)
        _tell("numba-cuda", self._name, like, args)


def _tell(engine: str, name: str, like: Array, args: tuple[Any, ...]) -> None:
    for observer in observers:
        observer(engine, name, like, args)


def configured(kernel: Any, blocks: Blocks, threads: int, array: Array) -> Any:
    """`kernel`, ready for arrays on the device of `array`, on a grid and CuPy's current stream."""
    import cupy

    stream = cupy.cuda.get_current_stream().ptr
    key = kernel, blocks, threads, stream, device_of(array)
    if (launcher := _launchers.get(key)) is None:
        launcher = _launcher(kernel, blocks, threads, stream)
        if launcher is not kernel:  # as in the simulator, where a kernel remembers one grid only
            if len(_launchers) > 1024:
                _launchers.clear()
            _launchers[key] = launcher
    return launcher


_launchers: dict[Any, Any] = {}


def _launcher(kernel: Any, blocks: Blocks, threads: int, stream: int) -> Any:
    """Without Numba's warning of a grid too small for a GPU: small arrays are no mistake here.

    Where warnings are errors, one in the middle of a step would leave it half done.
    """
    from numba import cuda

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grid size")
        return kernel[blocks, threads, cuda.external_stream(stream)]


def zero_between_launches(like: Array) -> Array:
    """ZEROS numbers, unsigned in 32 bits, on the device of `like`, for kernels whose blocks count
    themselves, so that the last one goes on: they leave them 0. Each of CuPy's streams has its own,
    since launches there follow one another.

    Raises:
        KernelError: there is none yet, and the stream is being captured, where nothing is zeroed.
    """
    import cupy

    key = like.device.id, *current_stream()
    if (found := _counts.get(key)) is None:
        if cupy.cuda.get_current_stream().is_capturing():
            raise KernelError(
                "the first launch of its kind comes while a stream is captured; expected one "
                "before that, on this stream. Run the step once before its capture"
            )
        with like.device:
            found = _counts[key] = cupy.zeros(ZEROS, "uint32")
    return found


def current_stream() -> tuple[int, int]:
    """CuPy's, by its address; with a number of the thread's, where each thread has its own."""
    import cupy

    stream = int(cupy.cuda.get_current_stream().ptr)
    return stream, threading.get_ident() if stream == _OF_THREAD else 0


def forget_stream(stream: int) -> None:
    """Drop what was kept for a stream that has ended: its address may be another's soon."""
    for kept in by_stream:
        for key in [key for key in kept if key[1] == stream]:
            del kept[key]


_OF_THREAD = 2  # CUDA's name for the default stream that each thread has one of
_counts: dict[tuple[int, int, int], Array] = {}
by_stream: list[dict[tuple[int, int, int], Any]] = [_counts]
"""What is kept for streams, by the number of the device and `current_stream`."""
_LATELY = 1024
_kept: list[Any] = []


def made_once(make: Callable[P, K]) -> Callable[P, K]:
    """`make`, called once for the same arguments, until `forget`."""
    _kept.append(cache(make))
    return _kept[-1]


def made_lately(make: Callable[P, K]) -> Callable[P, K]:
    """The same of what depends on shapes, of which there is no end: the last results are kept."""
    _kept.append(lru_cache(_LATELY)(make))
    return _kept[-1]


def forget() -> None:
    """Drop every kernel and plan that was made, so that each is made anew."""
    for make in _kept:
        make.cache_clear()
    _launchers.clear()
    _counts.clear()


@made_once
def processors(device: int) -> int:
    """How many multiprocessors the GPU of that number has."""
    import cupy

    return int(cupy.cuda.runtime.deviceGetAttribute(_MULTIPROCESSORS, device))


@made_once
def device_functions() -> dict[str, Any]:
    """NumPy's functions that formulas may use, as Numba CUDA has them."""
    from numba import cuda

    return {
        "absolute": abs,
        "exp": math.exp,
        "log1p": math.log1p,
        "sqrt": math.sqrt,
        "tanh": math.tanh,
        "where": cuda.jit(python_text.where, device=True),
        "maximum": cuda.jit(python_text.maximum, device=True),
        "sign": cuda.jit(python_text.sign, device=True),
    }
