"""What is called of NVIDIA's cublasLt.h: its numbers, its functions, and where the library is.

The names are NVIDIA's. A test compiles all of this against the header.
"""

from __future__ import annotations

from ctypes import (
    CDLL,
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_float,
    c_int,
    c_int64,
    c_size_t,
    c_uint64,
)
from ctypes import c_void_p as pointer
from typing import Any

MAJOR_VERSION = 0

CUBLAS_STATUS_SUCCESS = 0
CUBLAS_STATUS_INVALID_VALUE = 7
CUBLAS_STATUS_NOT_SUPPORTED = 15

CUDA_R_32F = 0
CUDA_R_64F = 1
CUDA_R_16F = 2
CUBLAS_COMPUTE_32F = 68
CUBLAS_COMPUTE_64F = 70

CUBLAS_OP_N = 0
CUBLAS_OP_T = 1

CUBLASLT_MATMUL_DESC_TRANSA = 3
CUBLASLT_MATMUL_DESC_TRANSB = 4
CUBLASLT_MATMUL_DESC_EPILOGUE = 7
CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8

CUBLASLT_EPILOGUE_DEFAULT = 1
CUBLASLT_EPILOGUE_RELU = 2
CUBLASLT_EPILOGUE_BIAS = 4
CUBLASLT_EPILOGUE_RELU_BIAS = 6
CUBLASLT_EPILOGUE_BGRADA = 256

CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1
CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3
CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5
CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6
CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7
CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8

CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2


class Algorithm(Structure):
    """cublasLtMatmulAlgo_t"""

    _fields_ = (("data", c_uint64 * 8),)


class HeuristicResult(Structure):
    """cublasLtMatmulHeuristicResult_t"""

    _fields_ = (
        ("algo", Algorithm),
        ("workspaceSize", c_size_t),
        ("state", c_int),
        ("wavesCount", c_float),
        ("reserved", c_int * 4),
    )


_SET = c_int, (pointer, c_int, pointer, c_size_t)
_DESTROY = c_int, (pointer,)
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "cublasLtCreate": (c_int, (POINTER(pointer),)),
    "cublasLtGetProperty": (c_int, (c_int, POINTER(c_int))),
    "cublasLtGetStatusName": (c_char_p, (c_int,)),
    "cublasLtMatmulDescCreate": (c_int, (POINTER(pointer), c_int, c_int)),
    "cublasLtMatmulDescSetAttribute": _SET,
    "cublasLtMatmulDescDestroy": _DESTROY,
    "cublasLtMatrixLayoutCreate": (
        c_int,
        (POINTER(pointer), c_int, c_uint64, c_uint64, c_int64),
    ),
    "cublasLtMatrixLayoutDestroy": _DESTROY,
    "cublasLtMatmulPreferenceCreate": (c_int, (POINTER(pointer),)),
    "cublasLtMatmulPreferenceSetAttribute": _SET,
    "cublasLtMatmulPreferenceDestroy": _DESTROY,
    "cublasLtMatmulAlgoGetHeuristic": (
        c_int,
        (*[pointer] * 7, c_int, POINTER(HeuristicResult), POINTER(c_int)),
    ),
    # handle, description, alpha, A, B and C and D with their layouts (beta before C), algorithm,
    # workspace and its bytes, stream
    "cublasLtMatmul": (c_int, (*[pointer] * 14, c_size_t, pointer)),
}
"""Function -> what it returns, and what it takes."""


def load(major: int) -> CDLL:
    """The library of that CUDA version, which CuPy's cuBLAS has loaded or else would load.

    Raises:
        OSError: it is not there, is of another version, or lacks a function.
    """
    library = _find(major)
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name, None)
        if function is None:
            raise OSError(f"{library._name} has no {name}")
        function.restype, function.argtypes = result, arguments
    version = c_int()
    library.cublasLtGetProperty(MAJOR_VERSION, byref(version))
    if version.value != major:
        raise OSError(f"{library._name} is of version {version.value}, not {major}")
    return library


def _find(major: int) -> CDLL:
    name = f"libcublasLt.so.{major}"
    try:
        return CDLL(name)  # the very one that is loaded, whatever its folder
    except OSError as error:
        first = error
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib  # CuPy's way to NVIDIA's packages

        return CDLL(str(load_nvidia_dynamic_lib("cublasLt").abs_path))
    except (ImportError, RuntimeError, OSError) as error:
        raise OSError(f"{name} is not there ({first}; {error})") from None
