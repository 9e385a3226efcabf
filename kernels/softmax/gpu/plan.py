"""How the GPU engines share a matrix of logits out among threads.

A row goes to a few neighbouring threads of a warp, or, where it is wide, to a block. Each of them
keeps some of its values in registers, so that memory is read once; sizes are powers of two, so that
there are few kernels.
"""

from __future__ import annotations

from typing import NamedTuple

WARP = 32
THREADS = 256  # of a block
MORE = 1024  # of one whose row is wide
FEW = 4  # values of a thread, read at once, before a row takes more threads
LARGE = 4096  # columns up to which a row's block has THREADS
WIDE = 1 << 30  # columns from which their number takes 64 bits, and more registers
BLOCKS = 4096  # beyond that, a block takes several rows after another


class Room(NamedTuple):
    """Values that the registers of a thread have room for, one of THREADS, and one of MORE."""

    few: int
    many: int  # 0: there are no such blocks


# by what is computed in
CUDA_C = {"float32": Room(16, 16), "float64": Room(8, 0)}
NUMBA = {"float32": Room(8, 8), "float64": Room(4, 0)}  # the rest takes more registers there
WITH_WIDE = 8  # where the number of a column takes 64 bits


class GpuPlan(NamedTuple):
    """`blocks` blocks of `threads` threads, of which `lanes` take a row, `kept` values each.

    A row of more than lanes x kept values, which only a whole block takes, is read again. `wide`
    tells whether the number of a column takes 64 bits.
    """

    threads: int
    lanes: int
    kept: int
    wide: bool
    blocks: int

    @property
    def kernel(self) -> str:
        """The name of the kernel that takes it."""
        return "softmax_lanes" if self.lanes <= WARP else "softmax_block"


def gpu_plan(rows: int, width: int, room: Room) -> GpuPlan:
    """The plan for one shape."""
    most, wide = room.few, width >= WIDE
    if width <= WARP * most:
        threads, lanes = THREADS, min(_power(-(-width // FEW)), WARP)
    elif width <= LARGE or wide or not room.many:
        threads = lanes = THREADS
        most = min(most, WITH_WIDE) if wide else most
    else:
        threads = lanes = MORE
        most = room.many
    kept = min(max(_power(-(-width // lanes)), FEW), most)
    return GpuPlan(threads, lanes, kept, wide, min(-(-rows * lanes // threads), BLOCKS))


def every_width() -> tuple[int, ...]:
    """Numbers of columns that take every plan there is, but for the one with `wide`."""
    return tuple(1 << k for k in range(16))


def _power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << (n - 1).bit_length()
