"""States in 8 bits in a file: two tensors each; those of bfloat16 are one, of that dtype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...kernels import State8bit
from ...kernels.encoded_states import unsigned_states
from ..types import HostArray

CODES, SCALES = ".codes", ".scales"


def parts(key: str, state: Any) -> dict[str, HostArray]:
    """The tensors of a state, by name."""
    if isinstance(state, State8bit):
        return {key + CODES: state.codes, key + SCALES: state.scales}
    return {key: state}


def names(key: str, tensors: Mapping[str, HostArray]) -> list[str]:
    """What the tensors of a state are called that these hold, or should."""
    return [key + CODES, key + SCALES] if key + CODES in tensors else [key]


def whole(key: str, state: str, tensors: Mapping[str, HostArray], block_size: int) -> Any:
    """The inverse of `parts`, for a state called `state`."""
    if key + CODES not in tensors:
        return tensors[key]
    codes, scales = tensors[key + CODES], tensors[key + SCALES]
    signed = state not in unsigned_states()
    return State8bit(codes, scales, signed=signed, block_size=block_size)
