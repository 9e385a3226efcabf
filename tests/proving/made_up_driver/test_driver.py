"""The made-up driver tells of mistakes, and counts; planted ones are caught."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import KernelError, kernels

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
    kernel = raw(cupy, "x[(1LL << 40) * (threadIdx.x == 3)] = 1;")
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


# --- graphs ---------------------------------------------------------------------------------------
def captured(cupy, work):
    """The graph of what `work` asks of a stream, and that stream."""
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        work()
        return stream.end_capture(), stream


def test_a_captured_stream_does_nothing_until_its_graph_is_launched(cupy):
    x, y = cupy.zeros(8, "float32"), cupy.zeros((3, 4))
    kernel = raw(cupy, "x[threadIdx.x] += by;", "float *x, float by")

    def work():
        kernel((1,), (8,), (x, np.float32(2)))
        y[:, ::2] += x[:2]  # CuPy's own kernels, whose arguments hold shapes
        x[4:] = x[:4]
        y[2].fill(0)

    work()  # compiled
    x[...], y[...] = 0, 0
    counting.reset()
    graph, stream = captured(cupy, work)
    assert not x.get().any()
    assert counting.counts()["nodes"] >= 4
    assert counting.counts()["launches"] == 0
    counting.reset()
    for _ in range(3):
        graph.launch(stream)
    assert {k: n for k, n in counting.counts().items() if n} == {"graphs": 3}
    stream.synchronize()
    np.testing.assert_array_equal(x.get(), np.full(8, 6))
    np.testing.assert_array_equal(y.get(), [[12, 0, 12, 0]] * 2 + [[0] * 4])


def test_waiting_for_a_stream_that_captures_ends_the_capture(cupy):
    def work():
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="not permitted"):
            cupy.cuda.get_current_stream().synchronize()

    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="invalidated"):
        captured(cupy, work)


def test_a_default_stream_can_not_be_captured(cupy):
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="default stream"):
        cupy.cuda.runtime.streamBeginCapture(0)


def test_a_norm_in_a_capture_tells_that_its_value_is_waited_for(cupy):
    x = cupy.ones(1000, "float32")

    def work():
        with pytest.raises(KernelError) as caught:
            kernels.global_norm([x])
        text.append(str(caught.value))

    text = []
    captured(cupy, work)
    assert "global_norm (engine 'cupy', float32 arrays) can't be captured: " in text[0]
    assert "compiled" not in text[0]
    assert kernels.global_norm([x]) == pytest.approx(1000**0.5)
