"""g++: libraries of CUDA C text in every build, and the program that runs those of a sanitizer."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from proving.host import elementwise as hostcuda

HEADER = Path(__file__).with_name("cuda_on_host.h")
SANITIZERS = {  # -O0: no access is optimized away, and it compiles fastest
    "asan": ("-O0", "-g1", "-ffp-contract=off", "-fsanitize=address,undefined"),
    "tsan": ("-O0", "-g1", "-ffp-contract=off", "-fsanitize=thread"),
}
BUILDS = hostcuda.BUILDS | SANITIZERS
_STUBS = (  # HEADER offers what they would
    "cuda_fp16.h", "cupy/carray.cuh", "cupy/float16.cuh", "cupy/bfloat16.cuh",
)  # fmt: skip


@cache
def library(text: str, name: str, build: str) -> str:
    """The file of `text`, compiled as BUILDS says."""
    folder = Path(tempfile.mkdtemp(dir=_workshop()))
    source, found = folder / f"{name}.cpp", folder / f"{name}.so"
    source.write_text(text, encoding="utf-8")
    flags = ["-fno-strict-aliasing", *BUILDS[build]]  # a float * read as float4 *, as kernels do
    flags += ["-fvisibility=hidden", f"-I{HEADER.parent}", f"-I{_workshop()}"]
    done = _compile([*hostcuda.LOADED, *flags, str(source), *hostcuda.LIBRARIES], found)
    assert done.returncode == 0, f"g++ rejects {name}:\n{done.stderr}"
    return str(found)


@cache
def program(kind: str) -> tuple[str, str]:
    """The file of sanitized.cpp under "asan" or "tsan"; or why there is none."""
    if hostcuda.MISSING:
        return "", hostcuda.MISSING
    runtimes = ("libubsan.so", "libasan.so") if kind == "asan" else (f"lib{kind}.so",)
    for runtime in runtimes:
        find = ["g++", f"-print-file-name={runtime}"]
        place = subprocess.run(find, capture_output=True, text=True, check=True).stdout.strip()
        if not Path(place).is_absolute():
            return "", f"g++ has no {runtime}"
    source, found = Path(__file__).with_name("sanitized.cpp"), _workshop() / kind
    done = _compile([*SANITIZERS[kind], str(source), "-ldl"], found)
    return (str(found), "") if done.returncode == 0 else ("", f"g++ rejects {source.name}")


def _compile(arguments: list[str], made: Path) -> subprocess.CompletedProcess[str]:
    command = ["g++", "-std=c++17", "-o", str(made), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@cache
def _workshop() -> Path:
    """The folder of all builds and of empty headers, until this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="hostcuda-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for stub in _STUBS:
        (folder / stub).parent.mkdir(exist_ok=True)
        (folder / stub).touch()
    return folder
