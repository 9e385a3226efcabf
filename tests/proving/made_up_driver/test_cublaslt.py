"""Products by cuBLASLt: what is called is NVIDIA's, one launch is one, and what goes round it."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from onepass import DeviceMemoryError, KernelError, get_backend
from onepass.kernels.products import cublaslt as lt
from onepass.kernels.products import cupy_device, cupy_matmul, cupy_trial, matmul, why_apart
from onepass.kernels.products.problem import NoProductError
from onepass.nets import Dense, Sequential

from proving.made_up_driver import counting
from proving.made_up_driver.libraries import libcublaslt

OURS = Path(__file__).with_name("driver")
NONE = 0  # of a status, or of epilogues


# --- names, numbers and signatures ----------------------------------------------------------------
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="g++ is not on the PATH")
_KINDS = """
#include <array>
#include <cstddef>
#include <type_traits>
template <class T> constexpr int kind = std::is_pointer_v<T> ? 0 : int(sizeof(T));  // 0: a pointer
template <class R, class... A> constexpr auto kinds(R (*)(A...)) {
    return std::array<int, 1 + sizeof...(A)>{kind<R>, kind<A>...};
}
#define HOLDS(...) static_assert(__VA_ARGS__, #__VA_ARGS__)
"""
_STAND_INS = {  # for headers that need what no package here has; nothing of them is called
    "cuda_fp16.h": "struct __half { unsigned short x; };",
    "cuda_bf16.h": "struct __nv_bfloat16 { unsigned short x; };",
}


def _kind(type_):
    pointers = ctypes.c_void_p, ctypes.c_char_p, ctypes._Pointer
    return 0 if issubclass(type_, pointers) else ctypes.sizeof(type_)


def _claims():
    """All that kernels/products/cublaslt.py says of the header, as C++."""
    numbers = {
        name: value for name, value in vars(lt).items() if name.isupper() and isinstance(value, int)
    }
    assert len(numbers) > 20
    claims = [f"HOLDS({name} == {value});" for name, value in numbers.items()]
    for name, (result, arguments) in lt.SIGNATURES.items():
        kinds = ", ".join(str(_kind(each)) for each in (result, *arguments))
        count = len(arguments) + 1
        claims.append(f"HOLDS(kinds(&{name}) == std::array<int, {count}>{{{kinds}}});")
    for name, structure in (
        ("cublasLtMatmulAlgo_t", lt.Algorithm),
        ("cublasLtMatmulHeuristicResult_t", lt.HeuristicResult),
    ):
        claims.append(f"HOLDS(sizeof({name}) == {ctypes.sizeof(structure)});")
        claims += [
            f"HOLDS(offsetof({name}, {field}) == {getattr(structure, field).offset});"
            for field, _ in structure._fields_
        ]
    return claims


def _refused(tmp_path, header, folders, claims):
    """What the compiler says against the claims."""
    for name, text in _STAND_INS.items():
        (tmp_path / name).write_text(text)
    text = f"#include <{header}>\n{_KINDS}" + "\n".join(claims)
    (tmp_path / "claims.cpp").write_text(text)
    command = ["g++", "-std=c++20", "-fsyntax-only", f"-I{tmp_path}"]
    command += [f"-I{folder}" for folder in folders]
    done = subprocess.run(
        [*command, str(tmp_path / "claims.cpp")], capture_output=True, text=True, check=False
    )
    return done.stderr


def _folder(package, header):
    """Where an installed package of NVIDIA's has a header; None where it is not installed."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return None
    return next((Path(str(each.locate())).parent for each in files if each.name == header), None)


@needs_compiler
def test_what_is_called_is_what_is_written_down(tmp_path):
    assert _refused(tmp_path, "cublaslt.h", [OURS], _claims()) == ""


@needs_compiler
@pytest.mark.parametrize("package", ["nvidia-cublas", "nvidia-cublas-cu12"])
def test_what_is_written_down_is_nvidias(tmp_path, package):
    folder = _folder(package, "cublasLt.h")
    runtime = _folder("nvidia-cuda-runtime", "library_types.h")
    if folder is None or runtime is None:
        pytest.skip(f"{package}, which is large, or nvidia-cuda-runtime is not installed")
    numbers = re.findall(r"\b(CUBLAS\w+) = (\d+)", (OURS / "cublaslt.h").read_text("utf-8"))
    claims = [*_claims(), *(f"HOLDS({name} == {value});" for name, value in numbers)]
    assert _refused(tmp_path, "cublasLt.h", [folder, runtime], claims) == ""


@needs_compiler
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("BGRADA == 256", "BGRADA == 512"),
        ("cublasLtMatmulDescDestroy) == std::array<int, 2>{4, 0}", "cublasLtMatmulDescDestroy) == "
         "std::array<int, 2>{4, 4}"),
        ("state) == 72", "state) == 76"),
    ],
)  # fmt: skip
def test_a_claim_that_is_wrong_is_told(tmp_path, right, wrong):
    claims = "\n".join(_claims())
    assert right in claims
    told = _refused(tmp_path, "cublaslt.h", [OURS], [claims.replace(right, wrong)])
    assert told.count("error") == 1, told


# --- launches -------------------------------------------------------------------------------------
@pytest.fixture
def cupy(made_up_gpu):
    return pytest.importorskip("cupy")


@pytest.fixture
def fresh(cupy):
    """Nothing is ready, and nothing tried; as before, too, when the test is over."""

    def forget():
        cupy_matmul._plans.clear()
        cupy_trial._reasons.clear()
        cupy_device.library.cache_clear()
        cupy_device.device.cache_clear()

    forget()
    yield
    behave()
    forget()


def behave(refused=NONE, *, drops_nan=False, other_sums=False, status=NONE):
    """What the made-up cuBLASLt leaves out, or does otherwise."""
    libcublaslt().made_up_cublaslt(
        ctypes.c_uint(refused), ctypes.c_bool(drops_nan), ctypes.c_bool(other_sums), status
    )


def draw(*shape, dtype="float32", seed=0):
    numbers = np.random.default_rng(seed).integers(-4, 5, shape)
    return get_backend("cuda").asarray(numbers.astype(dtype))


@contextmanager
def costs(**expected):
    """The block asks the driver for this, and for nothing else."""
    counting.reset()
    yield
    assert {name: n for name, n in counting.counts().items() if n} == expected
    assert counting.refused() == ""


def wanted(dtype="float32"):
    """Each product: (arguments, options, its result, what bias_grad then is)."""
    a, b, bias, sums = draw(5, 8, dtype=dtype), draw(8, 6, dtype=dtype), draw(6, dtype=dtype), None
    z, v = a.get().astype(float) @ b.get().astype(float), bias.get().astype(float)
    out, sums = draw(5, 6, dtype=dtype), draw(6, dtype=dtype)
    return {
        "plain": ((a, b), {}, z),
        "out": ((a, b, out), {}, z),
        "bias": ((a, b), {"bias": bias}, z + v),
        "relu": ((a, b), {"activation": "relu"}, np.maximum(z, 0)),
        "bias, relu": ((a, b), {"bias": bias, "activation": "relu"}, np.maximum(z + v, 0)),
        "sums": ((a, b, out), {"bias_grad": sums}, z),
    }


PRODUCTS = ("plain", "out", "bias", "relu", "bias, relu", "sums")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_one_launch(cupy, name, dtype):
    args, options, expected = wanted(dtype)[name]
    matmul(*args, **options)
    assert why_apart(*args, **options) == ""
    with costs(launches=1):
        y = matmul(*args, **options)
    np.testing.assert_array_equal(y.get(), expected)
    if sums := options.get("bias_grad") is not None:
        sums = options["bias_grad"].get()
        np.testing.assert_array_equal(sums, args[1].get().astype(float).sum(axis=0))


@pytest.mark.gpu
@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
def test_other_activations_are_a_launch_more(cupy, activation):
    a, b, bias = draw(5, 8), draw(8, 6), draw(6)
    matmul(a, b, bias=bias, activation=activation)
    assert "no product with such an activation" in why_apart(a, b, activation=activation)
    with costs(launches=2):
        matmul(a, b, bias=bias, activation=activation)


@pytest.mark.gpu
@pytest.mark.parametrize("views", ["a.T", "rows", "columns"])
def test_views_are_taken_as_they_are(cupy, views):
    whole = draw(24, 32)
    a = {"a.T": whole.T, "rows": whole[2:20, 3:30], "columns": whole.T[4:30, 1:20]}[views]
    b = draw(a.shape[1], 6)
    matmul(a, b)
    with costs(launches=1):
        y = matmul(a, b)
    np.testing.assert_array_equal(y.get(), a.get() @ b.get())


@pytest.mark.gpu
@pytest.mark.parametrize("view", ["rows", "columns", "turned"])
def test_a_result_with_gaps_takes_a_way_round(cupy, view):
    """As cuBLASLt of CUDA 11 forgot the bias in some columns of one."""
    whole = draw(12, 12)
    a, b = draw(5, 8), draw(8, 6)
    out = {"rows": whole[:5, :6], "columns": whole[:5, ::2], "turned": draw(6, 5).T}[view]
    matmul(a, b, out)
    assert "out has gaps" in why_apart(a, b, out)
    np.testing.assert_array_equal(out.get(), a.get() @ b.get())


@pytest.mark.gpu
def test_a_plan_is_made_once_for_arrays_of_one_description(cupy, fresh):
    a, b, bias = draw(5, 8), draw(8, 6), draw(6)
    for other in (bias, draw(6, seed=1)):  # a vector at another place, which is told
        y = matmul(a, b, bias=other)
        np.testing.assert_array_equal(y.get(), a.get() @ b.get() + other.get())
        matmul(a, draw(8, 6, seed=2), bias=other)
    assert len(cupy_matmul._plans) == 1
    matmul(draw(6, 8), b, bias=bias)
    assert len(cupy_matmul._plans) == 2
    room = cupy.empty(65, "float32")
    for start, plans in ((0, 2), (1, 3), (2, 4), (3, 4), (5, 4), (4, 5)):  # of 256, 4, 8, 4, 16
        at = room[start : start + 40].reshape(5, 8)
        at[...] = a
        np.testing.assert_array_equal(
            matmul(at, b, bias=bias).get(), a.get() @ b.get() + bias.get()
        )
        assert len(cupy_matmul._plans) == plans, start
    assert counting.refused() == ""


@pytest.mark.gpu
def test_plans_do_not_pile_up(cupy, fresh, monkeypatch):
    monkeypatch.setattr(cupy_matmul, "_MOST", 3)
    for rows in range(1, 12):
        a, b = draw(rows, 8), draw(8, 6)
        np.testing.assert_array_equal(matmul(a, b).get(), a.get() @ b.get())
        assert len(cupy_matmul._plans) <= 3
    assert counting.refused() == ""


@pytest.mark.gpu
def test_a_product_takes_few_calls_of_python(cupy):
    args, options, _ = wanted()["sums"]
    matmul(*args, **options)
    calls = counting.python_calls(matmul, *args, **options)
    assert len(calls) <= 11, calls


# --- where ----------------------------------------------------------------------------------------
@pytest.mark.gpu
def test_a_product_runs_on_the_gpu_of_its_arrays(cupy, fresh, tmp_path):
    with cupy.cuda.Device(1):
        a, b, bias = (cupy.asarray(each.get()) for each in (draw(5, 8), draw(8, 6), draw(6)))
    assert cupy.cuda.runtime.getDevice() == 0
    with counting.trace(tmp_path / "calls"):
        y = matmul(a, b, bias=bias)
    assert cupy.cuda.runtime.getDevice() == 0
    assert y.device.id == 1
    np.testing.assert_array_equal(y.get(), a.get() @ b.get() + bias.get())
    launches = [line for line in (tmp_path / "calls").read_text().splitlines() if "Lt" in line]
    assert launches
    assert all(line.endswith("device 1") for line in launches)
    matmul(draw(5, 8), draw(8, 6))
    handles = [cupy_device.device(index).handle.value for index in (0, 1)]
    assert len({*handles}) == 2


@pytest.mark.gpu
def test_a_product_runs_on_the_current_stream_in_memory_of_its_own(cupy, tmp_path):
    a, b = draw(5, 8), draw(8, 6)
    matmul(a, b)
    rooms = cupy_device.device(0).rooms
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    for stream in streams:
        with stream, counting.trace(tmp_path / "calls"):
            matmul(a, b)
        launch = (tmp_path / "calls").read_text().splitlines()[-1]
        assert f"stream {stream.ptr:#x}" in launch
    places = [rooms[0, key, 0].ptr for key in (0, *(stream.ptr for stream in streams))]
    assert len({*places}) == 3
    with streams[0], costs(launches=1):
        matmul(a, b)
    assert rooms[0, streams[0].ptr, 0].ptr == places[1]


@pytest.mark.gpu
def test_each_threads_own_default_stream_has_memory_of_its_own(cupy):
    a, b = draw(5, 8), draw(8, 6)
    before = len(cupy_device.device(0).rooms)

    def multiply(_):
        with cupy.cuda.Stream.ptds:
            meeting.wait()  # so that no thread does the work of another one
            return matmul(a, b).get()

    meeting = Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        for found in threads.map(multiply, range(2)):
            np.testing.assert_array_equal(found, a.get() @ b.get())
    assert len(cupy_device.device(0).rooms) == before + 2


@pytest.mark.gpu
def test_threads_may_share_a_plan(cupy):
    """Each with a bias of its own, which the plan is told."""
    a, b = draw(5, 8), draw(8, 6)
    biases = [draw(6, seed=seed) for seed in range(8)]
    expected = [a.get() @ b.get() + each.get() for each in biases]

    def multiply(k):
        return all((matmul(a, b, bias=biases[k]).get() == expected[k]).all() for _ in range(50))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(multiply, range(8)))


@pytest.mark.gpu
def test_without_memory_to_work_in_cupy_multiplies_until_there_is_some(cupy, fresh):
    """A limit of the user's own is no reason to fail."""
    small = cupy.cuda.MemoryPool()
    small.set_limit(1 << 20)
    with cupy.cuda.using_allocator(small.malloc):
        apart(TWO, "there is no memory to work in")
    for args, options, expected in wanted().values():
        np.testing.assert_array_equal(matmul(*args, **options).get(), expected)
        assert why_apart(*args, **options) == ""


@pytest.mark.gpu
def test_without_memory_for_the_result_the_error_says_so(cupy):
    a, b = draw(5, 8), draw(8, 6)
    matmul(a, b)
    small = cupy.cuda.MemoryPool()
    small.set_limit(256)
    with (
        cupy.cuda.using_allocator(small.malloc),
        pytest.raises(DeviceMemoryError, match="in kernel matmul"),
    ):
        matmul(a, b)


@pytest.mark.gpu
def test_memory_that_is_aligned_to_less_than_cupys_takes_a_way_round(cupy):
    """As an allocator of a user's own may give it: for the result, or to work in."""
    a, b = draw(5, 8), draw(8, 6)
    matmul(a, b)
    pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
    with cupy.cuda.using_allocator(lambda size: pool.malloc(size + 64) + 64):
        y = matmul(a, b)
        assert y.data.ptr % 256 == 64
        with stream:
            other = matmul(a, b, draw(5, 6))
    for each in (y, other):
        np.testing.assert_array_equal(each.get(), a.get() @ b.get())
    assert (0, stream.ptr, 0) not in cupy_device.device(0).rooms
    with stream:
        matmul(a, b)
    assert (0, stream.ptr, 0) in cupy_device.device(0).rooms
    assert counting.refused() == ""


@pytest.mark.gpu
def test_extents_that_only_meet_take_a_way_round(cupy):
    whole = draw(10, 8)
    a, out, b = whole[::2, :4], whole[1::2, :6], draw(4, 6)
    expected = a.get() @ b.get()
    np.testing.assert_array_equal(matmul(a, b, out).get(), expected)
    between = draw(9, 6)
    a, out = between[::2, :4], between[3:4].reshape(1, 6)
    expected = a[:1].get() @ b.get()
    assert np.array_equal(matmul(a[:1], b, out).get(), expected)


# --- under capture --------------------------------------------------------------------------------
@pytest.mark.gpu
def test_a_kind_of_product_is_tried_before_a_capture(cupy, fresh, monkeypatch):
    a, b = draw(5, 8), draw(8, 6)
    stream = cupy.cuda.Stream(non_blocking=True)
    capturing = {"is": True}
    monkeypatch.setattr(cupy_trial, "_is_captured", lambda: capturing["is"], raising=True)
    with stream, pytest.raises(KernelError, match="Run the step once before its capture"):
        matmul(a, b)
    capturing["is"] = False
    with stream:
        matmul(a, b)
    capturing["is"] = True
    c = draw(7, 8)
    with stream, costs(launches=1):  # nothing waits, copies or takes memory of the driver's
        y = matmul(c, b)
    np.testing.assert_array_equal(y.get(), c.get() @ b.get())


# --- the way round --------------------------------------------------------------------------------
def apart(launches, reason, names=PRODUCTS):
    """All products are right, go round for this reason, and take so many launches."""
    for name in names:
        args, options, expected = wanted()[name]
        np.testing.assert_array_equal(matmul(*args, **options).get(), expected)
        assert reason in why_apart(*args, **options), name
        counting.reset()
        matmul(*args, **options)
        assert counting.counts()["launches"] == launches[name], name
        if sums := options.get("bias_grad") is not None:
            sums = options["bias_grad"].get()
            np.testing.assert_array_equal(sums, args[1].get().sum(axis=0))
    assert counting.refused() == ""


TWO = {**dict.fromkeys(PRODUCTS, 2), "plain": 1, "out": 1}


@pytest.mark.gpu
def test_without_the_library_cupy_multiplies(cupy, fresh, monkeypatch):
    def nowhere(name):
        raise OSError(f"{name}: no such file")

    monkeypatch.setattr(lt, "CDLL", nowhere)
    apart(TWO, "libcublasLt.so.13 is not there")


@pytest.mark.gpu
def test_a_library_that_lacks_a_function_is_none(cupy, fresh, monkeypatch):
    more = {**lt.SIGNATURES, "cublasLtOfTomorrow": (ctypes.c_int, ())}
    monkeypatch.setattr(lt, "SIGNATURES", more)
    apart(TWO, "has no cublasLtOfTomorrow")


@pytest.mark.gpu
def test_the_library_is_found_where_cupy_would_look(cupy, fresh, monkeypatch):
    found, original = [], lt.CDLL

    def by_path_only(name):
        found.append(name)
        if not name.startswith("/"):
            raise OSError("not loaded")
        return original(name)

    monkeypatch.setattr(lt, "CDLL", by_path_only)
    args, options, expected = wanted()["bias"]
    np.testing.assert_array_equal(matmul(*args, **options).get(), expected)
    assert why_apart(*args, **options) == ""
    assert found == ["libcublasLt.so.13", libcublaslt()._name]
    with pytest.raises(OSError, match="is of version 13, not 11"):
        lt.load(11)


@pytest.mark.gpu
def test_where_heuristics_find_nothing_cupy_multiplies(cupy, fresh):
    behave(lt.CUBLASLT_EPILOGUE_DEFAULT | lt.CUBLASLT_EPILOGUE_RELU_BIAS | 256)
    apart(TWO, "cublasLtMatmulAlgoGetHeuristic: CUBLAS_STATUS_NOT_SUPPORTED, 15")


@pytest.mark.gpu
def test_without_an_epilogue_the_product_is_still_the_librarys(cupy, fresh, tmp_path):
    behave(lt.CUBLASLT_EPILOGUE_RELU_BIAS | lt.CUBLASLT_EPILOGUE_BGRADA)
    apart(TWO, "NOT_SUPPORTED", ("bias", "relu", "bias, relu", "sums"))
    args, options, _ = wanted()["bias"]
    with counting.trace(tmp_path / "calls"):
        matmul(*args, **options)
    first, second = (tmp_path / "calls").read_text().splitlines()
    assert first.startswith("launch cublasLt 6 5 8, epilogue 1,")
    assert "activation_linear" in second


@pytest.mark.gpu
def test_a_product_that_is_refused_after_all_is_cupys_from_then_on(cupy, fresh):
    args, options, expected = wanted()["bias"]
    matmul(*args, **options)
    behave(status=lt.CUBLAS_STATUS_NOT_SUPPORTED)
    np.testing.assert_array_equal(matmul(*args, **options).get(), expected)
    assert why_apart(*args, **options) == "cublasLtMatmul: CUBLAS_STATUS_NOT_SUPPORTED, 15"


@pytest.mark.gpu
def test_a_product_that_fails_is_told(cupy, fresh):
    a, b = draw(5, 8), draw(8, 6)
    matmul(a, b)
    behave(status=13)
    with pytest.raises(KernelError, match="CUBLAS_STATUS_EXECUTION_FAILED"):
        matmul(a, b)
    behave()
    np.testing.assert_array_equal(matmul(a, b).get(), a.get() @ b.get())


@pytest.mark.gpu
def test_a_relu_that_loses_nan_is_not_used(cupy, fresh):
    behave(drops_nan=True)
    apart(TWO, "epilogue", ("relu", "bias, relu"))
    a, b = cupy.full((2, 2), np.nan, "float32"), cupy.ones((2, 2), "float32")
    assert cupy.isnan(matmul(a, b, activation="relu")).all()
    args, options, _ = wanted()["bias"]
    assert why_apart(*args, **options) == ""


@pytest.mark.gpu
def test_sums_of_the_other_matrix_are_not_used(cupy, fresh):
    behave(other_sums=True)
    apart(TWO, "gave wrong sums", ("sums",))


# --- what the made-up library asks for ------------------------------------------------------------
@pytest.mark.gpu
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda plan, a: a[1:], "matrix B is not in memory .* or less aligned"),
        (lambda plan, a: setattr(plan, "_layouts", plan._layouts[::-1]), "that don't fit"),
        (lambda plan, a: setattr(plan._device, "bytes", 8), "its workspace"),
        (lambda plan, a: plan._describe(7, ctypes.c_uint32(4)), "without a vector"),
        (lambda plan, a: plan._describe(7, ctypes.c_uint32(2)), "another product"),
        (lambda plan, a: plan._describe(7, ctypes.c_uint64(1)), "7 of 8 bytes"),
        (lambda plan, a: plan._describe(99, ctypes.c_uint32(1)), "attribute 99"),
    ],
)  # fmt: skip
def test_wrong_use_is_refused(cupy, fresh, change, told):
    a, b = cupy.ones((6, 7), "float32"), cupy.ones((7, 3), "float32")
    plan = cupy_matmul._plan(a[:5], b, None, None, None, "linear")
    with pytest.raises(NoProductError, match="INVALID_VALUE"):  # noqa: PT012
        changed = change(plan, a)
        plan.run(a[:5] if changed is None else changed, b, None, None)
    assert re.search(told, counting.refused())


@pytest.mark.gpu
def test_memory_of_another_gpu_is_refused(cupy, fresh):
    a, b = draw(5, 8), draw(8, 6)
    plan = cupy_matmul._plan(a, b, None, None, None, "linear")
    with cupy.cuda.Device(1):
        there = cupy.asarray(a.get())
    with pytest.raises(NoProductError, match="INVALID_VALUE"):
        plan.run(there, b, None, None)
    assert "matrix B is not in memory of this device" in counting.refused()


# --- layers ---------------------------------------------------------------------------------------
@pytest.mark.gpu
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "forward", "backward"), [("linear", 1, 2), ("relu", 1, 3), ("tanh", 2, 3)]
)
def test_launches_of_a_dense_layer(cupy, kind, forward, backward, bias):
    net = Sequential(Dense(12, 7, bias, activation=kind), device="cuda")
    x, dy = draw(9, 12), draw(9, 7)
    for _ in range(2):
        counting.reset()
        net.forward(x, train=True)
        there = counting.counts()
        net.backward(dy)
        back = counting.counts()
    assert there["launches"] == forward
    assert back["launches"] - there["launches"] == backward
    assert not any(back[name] for name in ("copies", "fills", "waits", "allocations"))
