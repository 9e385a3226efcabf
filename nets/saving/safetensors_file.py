"""The file of a saved network: safetensors, whose metadata is JSON with a checksum."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from ...backend.version import __version__
from ...kernels.encoded_states import is_bfloat16
from ..types import HostArray
from .atomic_write import write_atomically

FORMAT = "onepass"
VERSION = 1
"""Of the format. A file of a newer one is refused: what it means can't be known."""

STATES = "optimizer."
"""What the names of an optimizer's states begin with, which alone may be bfloat16."""

_LARGEST = 40_000_000
"""Characters of JSON: safetensors reads headers of 100 MB, in which each " becomes two."""


def write_file(target: Path, tensors: Mapping[str, HostArray], content: dict[str, Any]) -> None:
    """Replace the file `target` by these tensors, and `content` as JSON, or leave it as it is.

    Raises:
        OSError: it can't be written.
        ValueError: `content` is too large for a header.
    """
    # safetensors writes an array's memory as if it were in C order
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    halves = [name for name, array in arrays.items() if is_bfloat16(array)]
    arrays |= {name: arrays[name].view(np.uint16) for name in halves}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "written_by": f"onepass {__version__}",
        "content": json.dumps(content, allow_nan=False),
    }
    metadata["crc32"] = _checksum(metadata, arrays)
    if len(metadata["content"]) > _LARGEST:
        raise ValueError(
            f"{target} was not saved: its JSON has {len(metadata['content'])} characters; expected "
            f"{_LARGEST} at most, which safetensors reads. Save less metadata"
        )
    write_atomically(target, _named_bfloat16(serialize(arrays, metadata), halves))


def read_file(path: Path) -> tuple[dict[str, HostArray], dict[str, Any]]:
    """(tensors, content) of a file that `write_file` wrote; every bit of it is checked.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged, another program's, or of a newer format.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not there"
        raise FileNotFoundError(f"{path} is {what}; expected a file that save() has written")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            halves = [name for name in kinds if name.startswith(STATES) and kinds[name] == "BF16"]
            tensors = {name: file.get_tensor(name) for name in kinds if name not in halves}
        tensors |= _bfloat16_bits(path, halves)
        for name, tensor in tensors.items():
            if tensor.dtype.isbuiltin == 2:  # where ml_dtypes is installed, safetensors takes its
                raise TypeError(f"{name} is {tensor.dtype}")
    except (AttributeError, TypeError) as error:  # which NumPy's side of safetensors gives
        raise ValueError(
            f"{path} holds arrays of a dtype that NumPy lacks ({error}); expected a file that "
            "save() has written, and no program has changed"
        ) from error
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no whole safetensors file ({error}); it was truncated, damaged, or made by "
            "another program. Load another checkpoint"
        ) from error
    crc32 = metadata.pop("crc32", None)
    if crc32 != _checksum(metadata, tensors):
        raise ValueError(
            f"{path} is damaged: its checksum is {crc32}; expected {_checksum(metadata, tensors)} "
            "for what it holds. Load another checkpoint"
        )
    content: dict[str, Any] = json.loads(metadata["content"])
    return tensors, content


def _named_bfloat16(file: bytes, names: Sequence[str]) -> bytes:
    """The same file, which calls these tensors of uint16 bfloat16: NumPy, by which safetensors
    knows dtypes, has that only beside ml_dtypes."""
    if not names:
        return file
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + size])
    for name in names:
        header[name]["dtype"] = "BF16"
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[8 + size :]


def _bfloat16_bits(path: Path, names: Sequence[str]) -> dict[str, HostArray]:
    """Tensors of bfloat16 as uint16."""
    if not names:
        return {}
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        found = {}
        for name in names:
            start, end = header[name]["data_offsets"]
            file.seek(8 + size + start)
            bits = np.frombuffer(bytearray(file.read(end - start)), np.uint16)
            found[name] = bits.reshape(header[name]["shape"])
    return found


def _check_format(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT or "content" not in metadata:
        raise ValueError(
            f"{path} is a safetensors file of another program (its metadata has "
            f"{', '.join(sorted(metadata)) or 'nothing'}); expected one that save() has written. "
            "safetensors.numpy.load_file reads its arrays, which net.load_state_dict takes under a "
            "network's names"
        )
    version = metadata.get("version", "")
    if version == str(VERSION):
        return
    if version.isdecimal() and int(version) > VERSION:
        raise ValueError(
            f"{path} has the format {version}, by {metadata.get('written_by')}; onepass "
            f"{__version__} reads format {VERSION}. Update it: pip install --upgrade onepass"
        )
    raise ValueError(f"{path} is damaged: its format is {version!r}; expected '{VERSION}'")


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, HostArray]) -> str:
    """CRC-32 of all metadata, then of all tensors, in the order of their names."""
    crc = 0
    for name in sorted(metadata):
        crc = zlib.crc32(f"{name}={metadata[name]}\n".encode(), crc)
    for name in sorted(tensors):
        array = tensors[name]
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}\n".encode(), crc)
        crc = zlib.crc32(np.atleast_1d(array).data, crc)
    return f"{crc:08x}"
