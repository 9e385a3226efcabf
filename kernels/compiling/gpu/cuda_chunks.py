"""Many arrays in one launch: each block takes a chunk of some array, whose place a table tells it.

The table lies in the GPU's memory. A new one is made where places have changed, and goes there in
the order of CuPy's current stream, through pinned memory that CuPy keeps until it has arrived: so
no launch that is still to read an older table ever sees another one, and nobody waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ....backend import Array

CHUNK = 4096  # elements of an array that a block takes
PACK = 16  # bytes that a thread takes at a time

# What an address in a table is of: else the compiler makes code for any kind of memory.
FOUND = """
template <typename T> __device__ __forceinline__ T *found(const long long *places) {
    T *const place = (T *)places[blockIdx.x];
    __builtin_assume(__isGlobal(place));
    return place;
}
"""


class Cut:
    """Arrays of some sizes and one kind of elements, as chunks; `len` is how many there are.

    An array that begins between two places where a pack may begin has a chunk more, up to the
    second of them: so the others begin there.

    Args:
        sizes: elements of each array.
        addresses: where each begins.

    Attributes:
        array: the number of that of which each chunk is a part.
        sizes: elements of each chunk.
    """

    def __init__(self, sizes: np.ndarray, itemsize: int, addresses: np.ndarray) -> None:
        heads = np.minimum(-addresses % PACK // itemsize, sizes)
        more = (heads > 0).astype(np.int64)
        chunks = more - (heads - sizes) // CHUNK
        self.array = np.repeat(np.arange(sizes.size), chunks)
        before = np.repeat(chunks.cumsum() - chunks, chunks)
        number = np.arange(self.array.size) - before  # of a chunk in its array
        head, more = heads[self.array], more[self.array]
        start = np.where(number < more, 0, head + (number - more) * CHUNK)
        self._offset = start * itemsize
        most = np.where(number < more, head, CHUNK)
        self.sizes = np.minimum(sizes[self.array] - start, most).astype(np.int32)

    def __len__(self) -> int:
        return self.sizes.size

    def places(self, addresses: np.ndarray) -> np.ndarray:
        """Where each chunk begins, of arrays at these addresses."""
        found: np.ndarray = addresses[self.array] + self._offset
        return found


class Chunks(NamedTuple):
    """A table of chunks in the GPU's memory, for one launch or many.

    Attributes:
        like: one of the arrays.
        places: for each argument of a kernel the addresses of its chunks.
        sizes: elements of each chunk, the same for all arguments.
        groups: of each chunk, the group of its array; None where there are none.
    """

    like: Array
    cut: Cut
    places: tuple[Array, ...]
    sizes: Array
    groups: Array | None = None

    def moved(self, argument: int, addresses: np.ndarray) -> Chunks:
        """The table of the same but for one argument, whose arrays lie elsewhere."""
        import cupy

        places = [*self.places]
        places[argument] = cupy.asarray(self.cut.places(addresses))
        return self._replace(places=tuple(places))


def chunks_of(
    like: Array,
    sizes: np.ndarray,
    addresses: Sequence[np.ndarray],
    groups: np.ndarray | None = None,
) -> Chunks:
    """The table of arrays on the current device, of each argument as many and of these sizes.

    Args:
        like: one of them.
        addresses: for each argument where its arrays begin.
        groups: of each of an argument's arrays.
    """
    import cupy

    cut = Cut(sizes, like.dtype.itemsize, addresses[0])
    table = cupy.asarray(np.stack([cut.places(each) for each in addresses]))
    chunks = Chunks(like, cut, tuple(table), cupy.asarray(cut.sizes))
    if groups is None:
        return chunks
    return chunks._replace(groups=cupy.asarray(groups[cut.array].astype(np.int32)))
