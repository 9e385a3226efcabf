"""Which CUDA kernels a test run has proven, and how: the account that ends it.

A kernel is named by its engine, what it computes and the dtype of its arrays; a test notes it under
a rung of the ladder once it has passed there. `pytest --prove` fails where one that ships is not
proven on a rung that needs no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

ARCHITECTURES = ("75", "80", "90", "100", "120")
"""Compute capabilities that kernels are compiled for, without their point."""

HOST = "executed on the host against the oracle"
ASAN = "clean under the address and undefined behaviour sanitizers"
TSAN = "clean under the thread sanitizer"
SIMULATOR = "executed in Numba's simulator against the oracle"
COMPILED = tuple(f"compiled for sm_{architecture}" for architecture in ARCHITECTURES)
MADE_UP = "launched by CuPy on the made-up driver"
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


_proven: dict[str, set[Kernel]] = {rung: set() for rung in (*WITHOUT_GPU, MADE_UP, GPU)}


def note(rung: str, engine: str, name: str, dtype: str) -> None:
    """A kernel has passed on a rung."""
    _proven[rung].add(Kernel(engine, name, dtype))


def shipped() -> Iterator[Kernel]:
    """Every kernel of the library."""
    from onepass.kernels.activation.formula import FORMULAS
    from onepass.kernels.batch_norm.gpu import cuda_text, numba_cuda
    from onepass.kernels.compiling.gpu.cuda_columns import KERNEL as COLUMNS
    from onepass.kernels.compiling.gpu.cuda_squares import KERNELS as SQUARES
    from onepass.kernels.graph.cuda_text import DECIDE, TAKE
    from onepass.kernels.rule_engines.cuda_scaling import KERNEL as SCALE_DECIDE
    from onepass.kernels.rules import RULES
    from onepass.kernels.softmax.gpu.cuda_text import KERNELS as SOFTMAX
    from tolerances import DTYPES

    from proving import layouts, norm_passes

    activations = [f"activation_{name}" for name in FORMULAS]
    rows = (*norm_passes.ROWS, norm_passes.JOIN)
    both = (*RULES, "dropout", *activations, *SOFTMAX, *rows)
    other_ways = [f"{name}_{way}" for name in RULES for way in ("chunks", "by_table")]
    names = {
        "cupy": (*both, *cuda_text.KERNELS, *other_ways, *SQUARES, COLUMNS, TAKE),
        "numba-cuda": (*both, *numba_cuda.KERNELS, "softmax_mean"),
    }
    for decision in (DECIDE, SCALE_DECIDE):
        yield Kernel("cupy", decision, "float64")
    for engine in names:
        for dtype in DTYPES:
            for name in names[engine]:
                yield Kernel(engine, name, dtype)
        for name, layout in layouts.LAYOUTS.items():
            yield Kernel(engine, name, layouts.dtype(layout))


def missing(rung: str) -> list[Kernel]:
    """What ships, belongs on a rung, and was not proven there."""
    engines = ("cupy",) if rung == MADE_UP else WITHOUT_GPU.get(rung, ("cupy", "numba-cuda"))
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


def watch(rung: str = GPU) -> None:
    """Note every kernel that is launched from now on, as on this rung."""
    from onepass.kernels.compiling.gpu import cuda_launch

    cuda_launch.observers.append(
        lambda engine, name, like, args: note(rung, engine, name, like.dtype.name)
    )
