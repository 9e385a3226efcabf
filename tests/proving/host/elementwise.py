"""CUDA C text on the host: an ElementwiseKernel that g++ compiles and the CPU runs.

It takes the very strings that CuPy's takes and binds them alike: inputs are const references,
outputs are references into the arrays, scalars are converted to their declared type.
"""

from __future__ import annotations

import ctypes
import math
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onepass.kernels.rule_engines import cupy_gpu

X86 = platform.machine() in ("x86_64", "AMD64")
BUILDS = {  # -O0 where it does: kernels run for less time than they compile
    "exact": ("-O0", "-ffp-contract=off"),  # every operation rounds, as in NumPy
    # as NVRTC contracts, which -O1 does not do without the third
    "fma": ("-O1", "-ffp-contract=fast", "-fexpensive-optimizations", *["-mfma"] * X86),
    # subnormals are zero, as CuPy's -ftz=true has it
    "ftz": ("-O0", "-ffp-contract=off", "-DFLUSH"),
}
# Whoever loads a library has what it calls; looking for that in more of them takes a third of g++.
LOADED, LIBRARIES = ("-shared", "-fPIC", "-nostdlib"), ("-lm", "-lgcc")
MISSING = "" if shutil.which("g++") else "g++ is not on the PATH"
FMA_MISSING = (
    "this processor has no fused multiply-add"
    if X86 and " fma " not in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    else ""
)

# rule -> the public function that runs it, and options under which every coefficient shows
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("sgd_step", {"lr": 0.1}),
    "momentum": ("momentum_step", {"lr": 0.1, "momentum": 0.8, "form": "averaged"}),
    "nesterov": ("momentum_step", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    "adagrad": ("adagrad_step", {"lr": 0.1, "eps": 1e-2}),
    "rmsprop": ("rmsprop_step", {"lr": 0.1, "alpha": 0.9, "eps": 1e-2}),
    "rmsprop-momentum": ("rmsprop_step", {"lr": 0.1, "alpha": 0.5, "eps": 1e-2, "momentum": 0.8}),
    "rmsprop-centered": (
        "rmsprop_step",
        {"lr": 0.1, "eps": 1e-2, "eps_inside_sqrt": True, "centered": True},
    ),
    "rmsprop-centered-momentum": (
        "rmsprop_step",
        {"lr": 0.1, "alpha": 0.9, "eps": 1e-2, "centered": True, "momentum": 0.8},
    ),
    "adam": ("adam_step", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-2}),
    "amsgrad": ("amsgrad_step", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-2}),
    "nadam": ("nadam_step", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-2}),
    "radam": ("radam_step", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-2}),
    "adamax": ("adamax_step", {"lr": 0.1, "betas": (0.8, 0.7), "eps": 1e-2}),
    "adadelta": ("adadelta_step", {"lr": 0.5, "eps": 1e-2}),
    "lion": ("lion_step", {"lr": 0.1, "betas": (0.5, 0.8)}),
}
# what all rules share: nothing, all of it with L2 decay, all of it with decoupled decay
EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {"weight_decay": 0.05, "maximize": True, "grad_scale": 0.7},
    "decoupled": {"weight_decay": 0.05, "grad_scale": 0.7, "decoupled": True},
}

PLACE = """
// The place of the i-th element in C order; `shape` and `steps` of `ndim` axes.
static __PTRDIFF_TYPE__ place(__PTRDIFF_TYPE__ i, __PTRDIFF_TYPE__ ndim,
                              const __PTRDIFF_TYPE__ *shape, const __PTRDIFF_TYPE__ *steps) {
    __PTRDIFF_TYPE__ at = 0;
    for (; ndim--; i /= shape[ndim]) at += i % shape[ndim] * steps[ndim];
    return at;
}
"""
_SOURCE = """
#define __device__
#define __forceinline__ inline
// As CUDA overloads them; <cmath> does too, in twice the time.
#define FLOATING(name) \\
    inline float name(float x) {{ return __builtin_##name##f(x); }} \\
    inline double name(double x) {{ return __builtin_##name(x); }}
FLOATING(exp) FLOATING(fabs) FLOATING(log1p) FLOATING(sqrt) FLOATING(tanh)
typedef float float32;
typedef double float64;
struct float16 {{  // what CuPy's class of that name offers
    _Float16 data;
    float16(float x) : data(x) {{}}
    operator float() const {{ return data; }}
}};
{preamble}
{place}
extern "C" void {name}(__PTRDIFF_TYPE__ _n, __PTRDIFF_TYPE__ _ndim, const __PTRDIFF_TYPE__ *_shape,
                       {parameters}) {{
#ifdef FLUSH
    const unsigned int before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040);  // flush results to zero, take operands as zero
#endif
    for (__PTRDIFF_TYPE__ _i = 0; _i < _n; ++_i) {{
        {references}
        {operation}
    }}
#ifdef FLUSH
    __builtin_ia32_ldmxcsr(before);
#endif
}}
"""


class SameDevice(nullcontext[None]):
    """As `cupy.cuda.Device`: a context, and a number."""

    id = 0


class OnHost(np.ndarray):
    """A NumPy array that the CuPy engine takes for one of its own."""

    device = SameDevice()  # type: ignore[assignment]


class Bound(NamedTuple):
    """An argument as a kernel declares it.

    Attributes:
        kind: the declared dtype.
        value: an array, or a scalar of that dtype.
        steps: an array's, in elements, along the axes of the whole shape; None of a scalar.
    """

    kind: str
    name: str
    written: bool
    value: Any
    steps: tuple[int, ...] | None = None


class ElementwiseKernel:
    """`cupy.ElementwiseKernel` on the CPU: inputs broadcast, outputs have the whole shape."""

    def __init__(
        self, in_params: str, out_params: str, operation: str, name: str, preamble: str = ""
    ) -> None:
        self.inputs = [tuple(each.split()) for each in in_params.split(", ")]
        self.outputs = [tuple(each.split()) for each in out_params.split(", ")]
        self.operation, self.name, self.preamble = operation, name, preamble

    def bind(self, args: Sequence[Any]) -> tuple[tuple[int, ...], list[Bound]]:
        """The whole shape, and each argument; an AssertionError names one that CuPy would refuse or
        convert."""
        declared = [*self.inputs, *self.outputs]
        names = [name for _, name in declared]
        assert len(args) == len(names), f"{self.name} takes {names} but is given {len(args)}"
        arrays = [arg for arg in args if isinstance(arg, np.ndarray)]
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        bound = []
        for (kind, name), value in zip(declared, args, strict=True):
            read = (kind, name) in self.inputs
            if not isinstance(value, np.ndarray):
                assert read, f"{name} is written but is a scalar"
                bound.append(Bound(kind, name, False, np.dtype(kind).type(value)))
                continue
            assert value.dtype == kind, f"{name} is {value.dtype} but declared {kind}"
            assert read or value.shape == shape, f"{name} has shape {value.shape}, not {shape}"
            assert read or value.flags.writeable, f"{name} is read-only"
            strides = np.broadcast_to(value, shape).strides
            assert not any(stride % value.itemsize for stride in strides), f"{name} is not aligned"
            steps = tuple(stride // value.itemsize for stride in strides)
            bound.append(Bound(kind, name, not read, value, steps))
        return shape, bound

    def __call__(self, *args: Any, build: str = "exact") -> None:
        shape, bound = self.bind(args)
        values, parameters, references = [], [], []
        for kind, name, written, value, steps in bound:
            if steps is None:
                values.append(np.ctypeslib.as_ctypes_type(value.dtype)(value))
                parameters.append(f"const {kind} {name}")
                continue
            const = "" if written else "const "
            values += [ctypes.c_void_p(value.ctypes.data), _numbers(steps)]
            parameters.append(f"{const}{kind} *_raw_{name}, const __PTRDIFF_TYPE__ *_steps_{name}")
            at = f"place(_i, _ndim, _shape, _steps_{name})"
            references.append(f"{const}{kind} &{name} = _raw_{name}[{at}];")
        source = _SOURCE.format(
            name=self.name,
            preamble=self.preamble,
            place=PLACE,
            parameters=", ".join(parameters),
            references="\n".join(references),
            operation=self.operation,
        )
        sizes = ctypes.c_ssize_t(math.prod(shape)), ctypes.c_ssize_t(len(shape)), _numbers(shape)
        _compile(source, self.name, BUILDS[build])(*sizes, *values)


def _numbers(numbers: Sequence[int]) -> Any:
    return (ctypes.c_ssize_t * len(numbers))(*numbers)


@cache
def _compile(source: str, name: str, flags: tuple[str, ...]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        text, library = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
        text.write_text(source, encoding="utf-8")
        command = ["g++", *LOADED, *flags, "-o", str(library), str(text), *LIBRARIES]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"g++ rejects {name}:\n{done.stderr}\n{source}"
        return getattr(ctypes.CDLL(str(library)), name)  # stays loaded after the file is gone


def run(rule: Any, dtype: str, arrays: Any, coefficients: Any, build: str = "exact") -> None:
    """One update of `arrays` (param, grad, states) in place by the text that ships."""
    param, grad, *state = arrays
    kernel = ElementwiseKernel(**cupy_gpu.parts(rule, dtype))
    kernel(grad, *coefficients, param, *state, build=build)


def on_host(array: Any) -> OnHost:
    """A copy of `array` for an engine on the host."""
    return np.array(array).view(OnHost)
