"""Every form in which the engine "cupy" compiles batch normalization: for long runs of a channel or
columns of many, sixteen bytes at a time or fewer, with ReLU or without."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onepass.kernels.batch_norm.gpu import cupy_gpu
from onepass.kernels.batch_norm.gpu.cuda_text import ALWAYS_GATED, GATED, IN_REGISTERS
from onepass.kernels.batch_norm.gpu.plan import MORE, THREADS
from onepass.kernels.compiling.gpu.cuda_packs import BYTES

from proving.compiled import nvrtc

RUNS = {"runs": True, "columns": False}


def items(dtype: str) -> dict[str, int]:
    """Elements of an item, by form."""
    most = BYTES // np.dtype(dtype).itemsize
    parts = {"packs": most, "halves": most // 2, "quarters": most // 4}
    return {name: each for name, each in parts.items() if each > 1} | {"singles": 1}


def texts(name: str, dtype: str) -> dict[str, nvrtc.Text]:
    """What CuPy compiles, by form."""
    return {
        form: nvrtc.launched(cupy_gpu.raw_kernel, name, dtype, *how)
        for form, how in _forms(name, dtype)
    }


def _forms(name: str, dtype: str) -> Iterator[tuple[str, tuple[bool, bool, int, int]]]:
    """Words, and relu, runs, each and threads."""
    threads = MORE if name in IN_REGISTERS else THREADS
    gates = {"": False} if name not in ALWAYS_GATED else {}
    if name in GATED or name in ALWAYS_GATED:
        gates["relu"] = True
    for runs, of_runs in RUNS.items():
        for item, each in items(dtype).items():
            for gate, relu in gates.items():
                words = filter(None, (runs, item, gate))
                yield " ".join(words), (relu, of_runs, each, threads)


def budget(dtype: str, name: str, form: str) -> int:
    """The registers that a thread may take: 64, which leave a scheduler 8 warps; 128, which leave
    4, where it keeps values or has eight of an item: both have many reads under way."""
    return 128 if name in IN_REGISTERS or (dtype == "float16" and "packs" in form) else 64
