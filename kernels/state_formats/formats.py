"""States of each format: made, encoded and decoded, by array expressions."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ...backend import Array, backend_of
from ...backend.checks.numbers import flag, random_word
from . import array as expressions
from . import bfloat16, noise
from .layout import BFLOAT16, EIGHT_BIT, FLOAT32, FORMATS
from .state8bit import State8bit, blocks_of, checked_block_size


def check_format(name: str, value: Any) -> str:
    """ValueError or TypeError, with the choices, where it is no format."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; expected a string: {_choices()}")
    if value not in FORMATS:
        raise ValueError(f"{name} is {value!r}; expected {_choices()}")
    return value


def _choices() -> str:
    return ", ".join(map(repr, FORMATS))


def zero_state(
    param: Array, state_format: str, *, signed: bool = True, block_size: int = 256
) -> Any:
    """A state of zeros for `param`, as step functions take it before the first step.

    Args:
        param: the parameters, NumPy or CuPy; only their shape and device count.
        state_format: "float32"; "bfloat16", as `ml_dtypes.bfloat16` where that package is
            installed, on the CPU, else its bits as uint16; or "8bit", a `State8bit`.
        signed: in 8 bits, False for states that are never negative: v, v_max, u, square_avg,
            acc_delta and sum_sq.
        block_size: in 8 bits, how many neighbours share a scale: a power of two from 64 to 2048.

    Raises:
        TypeError, ValueError: an argument breaks these conditions; it is named.
    """
    backend = backend_of(param, names=["param"])
    check_format("state_format", state_format)
    flag("signed", signed)
    block_size = checked_block_size(block_size)
    with backend.scope():
        xp = backend.xp
        if state_format == FLOAT32:
            return xp.zeros(param.shape, np.float32)
        if state_format == BFLOAT16:
            return as_bfloat16(xp.zeros(param.shape, np.uint16))
        scales = xp.zeros(blocks_of(param.size, block_size), np.float32)
        codes = xp.zeros(param.shape, np.uint8)
        return State8bit(codes, scales, signed=signed, block_size=block_size)


def encode_state(
    values: Array,
    state_format: str,
    *,
    signed: bool = True,
    block_size: int = 256,
    seed: int | None = None,
) -> Any:
    """A state of these values, rounded.

    Args:
        values: float32, NumPy or CuPy.
        state_format, signed, block_size: as for `zero_state`; unsigned ones take absolute values.
        seed: None, to round to the nearest; or that of noise, 0 to 2^64 - 1, by which numbers are
            rounded up or down so that the mean over many seeds is the value.

    Returns:
        A new state on the same device; "float32" gives a copy.

    Raises:
        TypeError, ValueError: an argument breaks these conditions; it is named.
    """
    backend = backend_of(values, names=["values"])
    check_format("state_format", state_format)
    signed, block_size = flag("signed", signed), checked_block_size(block_size)
    _check_float32("values", values)
    key = None if seed is None else noise.key_of(random_word("seed", seed), 0)
    with backend.scope(), np.errstate(all="ignore"):
        if state_format == FLOAT32:
            return values.copy()
        flat = backend.xp.ascontiguousarray(values).reshape(-1)
        u: Any = noise.NEAREST
        if key is not None:
            u = expressions.noise_of(flat.size, block_size, key, 1, flat)[0][0]
        if state_format == BFLOAT16:
            return as_bfloat16(expressions.rounded(flat, u).reshape(values.shape))
        codes, scales = expressions.encoded(flat, u, signed, block_size)
        codes = codes.reshape(values.shape)
        return State8bit(codes, scales, signed=signed, block_size=block_size)


def decode_state(state: Any) -> Array:
    """The numbers of a state of any format, as a new float32 array on its device.

    Raises:
        TypeError: it is none.
    """
    if isinstance(state, State8bit):
        return state.decode()
    backend = backend_of(state, names=["state"])
    with backend.scope():
        if is_bfloat16(state):
            words = expressions.word(bits_of(state)).reshape(-1)
            return bfloat16.widened(words).reshape(state.shape)
        if state.dtype == np.float32:
            return state.copy()
    raise TypeError(
        f"state has dtype {state.dtype}; expected float32, bfloat16 (or its bits as uint16), or a "
        "State8bit"
    )


def format_of(state: Any) -> str:
    """The format of an array or `State8bit` that is a state."""
    if isinstance(state, State8bit):
        return EIGHT_BIT
    return BFLOAT16 if is_bfloat16(state) else FLOAT32


def is_bfloat16(array: Any) -> bool:
    """Whether an array is of `ml_dtypes.bfloat16`, or of uint16, which is taken for its bits."""
    dtype = getattr(array, "dtype", None)
    if not isinstance(dtype, np.dtype):
        return False
    if dtype.kind == "u":
        return dtype.itemsize == 2 and dtype.isnative
    return dtype.kind == "V" and dtype.name == BFLOAT16  # whose name is put together each time


def seen_as_bits(array: Any) -> Any:
    """A tensor of PyTorch's in bfloat16, which NumPy can't see, as its bits; anything else as it
    is."""
    if not hasattr(array, "detach") or str(array.dtype) != "torch.bfloat16":
        return array
    import torch  # which is there, since the tensor is

    return array.detach().view(torch.uint16)


def bits_of(array: Array) -> Array:
    """The same memory as uint16."""
    return array if array.dtype == np.uint16 else array.view(np.uint16)


def as_bfloat16(bits: Array) -> Array:
    """The same memory as bfloat16 where NumPy knows that dtype."""
    dtype = bfloat16_dtype()
    return bits if dtype is None or not isinstance(bits, np.ndarray) else bits.view(dtype)


@cache
def bfloat16_dtype() -> np.dtype[Any] | None:
    """That of ml_dtypes, if it is installed."""
    try:
        from ml_dtypes import bfloat16 as kind
    except ImportError:
        return None
    return np.dtype(kind)


def split_param(values: Array) -> tuple[Array, Array]:
    """float32 numbers in two halves: (param, remainder), as step functions take them.

    Args:
        values: float32, NumPy or CuPy, of any shape.

    Returns:
        param: values rounded to the nearest bfloat16, halves away from zero: `ml_dtypes.bfloat16`
            where that is installed, on the CPU, else the bits as uint16.
        remainder: int16, the lower halves.

    Raises:
        TypeError: values have another dtype.
    """
    backend = backend_of(values, names=["values"])
    _check_float32("values", values)
    with backend.scope():
        flat = backend.xp.ascontiguousarray(values).reshape(-1)
        upper, lower = (
            half(flat).astype(np.uint16).reshape(values.shape)
            for half in (bfloat16.upper_half, bfloat16.lower_half)
        )
        return as_bfloat16(upper), lower.view(np.int16)


def join_param(param: Array, remainder: Array) -> Array:
    """The float32 numbers that are in two halves: the inverse of `split_param`, to the bit but for
    NaN, of which there is one.

    Raises:
        TypeError, ValueError: an array has another dtype or shape.
    """
    backend = backend_of(param, remainder, names=["param", "remainder"])
    check_halves(param, remainder)
    with backend.scope():
        upper, lower = (expressions.word(half).reshape(-1) for half in (bits_of(param), remainder))
        return bfloat16.joined(upper, lower).reshape(param.shape)


def check_halves(param: Array, remainder: Array) -> None:
    """Raise TypeError or ValueError where they are not those of one array."""
    if not is_bfloat16(param):
        raise TypeError(
            f"param has dtype {param.dtype} beside a remainder; expected bfloat16, or its bits as "
            "uint16: the upper halves that split_param returns"
        )
    if remainder.dtype != np.int16:
        raise TypeError(
            f"remainder has dtype {remainder.dtype}; expected int16, as split_param returns it"
        )
    if remainder.shape != param.shape:
        raise ValueError(
            f"remainder has shape {remainder.shape} but param has {param.shape}; expected the same"
        )


def _check_float32(name: str, values: Array) -> None:
    if values.dtype != np.float32:
        raise TypeError(
            f"{name} has dtype {values.dtype}; expected float32. Convert it with "
            f"{name}.astype('float32')"
        )
