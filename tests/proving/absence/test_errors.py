"""What CuPy, Numba and CUDA raise is told with kernel, dtype and remedy: their real errors where
they can be had without a GPU, their texts where they can't; and on a GPU where there is one."""

from __future__ import annotations

import subprocess
import sys
import warnings
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import numpy as np
import onepass
import pytest
from onepass import DeviceMemoryError, KernelError, kernels
from onepass.backend.failures import Explained, diagnose, first_line
from onepass.kernels.batch_norm.gpu import cuda_text
from onepass.kernels.batch_norm.gpu import cupy_gpu as batchnorm_cupy
from onepass.kernels.batch_norm.gpu import numba_cuda as batchnorm_numba
from onepass.kernels.compiling.gpu import cuda_launch, first_launch
from onepass.kernels.compiling.gpu.cuda_launch import NumbaKernel, RawKernel
from onepass.kernels.rule_engines import cupy_gpu, numba_cuda
from onepass.kernels.rule_engines.cuda_text import source, symbol
from onepass.kernels.rules import RULES
from onepass.nets import Adam
from programs import TESTS

from proving.absence import made_up_gpu
from proving.compiled import nvrtc


def running(kernel="adam", dtype="float32", engine="cupy"):
    """As if such a kernel ran in the block."""
    return Explained(kernel, SimpleNamespace(dtype=np.dtype(dtype)), engine)


def test_the_errors_can_be_caught_as_the_builtin_ones():
    assert issubclass(KernelError, RuntimeError)
    assert issubclass(DeviceMemoryError, MemoryError)
    assert {"KernelError", "DeviceMemoryError"} <= set(onepass.__all__)


# --- by their names and texts ---------------------------------------------------------------------
def error(name, text, base=Exception, **attributes):
    raised = type(name, (base,), {})(text)
    vars(raised).update(attributes)
    return raised


CUDA = ("CUDARuntimeError", RuntimeError)
TEXTS = {
    "CuPy's memory": (error("OutOfMemoryError", "Out of memory allocating 1,024 bytes (allocated "
                            "so far: 512 bytes).", MemoryError), "memory", "1,024 bytes", "free"),
    "CUDA's memory": (error(CUDA[0], "cudaErrorMemoryAllocation: out of memory", CUDA[1], status=2),
                      "memory", "out of memory", "smaller batch"),
    "the driver's memory": (error("CUDADriverError", "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
                                  RuntimeError), "memory", "OUT_OF_MEMORY", "smaller batch"),
    "Numba's memory": (error("CudaAPIError", "[2] Call to cuModuleLoadDataEx results in "
                             "CUDA_ERROR_OUT_OF_MEMORY", code=2), "memory", "cuModule", "smaller"),
    "a text": (error("CompileException", "a.cu(3): warning #177-D: unused\n\n/tmp/x/a.cu(9): error:"
                     ' identifier "y" is undefined\n1 error', status=1), "compile",
               'a.cu(9): error: identifier "y"', "another engine"),
    "a header": (error("CompileException", "/tmp/x/kern.cu(1): catastrophic error: cannot open "
                       'source file "cuda_fp16.h"'), "compile", "cuda_fp16.h", "CUDA headers"),
    "another GPU": (error("CompileException", "nvrtc: error: invalid value for --gpu-architecture "
                          "(-arch)"), "compile", "--gpu-architecture", "older one"),
    "no image": (error(CUDA[0], "cudaErrorNoKernelImageForDevice: no kernel image is available",
                       CUDA[1]), "compile", "no kernel image", "older one"),
    "an old driver": (error("CUDADriverError", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION: the provided "
                            "PTX was compiled with an unsupported toolchain.", RuntimeError),
                      "compile", "PTX", "update the NVIDIA driver"),
    "no NVRTC": (RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: libnvrtc.so.13: cannot "
                              "open shared object file"), "compile", "libnvrtc", "pip install"),
    "no cuBLAS": (ImportError("libcublas.so.13: cannot open shared object file"), "compile",
                  "libcublas", "onepass[cuda13]"),
    "a full disk": (OSError(28, "No space left on device"), "compile", "No space left",
                    "CUPY_CACHE_DIR"),
    "Numba's types": (error("TypingError", "Failed in cuda mode pipeline (step: nopython frontend)"
                            "\n\x1b[1mNo implementation of function add\x1b[0m", type(
                                "NumbaError", (Exception,), {})), "compile",
                      "No implementation of function add", "another engine"),
    "no NVVM": (error("NvvmSupportError", "libNVVM is not available", ImportError), "compile",
                "libNVVM", "numba-cuda[cu13]"),
    "no linker": (RuntimeError("Link time optimization requires nvJitLink."), "compile",
                  "nvJitLink", "numba-cuda[cu13]"),
    "a linker's error": (error("LinkerError", "error   : Undefined reference to 'f'",
                               RuntimeError), "compile", "Undefined reference", "report"),
    "Numba's driver": (error("CudaSupportError", "Error at driver init: \n\nCUDA driver library "
                             "cannot be found.", ImportError), "compile",
                       "Error at driver init: CUDA driver library cannot be found", "numba-cuda"),
    "a product in a capture": (NotImplementedError("calling cuBLAS API during stream capture is "
                               "currently unsupported"), "capture", "cuBLAS", "outside the"),
    "a value in a capture": (RuntimeError("the current stream is capturing, so synchronous API "
                             "calls are not allowed"), "capture", "synchronous", "outside the"),
    "CUDA in a capture": (error(CUDA[0], "cudaErrorStreamCaptureUnsupported: operation not "
                          "permitted when stream is capturing", CUDA[1], status=900), "capture",
                          "not permitted", "outside the capture"),
    "an address": (error(CUDA[0], "cudaErrorIllegalAddress: an illegal memory access was "
                         "encountered", CUDA[1], status=700), "lost", "illegal", "new process"),
    "a launch": (error("CudaAPIError", "[719] Call to cuLaunchKernel results in "
                       "CUDA_ERROR_LAUNCH_FAILED", code=719), "lost", "LAUNCH", "new process"),
    "a busy GPU": (error(CUDA[0], "cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy "
                         "or unavailable", CUDA[1], status=46), "launch", "busy", "nvidia-smi"),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
def test_each_failure_is_known(case):
    raised, kind, words, remedy = TEXTS[case]
    failure = diagnose(raised)
    assert failure.kind == kind
    assert words in failure.line
    assert remedy in failure.remedy
    told = DeviceMemoryError if kind == "memory" else KernelError
    with pytest.raises(told) as caught, running("moments", "float64", "numba-cuda"):
        raise raised
    assert caught.value.__cause__ is raised
    message = str(caught.value)
    for part in ("kernel moments", "float64 arrays", "engine 'numba-cuda'", failure.line,
                 f"Remedy: {failure.remedy}"):  # fmt: skip
        assert part in message
    assert ("Nothing was written" in message) == (kind in ("memory", "compile"))
    assert "\n" not in message


@pytest.mark.parametrize(
    "raised",
    [
        ValueError("x"),
        TypeError("x"),
        MemoryError("of the CPU"),
        NotImplementedError("x"),
        RecursionError("x"),
        KeyboardInterrupt(),
        KernelError("told already"),
        onepass.EngineUnavailableError("x"),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_other_errors_stay_as_they_are(raised):
    assert diagnose(raised) is None
    with pytest.raises(type(raised)) as caught, running():
        raise raised
    assert caught.value is raised


def test_what_fails_on_the_cpu_is_no_gpus_failure():
    raised = RuntimeError("cannot cache")
    with pytest.raises(RuntimeError) as caught, Explained("adam", np.ones(2), "numba"):
        raise raised
    assert caught.value is raised


def test_an_error_without_a_text_is_told_by_its_name():
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("\n \n")) == "ValueError"


def test_the_message_tells_how_much_memory_is_left():
    with made_up_gpu.Machine().installed() as machine:
        machine.fail("memory", 1)
        x = machine.draw((2, 3), "float32")
        with pytest.raises(DeviceMemoryError) as caught:
            kernels.batch_norm_inference(x, None, None, x[0], x[0], engine="cupy")
    assert "; 1,000 of 80,000 bytes are free, 512 more are kept by CuPy's pool. " in str(
        caught.value
    )
    assert "get_default_memory_pool().free_all_blocks()" in str(caught.value)


# --- the real compilers ---------------------------------------------------------------------------
def test_a_rules_text_that_nvrtc_refuses():
    nvrtc.needed()
    parts = cupy_gpu.parts(RULES["adam"], "float16")
    parts["operation"] += "\np = never_declared;"
    with pytest.raises(KernelError) as caught, running("adam", "float16"):
        nvrtc.build(nvrtc.elementwise(parts, ("g", "p", "m", "v")))
    for part in ("onepass_adam_float16", "float16 arrays", "can't be compiled", "never_declared",
                 "Nothing was written", "another engine"):  # fmt: skip
        assert part in str(caught.value)
    assert type(caught.value.__cause__).__name__ == "CompileException"
    assert "/tmp" not in str(caught.value)


@pytest.mark.parametrize("name", cuda_text.KERNELS)
def test_a_raw_kernels_text_that_nvrtc_refuses_is_named(name):
    nvrtc.needed()
    text = cuda_text.source(name, "float32", False, True, 4, 256)
    head, found, body = text.partition('extern "C"')
    text = head + found + body.replace("const Index channels", "const Indices channels")
    with pytest.raises(KernelError) as caught, running("batch_norm"):
        nvrtc.build(nvrtc.raw(text))
    assert f"kernel {cuda_text.symbol(name)} of batch_norm (engine 'cupy', float32 arrays)" in str(
        caught.value
    )


def test_a_gpu_that_nvrtc_does_not_know():
    nvrtc.needed()
    words = r"gpu-architecture.*Remedy: this compiler makes no code"
    with pytest.raises(KernelError, match=words), running():
        nvrtc.build(nvrtc.raw('extern "C" __global__ void f() {}'), "20")


NO_NVRTC = """
import sys
import numpy as np
from types import SimpleNamespace
sys.path.insert(0, {tests!r})
import cuda.pathfinder as pathfinder

def missing(name, *args, **options):
    raise pathfinder.DynamicLibNotFoundError(f'Failure finding "lib{{name}}.so"')

pathfinder.load_nvidia_dynamic_lib = missing
from proving.compiled import nvrtc
from onepass.backend.failures import Explained
with Explained("adam", SimpleNamespace(dtype=np.dtype("float32")), "cupy"):
    nvrtc.build(nvrtc.raw('extern "C" __global__ void f() {{}}'))
"""


def test_nvrtc_that_can_not_be_found():
    nvrtc.needed()
    pytest.importorskip("cuda.pathfinder", reason="cuda-pathfinder is not installed")
    script = NO_NVRTC.format(tests=str(TESTS))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    told = done.stderr.strip().splitlines()[-1]
    assert told.startswith("onepass.backend.errors.KernelError: kernel adam"), done.stderr
    assert 'can\'t be compiled: Failure finding "libnvrtc.so"' in told
    assert 'pip install "onepass[cuda13]"' in told


def cannot_be_typed(p, g):
    p[0] = g[0] + "text"


def ptx(function):
    import numba
    from numba.cuda import api, compile_ptx, dispatcher

    made_up = SimpleNamespace(compute_capability=(9, 0))
    with (
        mock.patch.object(api, "get_current_device", return_value=made_up),
        mock.patch.object(dispatcher, "get_current_device", return_value=made_up),
    ):
        return compile_ptx(function, numba.void(*[numba.float32[::1]] * 2), cc=(9, 0))


def numba_needed():
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed", exc_type=ImportError)


def test_a_kernel_that_numba_refuses():
    numba_needed()
    words = r"kernel products .*No implementation of function"
    with pytest.raises(KernelError, match=words), running("products"):
        ptx(cannot_be_typed)


def test_nvvm_that_can_not_be_found():
    numba_needed()
    from numba.cuda.cudadrv import nvvm

    words = r"can't be compiled: .*numba-cuda\[cu13\]"
    without = mock.patch.object(nvvm, "_nvvm", None)
    with pytest.raises(KernelError, match=words), without, running():
        ptx(lambda p, g: None)


def test_numba_does_not_warn_of_small_grids():
    """A warning that is an error would stop between two launches."""
    numba_needed()
    from numba import cuda

    kernel = cuda.jit(lambda p: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Warning, match="Grid size 1"):
            kernel[1, 1]
        with mock.patch.object(cuda, "external_stream", return_value=0):
            cuda_launch._launcher(kernel, 1, 1, 0)


# --- on a GPU -------------------------------------------------------------------------------------
GPU_ENGINES = [("array", "cuda"), ("cupy", "cuda"), ("numba-cuda", "cuda")]
on_a_gpu = pytest.mark.parametrize("engine", GPU_ENGINES, indirect=True, ids="-".join)


def mixed(engine):
    """Arrays of two dtypes, gradients for them, and an optimizer; float16 comes second."""
    rng = np.random.default_rng(1)
    shapes = {"a": ((50, 20), "float32"), "b": ((20_000,), "float16"), "c": ((500,), "float32")}
    params, grads = (
        {k: engine.asarray(rng.random(shape).astype(dtype)) for k, (shape, dtype) in shapes.items()}
        for _ in range(2)
    )
    return params, grads, Adam(params, engine=engine.name)


def contents(engine, params, optimizer):
    arrays = [*params.values(), *(a for state in optimizer._state.values() for a in state)]
    return optimizer.steps, [engine.to_numpy(array).tobytes() for array in arrays]


@contextmanager
def memory_of(limit):
    """New arrays on a GPU share so many bytes, and no free halves of another pool's chunks."""
    import cupy

    pool = cupy.cuda.MemoryPool()
    pool.set_limit(size=limit)
    with cupy.cuda.using_allocator(pool.malloc):
        yield


@pytest.mark.gpu
@pytest.mark.parametrize("engine", GPU_ENGINES[:1], indirect=True, ids="-".join)
@pytest.mark.parametrize("kilobytes", [1, 60, 200])  # the first array takes 30, the next over 300
def test_memory_that_really_runs_out(engine, kilobytes):
    params, grads, optimizer = mixed(engine)
    before = contents(engine, params, optimizer)
    told = r"Out of memory allocating .* bytes are free"
    with memory_of(kilobytes * 1024), pytest.raises(DeviceMemoryError, match=told):
        optimizer.step(grads)
    assert contents(engine, params, optimizer) == before
    optimizer.step(grads)
    assert optimizer.steps == 1


@pytest.mark.gpu
@on_a_gpu
def test_a_batch_norm_that_really_finds_no_memory(engine):
    x = engine.asarray(np.random.default_rng(0).random((64, 32, 16), dtype="float32"))
    vectors = [engine.asarray(np.full(32, value, "float32")) for value in (1, 0, 0, 1)]
    before = [engine.to_numpy(each).tobytes() for each in (x, *vectors)]
    with memory_of(1024), pytest.raises(DeviceMemoryError, match="batch_norm_forward"):
        engine.kernel("batch_norm_forward")(x, *vectors)
    assert [engine.to_numpy(each).tobytes() for each in (x, *vectors)] == before


@pytest.mark.gpu
@on_a_gpu
def test_a_kernel_of_a_step_that_really_can_not_be_compiled(engine, monkeypatch):
    if engine.name == "array":
        pytest.skip("array expressions have no kernels of ours")
    by_chunks = cupy_gpu, "chunks_kernel"  # of which a list's step is made
    module, which = by_chunks if engine.name == "cupy" else (numba_cuda, "kernel")
    make = getattr(module, which).__wrapped__

    def kernel(rule, dtype):
        if dtype != "float16":
            return make(rule, dtype)
        if engine.name == "numba-cuda":
            return NumbaKernel("adam", lambda p, g, m, v, *_: cannot_be_typed(p, g))
        text = source(rule, dtype, chunks=True).replace("C p_ = p;", "never_declared;")
        return RawKernel("adam_chunks", dtype, text, symbol(rule, dtype, chunks=True))

    params, grads, optimizer = mixed(engine)
    before = contents(engine, params, optimizer)
    with monkeypatch.context() as patch:
        patch.setattr(module, which, kernel)
        patch.setattr(first_launch, "_compiled", set())
        with pytest.raises(KernelError, match=r"float16 arrays\) can't be compiled"):
            optimizer.step(grads)
    assert contents(engine, params, optimizer) == before
    optimizer.step(grads)
    assert optimizer.steps == 1


@pytest.mark.gpu
@on_a_gpu
def test_the_last_kernel_of_a_batch_norm_that_really_can_not_be_compiled(engine, monkeypatch):
    if engine.name == "array":
        pytest.skip("array expressions have no kernels of ours")
    x = engine.asarray(np.random.default_rng(0).random((8, 3, 5), dtype="float32"))
    vectors = [engine.asarray(np.full(3, value, "float32")) for value in (1, 0, 0, 1)]
    before = [engine.to_numpy(each).tobytes() for each in (x, *vectors)]
    make = batchnorm_numba.kernel.__wrapped__

    def numba_kernel(name, dtype, relu):
        if name == "normalize":
            return NumbaKernel(name, lambda x, coefficients, y, inner: cannot_be_typed(x, y))
        return make(name, dtype, relu)

    def cupy_source(name, *form):
        return cupy_text(name, *form).replace("= y_of(", "= never_declared(")

    cupy_text = batchnorm_cupy.source
    with monkeypatch.context() as patch:
        patch.setattr(batchnorm_numba, "kernel", numba_kernel)
        patch.setattr(batchnorm_cupy, "source", cupy_source)
        batchnorm_cupy.raw_kernel.cache_clear()
        patch.setattr(first_launch, "_compiled", set())
        with pytest.raises(KernelError, match="can't be compiled"):
            engine.kernel("batch_norm_forward")(x, *vectors, out=x)
    batchnorm_cupy.raw_kernel.cache_clear()
    assert [engine.to_numpy(each).tobytes() for each in (x, *vectors)] == before
