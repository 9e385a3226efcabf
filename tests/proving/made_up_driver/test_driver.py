"""The made-up driver tells of mistakes, and counts; planted ones are caught."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import KernelError, kernels
from onepass.nets import Dense, Sequential

from proving.made_up_driver import counting

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("made_up_gpu")]


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy")


def raw(cupy, body, parameters="float *x", before=""):
    """A kernel k with this body."""
    return cupy.RawKernel(f'{before}extern "C" __global__ void k({parameters}) {{ {body} }}', "k")


# --- what is not there ----------------------------------------------------------------------------
def test_a_function_that_the_driver_lacks_is_named(cupy):
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="does not have cudaMallocManaged"):
        cupy.cuda.runtime.mallocManaged(8)
    assert counting.refused() == "cudaMallocManaged"
    assert counting.refused() == ""


def test_a_function_that_cublas_lacks_is_named(cupy):
    from cupy import cublas

    with pytest.raises(cupy.cuda.cublas.CUBLASError, match="NOT_SUPPORTED"):
        cublas.axpy(2.0, cupy.ones(3), cupy.ones(3))
    assert counting.refused() == "cublasDaxpy_v2"


def test_a_sort_which_is_machine_code_is_refused(cupy):
    with pytest.raises(Exception, match=r"does not have cuda|not supported"):
        cupy.sort(cupy.arange(5)).get()
    assert "cuda" in counting.refused()


def test_machine_code_of_gpus_is_refused(cupy):
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="runs no machine code"):
        cupy.cuda.function.Module().load(b"\x7fELF")


# --- kernels that go wrong ------------------------------------------------------------------------
def test_a_text_that_does_not_compile_is_told(cupy):
    with pytest.raises(cupy.cuda.compiler.CompileException, match="never_declared"):
        raw(cupy, "x[0] = never_declared;")((1,), (1,), (cupy.ones(1),))


def test_an_access_behind_an_array_ends_the_kernel(cupy):
    x = cupy.zeros(128, "float32")
    kernel = raw(cupy, "x[(1 << 28) * (threadIdx.x == 3)] = 1;")
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match=r"kernel k.*thread \(3,0,0\)"):
        kernel((1,), (32,), (x,))
    raw(cupy, "x[threadIdx.x] = threadIdx.x;")((1,), (128,), (x,))
    np.testing.assert_array_equal(x.get(), np.arange(128))


def test_an_access_just_behind_memory_of_its_own_ends_the_kernel(cupy):
    with cupy.cuda.using_allocator(None):
        x = cupy.zeros(128, "float32")  # 512 bytes: what CUDA aligns to
        with pytest.raises(cupy.cuda.driver.CUDADriverError, match="illegal memory access"):
            raw(cupy, "x[threadIdx.x + 1] = 1;")((1,), (128,), (x,))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "assert(threadIdx.x < 2);",
            r"thread \(2,0,0\) of block \(0,0,0\): assert\(threadIdx.x < 2",
        ),
        ("__syncthreads(); if (threadIdx.x) __trap();", r"thread \(1,0,0\).*__trap"),
        ("if (threadIdx.x < 2) __syncthreads(); else __syncwarp(3);", "not for the lane|deadlock"),
        ("__shared__ float all[20000]; all[0] = 1; x[0] = all[0];", "bytes of shared memory"),
    ],
)
def test_a_kernel_that_stops_tells_why(cupy, body, told):
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match=told):
        raw(cupy, body)((1,), (4,), (cupy.ones(4, "float32"),))


@pytest.mark.parametrize(("grid", "block"), [((1,), (1025,)), ((1, 65536), (1,))])
def test_a_launch_that_no_gpu_takes_is_refused(cupy, grid, block):
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        raw(cupy, "x[0] = 1;")(grid, block, (cupy.ones(4, "float32"),))


# --- memory and devices ---------------------------------------------------------------------------
def test_memory_is_full_of_nan_until_it_is_written(cupy):
    with cupy.cuda.using_allocator(None):
        assert np.isnan(cupy.empty(100, "float32").get()).all()


def test_memory_has_a_device_and_an_end(cupy):
    runtime = cupy.cuda.runtime
    with cupy.cuda.Device(1):
        there = cupy.cuda.alloc(256)
    attributes = runtime.pointerGetAttributes(there.ptr + 255)
    assert (attributes.device, attributes.type) == (1, runtime.memoryTypeDevice)
    assert runtime.pointerGetAttributes(np.ones(1).ctypes.data).type == 0
    with pytest.raises(runtime.CUDARuntimeError, match="no device memory"):
        runtime.memcpy(np.ones(1).ctypes.data, there.ptr, 8, runtime.memcpyHostToDevice)
    with cupy.cuda.using_allocator(None):
        own = cupy.cuda.alloc(512)
    with pytest.raises(runtime.CUDARuntimeError, match="leaves the block"):
        runtime.memset(own.ptr, 0, 513)
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
        cupy.cuda.alloc(1 << 40)


def test_memory_that_was_released_is_not_touched_again(cupy):
    with cupy.cuda.using_allocator(None):
        old = cupy.zeros(4, "float32")
        address = np.uint64(old.data.ptr)
        del old
        other = cupy.zeros(4, "float32")
        with pytest.raises(cupy.cuda.driver.CUDADriverError, match="illegal memory access"):
            raw(cupy, "x[0] = 1;")((1,), (1,), (address,))
    assert not other.any()


def test_a_stream_is_of_one_device(cupy):
    with cupy.cuda.Device(1):
        stream = cupy.cuda.Stream(non_blocking=True)
    kernel = raw(cupy, "x[0] = 2;").kernel.ptr
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="another device's"):
        cupy.cuda.driver.launchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, stream.ptr, 0, 0)


# --- what it computes -----------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((4,), (4, 2))])
@pytest.mark.parametrize("turned", [False, True])
def test_products_are_numpys(cupy, dtype, shape, turned):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 9, size).astype(dtype) for size in shape)
    ours = [cupy.asarray(each) for each in (a, b)]
    if turned and a.ndim > 1:
        ours = [cupy.asarray(each.swapaxes(-1, -2).copy()).swapaxes(-1, -2) for each in (a, b)]
    np.testing.assert_array_equal((ours[0] @ ours[1]).get(), a @ b)


def test_a_product_of_halves_adds_up_in_single_precision(cupy):
    a = np.ones((1, 4096), "float16")
    assert (cupy.asarray(a) @ cupy.asarray(a.T)).get() == 4096  # in float16, 2048 + 1 is 2048


# --- what it notes --------------------------------------------------------------------------------
def test_what_is_asked_for_is_counted_and_traced(cupy, tmp_path):
    x = cupy.arange(6, dtype="float32")
    kernel = raw(cupy, "x[threadIdx.x] += 1;")
    kernel((1,), (6,), (x,))
    counting.reset()
    with counting.trace(tmp_path / "calls"):
        kernel((1,), (6,), (x,))
        kernel((2,), (1,), (x,))
        x.get()
        cupy.cuda.Device().synchronize()
    assert {name: n for name, n in counting.counts().items() if n} == {
        "launches": 2,
        "copies": 1,
        "waits": 2,
    }
    first, second, copied, *_ = (tmp_path / "calls").read_text().splitlines()
    assert first.startswith("launch k, grid 1 1 1, block 6 1 1, shared 0, stream ")
    assert "grid 2 1 1, block 1 1 1" in second
    assert copied.startswith("copy 24 device to host")


# --- a stream that is being captured --------------------------------------------------------------
def test_a_network_in_a_capture_tells_what_cupy_refuses():
    net = Sequential(Dense(4, 3), Dense(3, 2), device="cuda", seed=0)
    x = net.backend.asarray(np.ones((5, 4), "float32"))
    dy = net.forward(x, train=True)
    for run, what in ((lambda: net.forward(x), "network"), (lambda: net.backward(dy), "gradients")):
        with counting.capturing(), pytest.raises(KernelError) as caught:
            run()
        for part in (f"{what} can't be captured: calling cuBLAS", "Remedy: call it outside the"):
            assert part in str(caught.value)
    assert np.isfinite(net.forward(x).get()).all()


def test_a_norm_in_a_capture_tells_that_its_value_is_waited_for(cupy):
    x = cupy.ones(1000, "float32")
    with counting.capturing(), pytest.raises(KernelError) as caught:
        kernels.global_norm([x])
    assert "global_norm (engine 'array', float32 arrays) can't be captured: " in str(caught.value)
    assert "compiled" not in str(caught.value)
    assert kernels.global_norm([x]) == pytest.approx(1000**0.5)
