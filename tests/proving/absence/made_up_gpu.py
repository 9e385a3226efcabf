"""A made-up GPU under the whole library, on which memory runs out or a compiler fails on demand.

Its CuPy holds values in NumPy and does what CuPy does in the same order: an expression takes memory
for its result, then compiles its kernel if none fits its arrays yet, then writes; a copy between
contiguous arrays of one dtype is a transfer, which does neither. The engines' own kernels run on
the host (proving/host/elementwise.py), those of Numba as Python, in blocks of one thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numba
import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from onepass.backend.devices import probe_cuda
from onepass.kernels.batch_norm import engines as batchnorm_engines
from onepass.kernels.batch_norm.gpu import numba_cuda_plan, plan
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.kernels.engine_table import _TABLE as ENGINES
from onepass.kernels.engine_table import get_engine
from onepass.kernels.rows import engines as rows_engines
from onepass.kernels.rule_engines import numba_cuda
from onepass.kernels.softmax import engines as softmax_engines
from onepass.kernels.state_formats import engines as state_engines
from onepass.kernels.state_formats.gpu import numba_cuda_kernels
from onepass.nets.training.captured import graph as captured_graph

from proving.host import elementwise as hostcuda
from proving.host.device import forgotten, poisoned, raw_kernel

NUMBA_PLAN = {"BLOCKS": 6, "LEAST": 1, "MOST_PARTS": 3, "NEIGHBOURS": 1}
PLAN = {"THREADS": 32, "MORE": 32, "LEAST": 1}  # of "cupy": few threads
IN_PARTS = {"KEPT": dict.fromkeys(plan.KEPT, 0)}  # two launches, whatever the shape


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class CompileException(Exception):
    """As CuPy's: the compiler's log is its text."""

    def __init__(self, text: str, source: str) -> None:
        super().__init__(text)
        self.source = source


class CUDARuntimeError(RuntimeError):
    """As CuPy's: a status number and CUDA's name for it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Machine:
    """A GPU and its compiler, and when they fail: from 1 on, each time memory is taken is counted,
    and each compilation.

    Attributes:
        whole: whether a block may keep all values of its channels, which takes a launch less.
    """

    whole = False

    def __init__(self) -> None:
        self.compiled: set[Any] = set()
        self.left: dict[str, int] = {}
        self.rng = np.random.default_rng(0)
        self.cupy = CuPy(self)

    def fail(self, what: str, n: int) -> None:
        """Let the n-th "memory" or "compile" from now on fail and all after it; nothing else."""
        self.left = {what: n}

    def recover(self) -> None:
        """Let nothing fail."""
        self.left = {}

    def _fails(self, what: str) -> bool:
        self.left[what] = self.left.get(what, 1 << 60) - 1
        return self.left[what] <= 0

    def take(self, size: int) -> None:
        if self._fails("memory"):
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: 7)")

    def compile(self, name: str, *kind: Any) -> None:
        if (name, *kind) in self.compiled:
            return
        if self._fails("compile"):
            log = f'/tmp/tmp1/kern.cu(7): error: identifier "x" is undefined\n  {name}\n\n1 error'
            raise CompileException(log, f'extern "C" __global__ void {name}(float *x) {{}}')
        self.compiled.add((name, *kind))

    def expression(
        self, name: str, function: Any, args: Sequence[Any], kind: Any, out: Any = None
    ) -> Any:
        """What an expression of CuPy does: takes memory for its result, compiles, then writes."""
        if any(isinstance(each, np.ndarray) and each.ndim for each in args):
            raise TypeError("Implicit conversion to a NumPy array is not allowed")
        plain = [tuple(map(_plain, each)) if isinstance(each, tuple) else _plain(each)
                 for each in args]  # fmt: skip
        values = np.asarray(function(*plain))
        if out is None:
            self.take(values.nbytes)
        dtypes = [(each.dtype.str, each.ndim) for each in plain if isinstance(each, np.ndarray)]
        self.compile(f"cupy_{name}", kind, *dtypes)
        if out is None:
            return self.cupy.ndarray(self, values)
        out.values[...] = values
        return out

    def array(self, values: Any) -> Any:
        """A copy on the GPU, of the same memory layout."""
        return self.cupy.ndarray(self, np.copy(values, order="K"))

    def draw(self, shape: Any, dtype: str, low: float = 0.5) -> Any:
        """Random numbers below 2, the same on every machine."""
        return self.array(self.rng.uniform(low, 2.0, shape).astype(dtype))

    @contextmanager
    def installed(self) -> Iterator[Machine]:
        """In the place of CuPy and of Numba's CUDA; nothing that was compiled before is known."""
        finders = batchnorm_engines.get, rows_engines.get, softmax_engines.get
        for get in (get_engine, *finders, state_engines.OPERATION.get):
            for name in ENGINES:
                get(name)  # imports its module
        with ExitStack() as stack:
            for patch in (
                forgotten(self.cupy),
                mock.patch.object(numba, "cuda", NumbaCuda(self), create=True),
                mock.patch.object(numba_cuda, "_missing", return_value=("", "")),
                mock.patch.object(captured_graph, "why_no_graphs", return_value="made up"),
                mock.patch.object(cuda_launch, "THREADS", 1),  # all that a block of Numba's has
                mock.patch.multiple(numba_cuda_plan, **NUMBA_PLAN),
                mock.patch.multiple(numba_cuda_kernels, MOST_THREADS=1, simulated=lambda: True),
                mock.patch.multiple(plan, **PLAN, **({} if self.whole else IN_PARTS)),
            ):
                stack.enter_context(patch)
            probe_cuda.cache_clear()
            try:
                assert probe_cuda(0).available
                yield self
            finally:
                probe_cuda.cache_clear()


# --- CuPy -----------------------------------------------------------------------------------------
class Device:
    """As `cupy.cuda.Device`: a number, and a context."""

    def __init__(self, number: int = 0) -> None:
        self.id = number

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: Any) -> None:
        return None


def reduced(args: Sequence[Any]) -> tuple[Any, ...]:
    """What CuPy compiles an elementwise kernel for: its axes that can't be joined, and for each
    array its dtype and whether it is contiguous (cupy/_core/_kernel.pyx, _reduced_view_core)."""
    arrays = [each for each in map(_plain, args) if isinstance(each, np.ndarray)]
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    arrays = [np.broadcast_to(array, shape) for array in arrays]
    joined = all(array.flags.c_contiguous for array in arrays)
    if len(shape) < 2 or joined:
        axes = min(len(shape), 1)
    elif len(shape) == 2:
        axes = 2
    else:
        loose = [array.strides for array in arrays if not array.flags.c_contiguous]
        long = [axis for axis, n in enumerate(shape) if n != 1]
        axes = len(long) and 1 + sum(
            any(steps[b] * shape[b] != steps[a] for steps in loose)
            for a, b in itertools.pairwise(long)
        )
    return axes, *((array.dtype.str, array.flags.c_contiguous) for array in arrays)


VIEWS = ("reshape", "transpose", "ravel", "view")


class Array(NDArrayOperatorsMixin):
    """As `cupy.ndarray`, as far as the library uses it; `values` are what it holds."""

    def __init__(self, machine: Machine, values: np.ndarray) -> None:
        self.machine, self.values, self.device = machine, values, Device()
        self.flags = SimpleNamespace(
            c_contiguous=values.flags.c_contiguous,
            f_contiguous=values.flags.f_contiguous,
            owndata=values.base is None,
        )
        self.data = SimpleNamespace(ptr=values.ctypes.data, device_id=0)

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "ndim", "size", "strides", "nbytes", "itemsize", "base"):
            return getattr(self.values, name)
        if name == "T" or name in VIEWS:
            view = getattr(self.values, name)
            return self._like(view) if name == "T" else lambda *a: self._like(view(*a))
        if name in ("mean", "sum", "max", "take", "argmax", "repeat"):
            return partial(self.machine.cupy.call, name, self)
        raise AttributeError(name)

    def _like(self, values: Any) -> Array:
        return type(self)(self.machine, np.asarray(values))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        assert method == "__call__"
        (out,) = options.pop("out", (None,))  # of `y += x`
        kind = "signature" if ufunc.signature else reduced(inputs)
        function = partial(ufunc, **options)
        return self.machine.expression(ufunc.__name__, function, inputs, kind, out)

    def __array_function__(self, function: Any, _: Any, args: Any, options: Any) -> Any:
        return getattr(self.machine.cupy, function.__name__)(*args, **options)

    def __len__(self) -> int:
        return len(self.values)

    def __float__(self) -> float:
        return float(self.values)

    def __int__(self) -> int:
        return int(self.values)

    def __bool__(self) -> bool:
        return bool(self.values)

    def __iter__(self) -> Iterator[Array]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, key: Any) -> Array:
        if any(isinstance(each, Array) for each in (key if isinstance(key, tuple) else (key,))):
            return self.machine.cupy.call("take", self, key)
        return self._like(self.values[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        key = tuple(map(_plain, key)) if isinstance(key, tuple) else key
        target, source = self.values[key], np.asarray(_plain(value))
        transfer = (
            isinstance(value, Array)
            and target.flags.c_contiguous
            and (target.dtype, target.shape, target.strides)
            == (source.dtype, source.shape, source.strides)
        )
        if not transfer:
            self.machine.compile("cupy_copy", reduced((source, target)))
        self.values[key] = source

    def get(self) -> np.ndarray:
        return self.values.copy()

    def copy(self, order: str = "C") -> Array:
        return self.astype(self.dtype, order)

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> Array:
        values = self.values.astype(dtype, order=order, copy=copy)  # type: ignore[call-overload]
        if values is self.values:
            return self
        self.machine.take(values.nbytes)
        if not (values.dtype == self.dtype and values.strides == self.strides):
            self.machine.compile("cupy_copy", reduced((self, values)))
        return self._like(values)


def _plain(value: Any) -> Any:
    return value.values if isinstance(value, Array) else value


class CuPy(ModuleType):
    """As much of CuPy as the library uses, on one GPU."""

    float32, float64 = np.float32, np.float64
    random = np.random

    def __init__(self, machine: Machine) -> None:
        super().__init__("cupy")
        self.machine = machine
        self.ndarray = type("ndarray", (Array,), {})
        self.cuda = SimpleNamespace(
            Device=Device,
            get_current_stream=lambda: SimpleNamespace(ptr=0, is_capturing=lambda: False),
            runtime=SimpleNamespace(
                runtimeGetVersion=lambda: 0,  # of which there is no cuBLASLt
                CUDARuntimeError=CUDARuntimeError,
                getDeviceCount=lambda: 1,
                getDeviceProperties=lambda index: {"name": b"Made-up GPU"},
                deviceSynchronize=lambda: None,
                deviceGetAttribute=lambda attribute, index: 3,
                getDevice=lambda: 0,
                memGetInfo=lambda: (1_000, 80_000),
            ),
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            compiler=SimpleNamespace(CompileException=CompileException),
        )

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_bytes=lambda: 512, free_all_blocks=lambda: None)

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        if isinstance(values, Array):
            return values if dtype in (None, values.dtype) else values.astype(dtype)
        copy = np.array(values, dtype)
        self.machine.take(copy.nbytes)
        return self.ndarray(self.machine, copy)

    def empty(self, shape: Any, dtype: Any) -> Array:
        values = poisoned(shape, dtype)
        self.machine.take(values.nbytes)
        return self.ndarray(self.machine, values)

    def empty_like(self, array: Array) -> Array:
        self.machine.take(array.nbytes)
        return self.ndarray(self.machine, np.full_like(array.values, np.nan))

    def ones(self, shape: Any, dtype: Any) -> Array:
        array = self.empty(shape, dtype)
        array[...] = 1
        return array

    def zeros(self, shape: Any, dtype: Any) -> Array:
        array = self.empty(shape, dtype)
        array.values[...] = 0  # by cudaMemset
        return array

    def __getattr__(self, name: str) -> Any:
        if name in ("stack", "concatenate"):
            return lambda arrays: self.call(name, *arrays)
        if name.startswith("_") or not callable(getattr(np, name, None)):
            raise AttributeError(name)
        return partial(self.call, name)

    def call(self, name: str, *args: Any, out: Any = None, **options: Any) -> Any:
        """A function of NumPy's, as an expression."""
        functions = {
            "stack": lambda *arrays: np.stack(arrays),
            "concatenate": lambda *arrays: np.concatenate(arrays),
            "take": lambda array, key, axis=None: (
                array[key] if axis is None else np.take(array, key, axis)
            ),
        }
        function = partial(functions.get(name) or getattr(np, name), **options)
        return self.machine.expression(name, function, args, len(args), out)

    def ElementwiseKernel(
        self, in_params: str, out_params: str, operation: str, name: str, preamble: str = ""
    ) -> Any:
        kernel = hostcuda.ElementwiseKernel(in_params, out_params, operation, name, preamble)

        def launch(*args: Any) -> Any:
            if name == "onepass_probe":
                return args[0] + args[0]
            self.machine.compile(name, operation, reduced(args))
            return kernel(*map(_plain, args))

        return launch

    def RawKernel(self, code: str, name: str) -> Any:
        kernel, ready = raw_kernel(code, name), partial(self.machine.compile, name, code)

        def launch(grid: Any, block: Any, args: Any) -> None:
            ready()
            kernel(grid, block, tuple(map(_plain, args)))

        launch.compile = ready  # type: ignore[attr-defined]
        return launch


# --- Numba ----------------------------------------------------------------------------------------
class NumbaCuda:
    """As much of `numba.cuda` as the engines use, where a block has one thread."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.threadIdx = SimpleNamespace(x=0)
        self.blockIdx, self.gridDim = SimpleNamespace(x=0, y=0), SimpleNamespace(x=1, y=1)
        self.shared = self.local = SimpleNamespace(
            array=lambda shape, kind: poisoned(shape, str(kind))
        )

    def jit(self, function: Any, device: bool = False, launch_bounds: Any = None) -> Any:
        return function if device else Kernel(self, function)

    def grid(self, axes: int) -> int:
        return self.blockIdx.x

    def gridsize(self, axes: int) -> int:
        return self.gridDim.x

    def syncthreads(self) -> None:
        return None

    def external_stream(self, pointer: int) -> int:
        return pointer


class Kernel:
    """A kernel that is compiled when it is first called with arguments of some types."""

    def __init__(self, numba: NumbaCuda, function: Any) -> None:
        self.numba, self.function = numba, function

    def __getitem__(self, configuration: Any) -> Any:
        blocks, threads, _ = configuration
        assert threads == 1
        grid = blocks if isinstance(blocks, tuple) else (blocks, 1)

        def launch(*args: Any) -> None:
            kinds = [
                (each.dtype.str, each.ndim, each.flags.c_contiguous)
                if isinstance(each, Array)
                else type(each)
                for each in args
            ]
            self.numba.machine.compile(self.function.__name__, self, *kinds)
            self.numba.gridDim = SimpleNamespace(x=grid[0], y=grid[1])
            for x, y in np.ndindex(grid):
                self.numba.blockIdx = SimpleNamespace(x=x, y=y)
                self.function(*map(_plain, args))

        return launch
