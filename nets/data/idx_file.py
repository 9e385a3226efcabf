"""IDX files: how MNIST stores arrays of bytes."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

from ..types import HostArray

IMAGES, LABELS = 2051, 2049
"""Magic numbers: 0x08 for unsigned bytes, then the number of dimensions, 3 or 1."""


def read_idx(folder: Path, name: str, magic: int, remedy: str) -> HostArray:
    """The array in `folder / name` + ".gz", or, uncompressed, in `folder / name`.

    Some archives hold the same files with a dot for the hyphen before "idx"; they are taken too.

    The file is a magic number and one length for each dimension, as big-endian 32-bit integers,
    then one unsigned byte for each element, row major.

    Args:
        folder: where the file is.
        name: the file's name without ".gz".
        magic: IMAGES (3 dimensions) or LABELS (1).
        remedy: the last sentence of every error.

    Raises:
        FileNotFoundError: neither file is there.
        ValueError: it is not gzip though its name says so, is damaged or truncated, has another
            magic number, or holds more bytes than its header says.
    """
    path, content = _content(folder, name, remedy)
    if content[:4] != magic.to_bytes(4, "big"):
        found = int.from_bytes(content[:4], "big")
        raise ValueError(f"{path} starts with {found}; expected the magic number {magic}. {remedy}")
    start = 4 + 4 * (magic - LABELS + 1)
    shape = tuple(int.from_bytes(content[k : k + 4], "big") for k in range(4, start, 4))
    expected = start + prod(shape)
    if len(content) != expected:
        verdict = "truncated" if len(content) < expected else "too long"
        raise ValueError(
            f"{path} is {verdict}: it holds {len(content)} bytes; expected {expected} for shape "
            f"{shape}. {remedy}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _content(folder: Path, name: str, remedy: str) -> tuple[Path, bytes]:
    """The path that was found and its bytes, decompressed."""
    for stem in (name, name.replace("-idx", ".idx")):
        packed, plain = folder / f"{stem}.gz", folder / stem
        if packed.is_file():
            try:
                return packed, gzip.decompress(packed.read_bytes())
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise ValueError(
                    f"{packed} is not a whole gzip file ({error}). {remedy}"
                ) from error
        if plain.is_file():
            return plain, plain.read_bytes()
    raise FileNotFoundError(f"{folder} holds neither {name}.gz nor {name}. {remedy}")
