"""The made-up libcuda and the libraries above: compiled once, loaded before CuPy looks for any."""

from __future__ import annotations

import ctypes
import re
import subprocess
from functools import cache
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

from .built import built

_DRIVER = Path(__file__).with_name("driver")
_FLAGS = ["gcc", "-std=gnu11", "-O3", "-g0", "-w", "-shared", "-fPIC", "-fvisibility=hidden"]


@cache
def libcuda() -> ctypes.CDLL:
    """The driver, and the functions that stand in for the CUDA runtime's; loaded for all."""
    headers = _cuda_headers()
    names = set(re.findall(r"CUDAAPI\s+(cu\w+)\s*\(", (headers / "cuda.h").read_text("utf-8")))
    parts = ["note.c", "devices.c", "memory.c", "streams.c", "launches.c", "graphs.c"]
    flags = [*_FLAGS, "-Wl,-soname,libcuda.so.1", f"-I{headers}"]
    return _load("libcuda", parts, names, "made_up_refuse", flags)


@cache
def libcublas() -> ctypes.CDLL:
    """The matrix products."""
    wanted = _undefined("cupy_backends.cuda.libs.cublas", "cublas")
    flags = [*_FLAGS, f"-I{_cuda_headers()}", "-Wl,-soname,libcublas.so.13"]
    flags += ["-Wl,--version-script=versions", libcuda()._name]
    return _load("libcublas", ["blas.c"], wanted, "15 + 0 * made_up_refuse", flags)


@cache
def libcublaslt() -> ctypes.CDLL:
    """The matrix products with something behind them; cuBLAS needs it to be there too."""
    names = {"cublasLtGetVersion"}
    flags = [*_FLAGS, f"-I{_cuda_headers()}", "-Wl,-soname,libcublasLt.so.13", libcuda()._name]
    return _load("libcublasLt", ["blaslt.c"], names, "15 + 0 * made_up_refuse", flags)


@cache
def libnccl() -> ctypes.CDLL:
    """The collectives: nccl.py carries them."""
    wanted = _undefined("cupy_backends.cuda.libs.nccl", "nccl")
    flags = [*_FLAGS, f"-I{_cuda_headers()}", "-Wl,-soname,libnccl.so.2", libcuda()._name]
    return _load("libnccl", ["nccl.c"], wanted, "made_up_nccl_refuse", flags)


def _load(
    name: str, parts: list[str], names: set[str], refusal: str, flags: list[str]
) -> ctypes.CDLL:
    """A library of `parts`; what else of `names` is called, is refused by its name."""
    texts = {part: (_DRIVER / part).read_text("utf-8") for part in parts}
    text = "\n".join(texts.values())
    defined = set(re.findall(r"^(?:API \w+ |GEMM\()((?:cu|nccl)\w+)", text, re.M))
    missing = sorted(names - defined)
    refusals = "int made_up_refuse(const char *), made_up_nccl_refuse(const char *);\n" + "".join(
        '__attribute__((visibility("default"))) '
        f'int {each}(void) {{ return {refusal}("{each}"); }}\n'
        for each in missing
    )
    listed = "".join(f'"{each}", ' for each in missing)
    refusals += f"const char *const made_up_refusals[] = {{{listed}0}};\n"
    headers = {each.name: each.read_text("utf-8") for each in sorted(_DRIVER.glob("*.h"))}
    sources = {f"{name}.c": refusals, **headers, **texts}
    sources["versions"] = "libcublas.so.13 { global: cublas*; local: *; };\n"
    found = built(name, sources, [*flags, *parts], ".so")
    return ctypes.CDLL(str(found), mode=ctypes.RTLD_GLOBAL)


def _undefined(module: str, prefix: str) -> set[str]:
    """The functions of other libraries that an extension module calls."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", spec.origin], capture_output=True, text=True, check=True
    )
    return set(re.findall(rf" U ({prefix}\w+)", listed.stdout))


def _cuda_headers() -> Path:
    """The folder of cuda.h and cuda_runtime_api.h."""
    files = distribution("nvidia-cuda-runtime").files or []
    found = next(file for file in files if file.name == "cuda.h")
    return Path(str(found.locate())).parent
