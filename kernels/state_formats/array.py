"""Engine "array": the same formulas on whole arrays, NumPy's or CuPy's; the readable reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array, backend_of
from . import bfloat16, eight_bit, noise
from .words import Number, Word


def word(stored: Array) -> Word:
    """What an array holds as words, its sign spread to 32 bits."""
    return stored.astype(np.uint32)


def noise_of(
    size: int, block_size: int, key: int, pairs: int, like: Array
) -> list[tuple[Word, Word]]:
    """The random bits of each element, for an even and for an odd state, of each pair of states."""
    xp = _library(like)
    place = xp.arange(size)
    block = (place // block_size).astype(np.uint32)
    within = (place % block_size).astype(np.uint32)
    keys = [np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)]
    found, of = [], block
    for _ in range(pairs):
        pace = noise.pace(of, keys[0])
        of = noise.start(pace, keys[1])
        words = of + pace * within
        found.append((noise.upper(words), noise.lower(words)))
    return found


def decoded(codes: Array, scales: Array, signed: bool, block_size: int) -> Number:
    """The numbers of codes without axes but one."""
    scale = scales.repeat(block_size)[: codes.size]
    return (eight_bit.signed if signed else eight_bit.unsigned)(word(codes), scale)


def encoded(values: Number, u: Word | int, signed: bool, block_size: int) -> tuple[Array, Array]:
    """(codes, scales) of numbers without axes but one, by random bits."""
    xp = _library(values)
    magnitudes = eight_bit.largest(xp.zeros(values.size, np.uint32), values)
    padding = xp.zeros(-values.size % block_size, np.uint32)
    most = xp.concatenate([magnitudes, padding]).reshape(-1, block_size).max(axis=1)
    factor, kept = (
        found.repeat(block_size)[: values.size]
        for found in (eight_bit.factor_of(most), eight_bit.kept_of(most))
    )
    code = eight_bit.signed_code if signed else eight_bit.unsigned_code
    codes = code(values, factor, kept, _bits(u, values)).astype(np.uint8)
    return codes, eight_bit.scale_of(most)


def rounded(values: Number, u: Word | int) -> Array:
    """The bits of numbers as bfloat16."""
    return bfloat16.rounded(values, _bits(u, values)).astype(np.uint16)


def _bits(u: Word | int, values: Number) -> Word:
    return _library(values).full(values.size, u, np.uint32) if isinstance(u, int) else u


def _library(array: Array) -> Any:
    return np if isinstance(array, np.ndarray) else backend_of(array).xp
