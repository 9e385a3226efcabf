"""A state of an optimizer in 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array, backend_of
from ...backend.checks.numbers import count, flag
from . import array as expressions

BLOCK_SIZES = (64, 128, 256, 512, 1024, 2048)


class State8bit:
    """Codes of 8 bits, and a scale for each block of them, which step functions take as a state.

    Args:
        codes: uint8, of the parameter's shape, C-contiguous.
        scales: float32, one for each block of `block_size` neighbours in C order, the last of which
            may be shorter.
        signed: whether it holds negative numbers, as averages of gradients do; those of squares
            don't.
        block_size: a power of two from 64 to 2048.

    Raises:
        TypeError, ValueError: an array has another dtype or length, or the block another size.

    Example:
        >>> import numpy as np
        >>> from onepass.kernels import encode_state
        >>> encode_state(np.array([1.0, -0.5, 0.1], np.float32), "8bit")
        State8bit((3,), signed=True, block_size=256)
        >>> encode_state(np.array([1.0, -0.5, 0.1], np.float32), "8bit").decode()
        array([ 0.9999981 , -0.4999981 ,  0.10156059], dtype=float32)
    """

    __slots__ = ("block_size", "codes", "scales", "signed")

    def __init__(self, codes: Array, scales: Array, *, signed: bool, block_size: int = 256) -> None:
        self.codes, self.scales = codes, scales
        self.signed = flag("signed", signed)
        self.block_size = checked_block_size(block_size)
        backend_of(codes, scales, names=["codes", "scales"])
        check_parts("", self)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the parameter."""
        shape: tuple[int, ...] = self.codes.shape
        return shape

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return int(self.codes.size)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return int(self.codes.nbytes + self.scales.nbytes)

    def copy(self) -> State8bit:
        """One of the same values that shares no memory."""
        return self.on(self.codes.copy(), self.scales.copy())

    def on(self, codes: Array, scales: Array) -> State8bit:
        """The same with its parts elsewhere."""
        return State8bit(codes, scales, signed=self.signed, block_size=self.block_size)

    def decode(self) -> Array:
        """The numbers, as a new float32 array beside the codes."""
        with backend_of(self.codes, names=["codes"]).scope(), np.errstate(all="ignore"):
            codes = self.codes.reshape(-1)
            found = expressions.decoded(codes, self.scales, self.signed, self.block_size)
            return found.reshape(self.shape)

    def __repr__(self) -> str:
        return f"State8bit({self.shape}, signed={self.signed}, block_size={self.block_size})"


def checked_block_size(value: Any) -> int:
    """ValueError or TypeError where it can't be that of a block."""
    if count("block_size", value) not in BLOCK_SIZES:
        raise ValueError(
            f"block_size is {value!r}; expected a power of two: {', '.join(map(str, BLOCK_SIZES))}"
        )
    return int(value)


def blocks_of(size: int, block_size: int) -> int:
    """How many blocks so many elements have."""
    return -(-size // block_size)


def check_parts(name: str, state: State8bit) -> None:
    """Raise TypeError or ValueError where codes and scales don't fit each other; `name` is that of
    an argument, which errors begin with."""
    of = f"{name}." if name else ""
    if state.block_size not in BLOCK_SIZES:
        raise ValueError(
            f"{of}block_size is {state.block_size!r}; expected a power of two: "
            f"{', '.join(map(str, BLOCK_SIZES))}"
        )
    for part, array, dtype in (
        ("codes", state.codes, "uint8"),
        ("scales", state.scales, "float32"),
    ):
        if array.dtype != np.dtype(dtype):
            raise TypeError(
                f"{of}{part} has dtype {array.dtype}; expected {dtype}. Make one with "
                "kernels.zero_state or kernels.encode_state"
            )
    expected = (blocks_of(state.size, state.block_size),)
    if state.scales.shape != expected:
        raise ValueError(
            f"{of}scales has shape {state.scales.shape}; expected {expected}: one for each block "
            f"of {state.block_size} of {state.size} codes"
        )
