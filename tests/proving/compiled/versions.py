"""The packages that decide what machine code comes out."""

from __future__ import annotations

from functools import cache
from importlib import metadata

from proving.compiled import ptxas

# The extra "cuda-check" pins them.
PACKAGES = ("cupy-cuda13x", "nvidia-cuda-nvrtc", "numba-cuda", "numba", "nvidia-nvvm")
ASSEMBLER = "nvidia-cuda-nvcc"
_HEADERS = ("nvidia-cuda-runtime", "nvidia-cuda-crt")


def compilers() -> dict[str, str]:
    """The version of each package here; of the assembler, whatever it came with."""
    found = {package: _version(package) for package in PACKAGES}
    return found | {ASSEMBLER: ptxas.version() if ptxas.path() else "missing"}


@cache
def installed() -> dict[str, str]:
    """The same, with the headers, the disassembler, and what builds LLVM's code for Numba."""
    more = (*_HEADERS, "nvidia-cuda-nvdisasm", "llvmlite")
    return compilers() | {package: _version(package) for package in more}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"
