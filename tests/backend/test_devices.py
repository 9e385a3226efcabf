"""GPUs that are missing in every known way, and made-up ones that work, in the place of CuPy."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from onepass import (
    DeviceUnavailableError,
    EngineUnavailableError,
    MixedBackendsError,
    backend_of,
    describe_devices,
    get_backend,
    kernels,
    use_device,
)
from onepass.backend import Memory, why_device
from onepass.backend.devices import DeviceStatus, probe_cuda
from onepass.kernels.compiling import c_text as ctext
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.kernels.rule_engines import cupy_gpu, numba_cuda


class CUDARuntimeError(RuntimeError):
    """As CuPy's: a status number and CUDA's name for it."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class CompileException(Exception):
    """As CuPy's."""


class Array:
    """As `cupy.ndarray`: not a NumPy array, and on one GPU."""

    def __init__(self, values, device):
        self.values, self.device = np.array(values), SimpleNamespace(id=device)
        self.data = SimpleNamespace(ptr=self.values.ctypes.data, device_id=0)

    def __getattr__(self, name):
        return getattr(self.values, name)

    @property
    def __cuda_array_interface__(self):
        return self.values.__array_interface__

    def get(self):
        return self.values.copy()


class FakeCupy(ModuleType):
    """As much of CuPy as the backend uses, on `count` GPUs; `broken` says what raises on which."""

    float32 = np.float32
    random = np.random

    def __init__(self, count=1, broken=None, factor=2.0):
        super().__init__("cupy")
        self.current, self.synchronized, self.trials = 0, [], 0
        self.broken, self.factor = broken or {}, factor
        self.limits, self.emptied = {}, []
        self.ndarray = type("ndarray", (Array,), {"copy": lambda a: self.asarray(a.values)})
        self.cuda = SimpleNamespace(
            Device=self.device,
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                getDeviceCount=lambda: self.attempt("count") or count,
                getDeviceProperties=lambda index: {"name": f"Made-up GPU {index}".encode()},
                deviceSynchronize=lambda: self.synchronized.append(self.current),
                memGetInfo=lambda: (self.current + 5, 80),
            ),
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            compiler=SimpleNamespace(CompileException=CompileException),
        )

    def attempt(self, action):
        for key in (action, f"{action} {self.current}"):
            if key in self.broken:
                raise self.broken[key]

    @contextmanager
    def device(self, index):
        before, self.current = self.current, index
        try:
            yield
        finally:
            self.current = before

    def get_default_memory_pool(self):
        def put(size):
            self.limits[self.current] = size

        return SimpleNamespace(
            used_bytes=lambda: 3 + self.current,
            free_bytes=lambda: 4 + self.current,
            get_limit=lambda: self.limits.get(self.current, 0),
            set_limit=put,
            free_all_blocks=lambda: self.emptied.append(self.current),
        )

    def asarray(self, values, dtype=None):
        if isinstance(values, self.ndarray) and dtype in (None, values.dtype):
            return values
        return self.ndarray(np.asarray(getattr(values, "values", values), dtype), self.current)

    def ones(self, shape, dtype):
        self.attempt("allocate")
        return self.asarray(np.ones(shape, dtype))

    def ElementwiseKernel(self, *_):
        def launch(array):
            self.trials += 1
            self.attempt("launch")
            return self.asarray(array.values * self.factor)

        return launch


@pytest.fixture
def machine(monkeypatch):
    """machine(cupy): a machine with this CuPy, or with none; everything found out is forgotten."""
    monkeypatch.delenv("ONEPASS_DEVICE", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(cupy):
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        probe_cuda.cache_clear()
        return cupy

    yield install
    probe_cuda.cache_clear()


def broken(action, error):
    return lambda: FakeCupy(broken={action: error})


NO_NVRTC = RuntimeError("CuPy failed to load libnvrtc.so.13: cannot open shared object file\nmore")
# what is wrong -> the CuPy of that machine, words of the reason, words of the remedy
ABSENCES = {
    "no CuPy": (lambda: None, "CuPy can't be imported", 'pip install "onepass[cuda13]"'),
    "no driver": (broken("count", CUDARuntimeError(35, "cudaErrorInsufficientDriver: old")),
                  "driver is missing or too old (cudaErrorInsufficientDriver: old)", "nvidia-smi"),
    "stub library": (broken("count", CUDARuntimeError(36, "cudaErrorCallRequiresNewerDriver")),
                     "driver is missing or too old", "NVIDIA driver"),
    "no device": (broken("count", CUDARuntimeError(100, "cudaErrorNoDevice: none")),
                  "the NVIDIA driver reports no GPU", "CUDA_VISIBLE_DEVICES"),
    "count 0": (lambda: FakeCupy(count=0), "the NVIDIA driver reports no GPU", "nvidia-smi"),
    "unknown": (broken("count", CUDARuntimeError(999, "cudaErrorUnknown: unknown error")),
                "CUDA can't be initialized (cudaErrorUnknown: unknown error)", "nvidia-smi"),
    "no NVRTC": (broken("launch", NO_NVRTC), "(CuPy failed to load libnvrtc.so.13: cannot open "
                 "shared object file)", "NVRTC"),
    "no headers": (broken("launch", CompileException("cannot open source file cuda_fp16.h")),
                   "can't be compiled or run (cannot open source file cuda_fp16.h)", "headers"),
    "half a CuPy": (lambda: ModuleType("cupy"), "CuPy can't be imported (module 'cupy' has no "
                    "attribute 'cuda')", 'pip install "onepass[cuda13]"'),
    "an older GPU": (broken("launch", CompileException("nvrtc: error: invalid value for "
                            "--gpu-architecture (-arch)\n")), "--gpu-architecture", "cuda12"),
    "an older driver": (broken("launch", CUDARuntimeError(222, "cudaErrorUnsupportedPtxVersion: "
                               "unsupported toolchain")), "UnsupportedPtx", "update the NVIDIA"),
    "a busy GPU": (broken("launch", CUDARuntimeError(46, "cudaErrorDevicesUnavailable: busy")),
                   "DevicesUnavailable", "who uses it"),
    "another failure": (broken("launch", KeyError("x")), "can't be compiled or run", "NVRTC"),
    "memory full": (broken("allocate", OutOfMemoryError("Out of memory allocating 512 bytes")),
                    "no GPU memory is free (Out of memory", "free GPU memory"),
    "wrong numbers": (lambda: FakeCupy(factor=3.0), "gave 96.0 instead of 64", "NVIDIA driver"),
}  # fmt: skip


# --- a GPU that can't be used ---------------------------------------------------------------------
@pytest.mark.parametrize("absence", ABSENCES)
def test_auto_falls_back_and_everyone_tells_the_same_reason(machine, absence):
    make, reason, remedy = ABSENCES[absence]
    machine(make())
    assert get_backend("auto").device == "cpu"
    cpu, gpu = describe_devices()
    assert (cpu.device, cpu.available, gpu.device, gpu.available) == ("cpu", True, "cuda:0", False)
    assert reason in gpu.reason
    assert remedy in gpu.remedy
    assert "\n" not in gpu.reason
    engine = kernels.engines()["cupy"]
    assert (engine.available, engine.reason, engine.remedy) == (False, gpu.reason, gpu.remedy)
    for told in (str(gpu), why_device(get_backend())):
        assert gpu.reason in told
        assert gpu.remedy in told


@pytest.mark.parametrize("absence", ABSENCES)
def test_a_named_gpu_raises_with_that_reason(machine, monkeypatch, absence):
    machine(ABSENCES[absence][0]())
    gpu, x = describe_devices()[1], np.ones(2)

    def refused(error, call):
        with pytest.raises(error) as caught:
            call()
        assert gpu.reason in str(caught.value)
        assert gpu.remedy in str(caught.value)

    refused(DeviceUnavailableError, lambda: get_backend("cuda"))
    refused(DeviceUnavailableError, lambda: get_backend("cuda:0"))
    refused(DeviceUnavailableError, lambda: use_device("cuda").__enter__())
    refused(EngineUnavailableError, lambda: kernels.sgd_step(x, x + 1, lr=1.0, engine="cupy"))
    monkeypatch.setenv("ONEPASS_DEVICE", "cuda")
    refused(DeviceUnavailableError, get_backend)
    assert get_backend("cpu").device == "cpu"


@pytest.mark.parametrize("visible", ["", "-1", "7"])
@pytest.mark.parametrize("absence", ["no device", "count 0"])
def test_the_variable_that_hides_gpus_is_quoted(machine, monkeypatch, absence, visible):
    machine(ABSENCES[absence][0]())
    assert "CUDA_VISIBLE_DEVICES is" not in probe_cuda(0).reason
    probe_cuda.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert f"(CUDA_VISIBLE_DEVICES is {visible!r})" in probe_cuda(0).reason


@pytest.mark.parametrize(("count", "choices"), [(1, "cuda:0 only"), (3, "cuda:0 to cuda:2")])
def test_an_index_beyond_the_last_gpu(machine, count, choices):
    machine(FakeCupy(count))
    with pytest.raises(DeviceUnavailableError, match=rf"{count} GPU\(s\)\. use {choices}"):
        get_backend(f"cuda:{count}")


def test_auto_takes_the_first_usable_gpu(machine):
    machine(FakeCupy(2, {"allocate 0": OutOfMemoryError("Out of memory allocating 512 bytes")}))
    assert [status.available for status in describe_devices()] == [True, False, True]
    assert get_backend().device == "cuda:1"


def test_no_memory_for_the_context_is_not_told_as_a_missing_compiler(machine):
    full = CUDARuntimeError(2, "cudaErrorMemoryAllocation: out of memory")
    machine(FakeCupy(broken={"allocate": full}))
    assert "free GPU memory" in probe_cuda(0).remedy


# --- the engine "numba-cuda" beside a GPU that works ----------------------------------------------
class NumbaCuda:
    """As much of `numba.cuda` as the trial takes; `failure` is raised by the kernel."""

    def __init__(self, available=True, failure=None, factor=2.0):
        self.available, self.failure, self.factor = available, failure, factor

    def is_available(self):
        if isinstance(self.available, Exception):
            raise self.available
        return self.available

    def external_stream(self, pointer):
        return pointer

    def jit(self, function):
        return self

    def __getitem__(self, configuration):
        def launch(cell):
            if self.failure:
                raise self.failure
            cell.values *= self.factor

        return launch


class NvvmSupportError(ImportError):
    """As Numba's."""


class TypingError(Exception):
    """As Numba's."""


NUMBA_ABSENCES = {
    "not installed": (None, None, "numba-cuda can't be imported (import of numba_cuda halted",
                      'pip install "onepass[numba-cuda]"'),
    "no toolkit": (ModuleType("numba_cuda"), NumbaCuda(False), "no usable CUDA toolkit or driver",
                   'pip install "numba-cuda[cu13]"'),
    "a driver that fails": (ModuleType("numba_cuda"), NumbaCuda(RuntimeError("cuInit")),
                            "(RuntimeError: cuInit)", "numba-cuda[cu13]"),
    "no NVVM": (ModuleType("numba_cuda"), NumbaCuda(failure=NvvmSupportError("libNVVM is not there"
                                                                            "\nmore")),
                "can't be compiled or run (NvvmSupportError: libNVVM is not there)", "NVVM"),
    "releases that don't fit": (ModuleType("numba_cuda"), NumbaCuda(failure=TypingError(
        "Failed in cuda mode pipeline (step: native lowering)\nno such function")),
        "(TypingError: no such function)", "numba-cuda[cu13]"),
    "wrong numbers": (ModuleType("numba_cuda"), NumbaCuda(factor=3.0),
                      "a trial kernel gave 3.0 instead of 2", "numba-cuda[cu13]"),
}  # fmt: skip


@pytest.fixture
def numba_machine(machine, monkeypatch):
    """numba_machine(package, cuda): a GPU that CuPy can use, with this numba-cuda."""

    def install(package, cuda):
        cupy = machine(FakeCupy())
        cupy.cuda.get_current_stream = lambda: SimpleNamespace(ptr=0)
        monkeypatch.setitem(sys.modules, "numba_cuda", package)
        monkeypatch.setattr("numba.cuda", cuda, raising=False)
        loaded = "numba.cuda.np.arrayobj"  # which is loaded first where NumPy is 2.5 or newer
        monkeypatch.setitem(sys.modules, loaded, ModuleType(loaded))
        monkeypatch.setattr(cuda_launch, "_launchers", {})
        numba_cuda._missing.cache_clear()
        return cupy

    yield install
    numba_cuda._missing.cache_clear()


@pytest.mark.parametrize("absence", NUMBA_ABSENCES)
def test_numba_cuda_is_absent_and_the_gpu_is_not(numba_machine, absence):
    package, cuda, reason, remedy = NUMBA_ABSENCES[absence]
    numba_machine(package, cuda)
    engines = kernels.engines()
    assert get_backend().device == "cuda:0"
    assert engines["cupy"].available
    assert not engines["numba-cuda"].available
    assert reason in engines["numba-cuda"].reason
    assert remedy in engines["numba-cuda"].remedy
    assert "\n" not in engines["numba-cuda"].reason
    x = get_backend().asarray(np.ones(2))
    with pytest.raises(EngineUnavailableError) as caught:
        kernels.sgd_step(x, x.copy(), lr=1.0, engine="numba-cuda")
    for words in (reason, remedy, "Available: 'array', 'numba', 'cupy'"):
        assert words in str(caught.value)
    np.testing.assert_array_equal(x.get(), 1.0)


def test_numba_cuda_that_works(numba_machine):
    numba_machine(ModuleType("numba_cuda"), NumbaCuda())
    assert kernels.engines()["numba-cuda"].available


@pytest.mark.parametrize("absence", ABSENCES)
def test_numba_cuda_tells_why_there_is_no_gpu(machine, absence):
    machine(ABSENCES[absence][0]())
    numba_cuda._missing.cache_clear()
    gpu, engine = describe_devices()[1], kernels.engines()["numba-cuda"]
    numba_cuda._missing.cache_clear()
    assert (engine.reason, engine.remedy) == (gpu.reason, gpu.remedy)


# --- the CuPy that is installed, in a process of its own ------------------------------------------
def command(*arguments, **environment):
    """`onepass` with these variables: its exit status and all that it prints."""
    left_out = ("CUDA_VISIBLE_DEVICES", "ONEPASS_DEVICE")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run(
        [sys.executable, "-m", "onepass", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=kept | {"COLUMNS": "400"} | environment,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_process_that_sees_no_gpu(visible):
    """Whether it has CuPy, a driver and a GPU or not: `info` says why, `--device cuda` fails so."""
    status, info = command("info", CUDA_VISIBLE_DEVICES=visible)
    assert status == 0, info
    assert '"auto" takes cpu because no GPU is usable' in info
    hidden = f"the NVIDIA driver reports no GPU (CUDA_VISIBLE_DEVICES is {visible!r})"
    reasons = ("CuPy can't be imported", "the NVIDIA driver is missing or too old", hidden)
    (reason,) = (each for each in reasons if each in info)
    assert info.count(reason) == 4, "once above, for cuda:0, cupy and numba-cuda"
    status, failed = command("train", "--device", "cuda", CUDA_VISIBLE_DEVICES=visible)
    assert status == 2, failed
    assert "device asks for 'cuda:0', which can't be used: " + reason in failed
    assert "Traceback" not in failed


# --- GPUs that work -------------------------------------------------------------------------------
def test_auto_takes_a_gpu_that_works_and_tries_it_once(machine):
    cupy = machine(FakeCupy(2))
    assert get_backend() == get_backend("cuda") == get_backend("cuda:0") != get_backend("cuda:1")
    assert get_backend().device == "cuda:0"
    assert [(each.device, each.available, each.name) for each in describe_devices()[1:]] == [
        ("cuda:0", True, "Made-up GPU 0"), ("cuda:1", True, "Made-up GPU 1")]  # fmt: skip
    assert str(describe_devices()[2]) == "cuda:1: Made-up GPU 1"
    assert "first usable GPU (Made-up GPU 0)" in why_device(get_backend())
    assert cupy.trials == 2
    with use_device("cuda:1") as second:
        assert get_backend() is second
    with use_device("cpu"):
        assert get_backend().device == "cpu"


def test_arrays_land_on_the_backends_own_gpu_and_come_back(machine):
    machine(FakeCupy(2))
    first, second, cpu = (get_backend(each) for each in ("cuda:0", "cuda:1", "cpu"))
    here = second.asarray([1, 2], dtype="float32")
    assert (here.device.id, here.dtype) == (1, "float32")
    assert second.asarray(here) is here, "no copy where it is already there"
    moved = first.asarray(here)
    assert (moved.device.id, here.device.id) == (0, 1)
    for back in (first.to_numpy(moved), cpu.to_numpy(here), cpu.asarray(moved)):
        assert type(back) is np.ndarray
        np.testing.assert_array_equal(back, [1, 2])


def test_memory_waiting_and_pickles_are_those_of_the_backends_gpu(machine):
    cupy = machine(FakeCupy(2))
    second = get_backend("cuda:1")
    assert second.memory() == Memory(free=6, total=80, in_use=4, kept=5, limit=0)
    second.set_memory_limit("1K")
    assert (second.memory().limit, get_backend("cuda:0").memory().limit) == (1024, 0)
    second.set_memory_limit(None)
    assert second.memory().limit == 0
    second.release_memory()
    assert cupy.emptied == [1]
    second.synchronize()
    assert cupy.synchronized == [1]
    with second.scope():
        assert cupy.ones(1, "float32").device.id == 1
    draws = [second.random(seed).random(4).tobytes() for seed in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]
    pickled = pickle.dumps(second)
    assert pickle.loads(pickled) == second
    assert hash(pickle.loads(pickled)) == hash(second)
    machine(FakeCupy(1))
    with pytest.raises(DeviceUnavailableError, match="cuda:1"):
        pickle.loads(pickled)


@pytest.mark.parametrize("places", [("cuda:0", "cpu"), ("cpu", "cuda:0"), ("cuda:1", "cuda:0")])
def test_mixed_devices_name_both_sides_and_write_nothing(machine, places):
    machine(FakeCupy(2))
    param, grad = (get_backend(place).asarray(np.ones(3)) for place in places)
    assert backend_of(param).device == places[0]
    with pytest.raises(MixedBackendsError) as caught:
        kernels.sgd_step(param, grad, lr=1.0)
    for words in (f"`grad` is on {places[1]}", f"`param` is on {places[0]}",
                  f"get_backend({places[0]!r}).asarray(grad)"):  # fmt: skip
        assert words in str(caught.value)
    np.testing.assert_array_equal(get_backend("cpu").to_numpy(param), 1.0)


def test_the_made_up_cupy_raises_what_the_real_one_does():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, RuntimeError)
    assert cupy.cuda.runtime.CUDARuntimeError(35).status == 35
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    assert not issubclass(cupy.cuda.memory.OutOfMemoryError, RuntimeError)
    assert not issubclass(cupy.cuda.compiler.CompileException, RuntimeError)
    fake = FakeCupy()
    for path in ("runtime", "Device", "memory", "compiler"):
        assert hasattr(cupy.cuda, path), path
    for name in vars(fake.cuda.runtime):
        assert hasattr(cupy.cuda.runtime, name), name


def test_cupy_is_left_where_its_code_can_t_be_told_from_sources(monkeypatch):
    """A program that was packed without sources: "auto" then takes array expressions on a GPU."""

    def no_source(_):
        raise OSError("could not get source code")

    ctext.sources_missing.cache_clear()
    monkeypatch.setattr(cupy_gpu, "best_gpu", lambda: DeviceStatus("cuda:0", True))
    assert cupy_gpu.CupyEngine().missing() == ("", "")
    ctext.sources_missing.cache_clear()
    monkeypatch.setattr(ctext.inspect, "getsource", no_source)
    reason, remedy = cupy_gpu.CupyEngine().missing()
    assert "source files" in reason
    assert "pyz+py" in remedy
    ctext.sources_missing.cache_clear()
