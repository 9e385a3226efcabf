"""What CuPy, Numba and CUDA raise, told as this library's own errors with what to do about it.

They are known by the names of their classes and by CUDA's names for errors, which stand in their
texts, so that nothing is imported to find out.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import NamedTuple

import numpy as np

from .errors import DeviceMemoryError, KernelError
from .types import Array

NO_COMPILER = (
    'CuPy needs NVRTC and the CUDA headers: pip install "onepass[cuda13]" (or "onepass[cuda12]")'
)
NO_TOOLKIT = (
    'numba-cuda needs NVVM, NVRTC and nvJitLink: pip install "numba-cuda[cu13]" (or '
    '"numba-cuda[cu12]"), of the CUDA version that the CuPy beside it has'
)
NUMBA_OFF = (
    "Numba's compiler is switched off (NUMBA_DISABLE_JIT, or numba.config.DISABLE_JIT)",
    "Unset NUMBA_DISABLE_JIT, or set numba.config.DISABLE_JIT = False",
)
"""Reason and remedy."""
OUR_FAULT = (
    "take another engine or the CPU, and please report the compiler's text, which is the cause of "
    "this error"
)
_OLD_DRIVER = "update the NVIDIA driver, which is older than the compiler"
_OTHER_GPU = (
    'this compiler makes no code for this GPU: an older one takes "onepass[cuda12]", a newer one a '
    "newer CuPy"
)
_NO_CACHE = "make room on that disk, or name another folder for kernels in CUPY_CACHE_DIR"
_NO_MEMORY = (
    "free arrays, take a smaller batch, or give back what CuPy keeps: "
    "cupy.get_default_memory_pool().free_all_blocks()"
)
_LOST = "start a new process: this one can't use the GPU any more, and arrays on it are lost"
_CAPTURED = (
    "call it outside the capture: while a stream is being captured, CuPy neither multiplies "
    "matrices nor hands a value to Python"
)
_LAUNCH = "`nvidia-smi` shows the GPU's state and who uses it"

_CUDA = {"CUDARuntimeError", "CUDADriverError", "CudaAPIError", "CudaDriverError", "CUDAError"}
_COMPILERS = {
    "CompileException",
    "NVCCException",
    "NumbaError",
    "NvvmError",
    "NvrtcError",
    "NVRTCError",
    "nvvmError",
    "nvJitLinkError",
    "ImportError",  # also what Numba raises where a library is missing
    "OSError",
    "RuntimeError",  # also a library that CuPy can't load, and Numba's LinkerError
}
_OURS = {"DeviceUnavailableError", "EngineUnavailableError", "KernelError", "DeviceMemoryError"}
_NUMBAS = {"CudaSupportError", "NvvmSupportError", "NvrtcSupportError"}
_NOT_CUDAS = {"NotImplementedError", "RecursionError"}

# CUDA's names for errors after which a process can't go on, as the driver and the runtime have
# them, without underscores
_FATAL = re.compile(
    "illegaladdress|illegalinstruction|misalignedaddress|invalidaddressspace|invalidpc|"
    "launchfail|launchtimeout|errorassert|hardwarestack|eccuncorrectable|contextisdestroyed"
)
_MEMORY = re.compile("erroroutofmemory|errormemoryallocation")
_CAPTURE = re.compile("streamcapture|stream capture|capturing")
_GPU = re.compile("gpu-architecture|nokernelimage|nobinaryforgpu|unsupported gpu")
_DRIVER = re.compile("unsupportedptx|insufficientdriver")
_MISSING = re.compile("cannot open source file|failed to load|failure finding|is not found")
_OUT_OF_MEMORY_STATUS = 2
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_FOLDER = re.compile(r"^\S*/(?=[^/\s]+\(\d+\):)")
_KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\([^()]*\)\s+)?void\s+(\w+)")


class Failure(NamedTuple):
    """What went wrong: "memory", "capture", "compile", "launch" or "lost"; the line that tells;
    the remedy.
    """

    kind: str
    line: str
    remedy: str


def diagnose(error: BaseException) -> Failure | None:
    """What an error of CuPy, Numba or CUDA means; None for one that is not theirs."""
    names = {each.__name__ for each in type(error).__mro__}
    line = first_line(error)
    words = str(error).replace("_", "").lower()
    status = getattr(error, "status", getattr(error, "code", None))
    from_cuda = bool(names & _CUDA)
    if "OutOfMemoryError" in names or (
        from_cuda and (status == _OUT_OF_MEMORY_STATUS or _MEMORY.search(words))
    ):
        return Failure("memory", line, _NO_MEMORY)
    if names & _OURS:
        return None
    if names & (_CUDA | _COMPILERS) and _CAPTURE.search(words):  # CuPy's own errors of it, too
        return Failure("capture", line, _CAPTURED)
    if names & _NOT_CUDAS or not names & (_CUDA | _COMPILERS):
        return None
    if _GPU.search(words):
        return Failure("compile", line, _OTHER_GPU)
    if _DRIVER.search(words):
        return Failure("compile", line, _OLD_DRIVER)
    if from_cuda and "NVRTCError" not in names:
        lost = _FATAL.search(words)
        return Failure("lost", line, _LOST) if lost else Failure("launch", line, _LAUNCH)
    return Failure("compile", line, _compiler_remedy(names, words))


def _compiler_remedy(names: set[str], words: str) -> str:
    if names & _NUMBAS or "libnvvm" in words or "nvjitlink" in words:
        return NO_TOOLKIT
    if "OSError" in names:
        return _NO_CACHE
    if "ImportError" in names or _MISSING.search(words):
        return NO_COMPILER
    return OUR_FAULT


def first_line(error: BaseException) -> str:
    """The line of an error's text that says most: a compiler's first error, else the first."""
    text = _COLOR.sub("", str(error)).strip() or type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines[0].startswith("Failed in") and len(lines) > 1:  # Numba's name for what it was doing
        lines = lines[1:]
    chosen = next((k for k, line in enumerate(lines) if "error: " in line), 0)
    line = _FOLDER.sub("", lines[chosen])
    if line.endswith(":") and chosen + 1 < len(lines):
        line = f"{line} {lines[chosen + 1]}"
    return line.rstrip(".:")


def told_of_capture(error: NotImplementedError, what: str) -> None:
    """`KernelError` where CuPy refused `what` because its stream is being captured."""
    failure = diagnose(error)
    if failure is not None and failure.kind == "capture":
        told = f"{what} can't be captured: {failure.line}. Remedy: {failure.remedy}"
        raise KernelError(told) from error


class Explained:
    """A `with` block in which such errors are told as `KernelError` or `DeviceMemoryError`.

    The block must write nothing that a user sees before all its memory is there and all its kernels
    are compiled: the error says so.

    Args:
        kernel: what runs in the block, such as "adam" or "batch_norm_forward".
        array: one of its arrays, for dtype and device; beside a NumPy array nothing is told.
        engine: who runs it.

    Attributes:
        spared: an error that is left as it is, whatever it says: that of a user's function.
    """

    __slots__ = ("array", "engine", "kernel", "spared")

    def __init__(self, kernel: str, array: Array, engine: str) -> None:
        self.kernel, self.array, self.engine = kernel, array, engine
        self.spared: BaseException | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or error is self.spared or isinstance(self.array, np.ndarray):
            return
        if failure := diagnose(error):
            raise self._told(failure, error) from error

    def _told(self, failure: Failure, error: BaseException) -> Exception:
        name = self.kernel
        if found := _KERNEL.search(getattr(error, "source", None) or ""):
            name = f"{found[1]} of {name}" if found[1] != name else name
        what = f"kernel {name} (engine {self.engine!r}, {self.array.dtype.name} arrays)"
        if failure.kind == "memory":
            return DeviceMemoryError(
                f"the GPU ran out of memory in {what}: {failure.line}{_room(self.array)}. Nothing "
                f"was written. Remedy: {failure.remedy}"
            )
        if failure.kind == "compile":
            what, wrote = f"{what} can't be compiled", " Nothing was written."
        elif failure.kind == "capture":
            what, wrote = f"{what} can't be captured", ""
        else:  # of a launch that fails, only the GPU knows
            what, wrote = f"{what} failed on the GPU", ""
        return KernelError(f"{what}: {failure.line}.{wrote} Remedy: {failure.remedy}")


def _room(array: Array) -> str:
    """How much of the GPU's memory is free, where that can still be asked."""
    try:
        import cupy

        with array.device:
            free, total = cupy.cuda.runtime.memGetInfo()
            kept = cupy.get_default_memory_pool().free_bytes()
    except Exception:  # the first error is the one to tell
        return ""
    return f"; {free:,} of {total:,} bytes are free, {kept:,} more are kept by CuPy's pool"
