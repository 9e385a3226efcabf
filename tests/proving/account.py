"""Which CUDA kernels a test run has proven, and how: the account that ends it.

A kernel is named by its engine, what it computes and the dtype of its arrays; a test notes it under
a rung of the ladder once it has passed there. `pytest --prove` fails where one that ships is not
proven on a rung that needs no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

ARCHITECTURES = ("75", "80", "90", "100", "120")
"""Compute capabilities that kernels are compiled for, without their point."""

HOST = "executed on the host against the oracle"
ASAN = "clean under the address and undefined behaviour sanitizers"
TSAN = "clean under the thread sanitizer"
SIMULATOR = "executed in Numba's simulator against the oracle"
COMPILED = tuple(f"compiled for sm_{architecture}" for architecture in ARCHITECTURES)
GPU = "launched on a GPU"

# rung -> the engines whose kernels stand on it
WITHOUT_GPU: dict[str, tuple[str, ...]] = {
    HOST: ("cupy",),
    ASAN: ("cupy",),
    TSAN: ("cupy",),
    SIMULATOR: ("numba-cuda",),
    **dict.fromkeys(COMPILED, ("cupy", "numba-cuda")),
}


class Kernel(NamedTuple):
    """Attributes: engine, "cupy" or "numba-cuda"; name, a rule's or a step's; dtype."""

    engine: str
    name: str
    dtype: str


_proven: dict[str, set[Kernel]] = {rung: set() for rung in (*WITHOUT_GPU, GPU)}


def note(rung: str, engine: str, name: str, dtype: str) -> None:
    """A kernel has passed on a rung; its name may be the one it has in CUDA C."""
    _proven[rung].add(Kernel(engine, name.removeprefix("batch_norm_"), dtype))


def shipped() -> Iterator[Kernel]:
    """Every kernel of the library."""
    from onepass.kernels.activation.formula import FORMULAS
    from onepass.kernels.batch_norm.cuda_text import KERNELS
    from onepass.kernels.rules import RULES
    from onepass.kernels.softmax.cuda_text import KERNELS as SOFTMAX
    from tolerances import DTYPES

    applying = ("normalize", "differentiate", "infer")
    activations = [f"activation_{name}" for name in FORMULAS]
    summing = [name.removeprefix("batch_norm_") for name in KERNELS]
    for engine in ("cupy", "numba-cuda"):
        for dtype in DTYPES:
            for name in (*RULES, *summing, *applying, "dropout", *activations, *SOFTMAX):
                yield Kernel(engine, name, dtype)


def missing(rung: str) -> list[Kernel]:
    """What ships, belongs on a rung, and was not proven there."""
    engines = WITHOUT_GPU.get(rung, ("cupy", "numba-cuda"))
    return [each for each in shipped() if each.engine in engines and each not in _proven[rung]]


def told() -> dict[str, list[list[str]]]:
    """What was proven so far, in words that one process can tell another."""
    return {rung: [[*kernel] for kernel in sorted(found)] for rung, found in _proven.items()}


def add(proven: dict[str, list[list[str]]]) -> None:
    """What another process has `told`."""
    for rung, found in proven.items():
        _proven[rung].update(Kernel(*words) for words in found)


def account() -> list[str]:
    """A line for each rung on which anything was proven, and one for a GPU."""
    lines = []
    for rung, found in _proven.items():
        if found or rung == GPU:
            absent = f" (not {len(missing(rung))} others)" if missing(rung) else ""
            lines.append(f"CUDA kernels {rung}: {len(found)}{absent}")
    return lines


def watch() -> None:
    """Note every kernel that is launched on a GPU from now on."""
    from onepass.kernels.activation import cupy_gpu as activation_cupy
    from onepass.kernels.activation import numba_cuda as activation_numba
    from onepass.kernels.batch_norm import cupy_gpu as batchnorm_cupy
    from onepass.kernels.batch_norm import numba_cuda as batchnorm_numba
    from onepass.kernels.inverted_dropout import cupy_gpu as dropout_cupy
    from onepass.kernels.inverted_dropout import numba_cuda as dropout_numba
    from onepass.kernels.rule_engines import cupy_gpu, numba_cuda
    from onepass.kernels.softmax import cupy_gpu as softmax_cupy
    from onepass.kernels.softmax import numba_cuda as softmax_numba

    def watched(module: Any, function: str, engine: str, prefix: str = "") -> None:
        make = getattr(module, function)

        def noted(which: Any, dtype: str, *more: Any) -> Any:
            note(GPU, engine, prefix + getattr(which, "name", which), dtype)
            return make(which, dtype, *more)

        # What proves a kernel without a GPU makes its own, past this.
        noted.__wrapped__ = make.__wrapped__  # type: ignore[attr-defined]
        setattr(module, function, noted)

    watched(cupy_gpu, "kernel", "cupy")
    watched(numba_cuda, "kernel", "numba-cuda")
    watched(batchnorm_cupy, "raw_kernel", "cupy")
    watched(batchnorm_cupy, "_kernel", "cupy")
    watched(dropout_cupy, "raw_kernel", "cupy")
    watched(dropout_numba, "kernel", "numba-cuda")
    watched(softmax_cupy, "raw_kernel", "cupy")
    watched(softmax_numba, "kernel", "numba-cuda")
    watched(activation_cupy, "kernel", "cupy", "activation_")
    watched(activation_numba, "kernel", "numba-cuda", "activation_")

    launch = batchnorm_numba._Launcher.__call__

    def launched(self: Any, name: str, *arguments: Any) -> None:
        if not isinstance(self.x, np.ndarray):  # which stands in for a GPU's
            note(GPU, "numba-cuda", name, self.x.dtype.name)
        launch(self, name, *arguments)

    batchnorm_numba._Launcher.__call__ = launched  # type: ignore[method-assign]
