"""CUDA C kernels on the host: a RawKernel that g++ compiles and the CPU runs, thread by thread.

It takes the very text that CuPy's takes. The builds "exact", "fma" and "ftz" run here and write
into the arrays, as a GPU would. "asan" (accesses out of bounds, undefined behaviour) and "tsan"
(races) run in a program of their own, on copies, and report what they find.

What stays unseen: threads run until they wait, so many a race shows under "tsan" alone, and one
that spins until another block writes never ends. Nothing looks at local variables that are read
unset, at unsigned overflow, or at what is lost in a conversion to int.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from proving import account as proof
from proving.host import building, sanitized
from proving.host import elementwise as hostcuda
from proving.host.building import SANITIZERS
from proving.host.sanitized import Outcome, Settings
from proving.host.shared_memory import with_shared_memory, without_comments

RUNGS = {**dict.fromkeys(hostcuda.BUILDS, proof.HOST), "asan": proof.ASAN, "tsan": proof.TSAN}
ORDERS: tuple[str | int, ...] = ("forward", "reverse", 0, 1)  # a number seeds a shuffle
MAX_SHARED = 48 << 10  # bytes of shared memory that a block has without asking for more
_DTYPES = {
    "bool": "bool",
    "char": "int8",
    "signed char": "int8",
    "unsigned char": "uint8",
    "short": "int16",
    "unsigned short": "uint16",
    "int": "int32",
    "unsigned": "uint32",
    "unsigned int": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
    "ptrdiff_t": "int64",
    "size_t": "uint64",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "half": "float16",
    "__half": "float16",
    "float": "float32",
    "double": "float64",
    **{f"{kind}{bits}_t": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
_ELEMENTS = _DTYPES | {  # what a pointer may point at, and the dtype of the array it is given
    f"{name}{lanes}": dtype
    for name, dtype in [("float", "float32"), ("double", "float64"), ("int", "int32")]
    for lanes in (2, 4)
}
_LAUNCH = """
extern "C" __attribute__((visibility("default"))) const char *onepass_launch(
    const onepass::Argument *values, const unsigned *shape, size_t dynamic, size_t limit,
    long long order) {{
    return onepass::launch([](const onepass::Argument *value) {{ {name}({values}); }}, values,
                           shape, dynamic, limit, order);
}}
"""


class LaunchError(RuntimeError):
    """A launch that would hang, or that asks for more than a GPU has."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel, as its text declares it."""

    name: str
    kind: str
    pointer: bool
    const: bool

    def check(self, value: Any) -> None:
        """An AssertionError that names the parameter, unless `value` is of its very type."""
        got = f"a Python {type(value).__name__}"
        if isinstance(value, np.ndarray | np.generic):
            got = f"{'an array' if isinstance(value, np.ndarray) else 'a scalar'} of {value.dtype}"
        wrong = f"{self.name} is declared {self.kind}{' *' * self.pointer} but is given {got}"
        if not self.pointer:
            assert isinstance(value, np.generic), wrong
            assert value.dtype == _DTYPES[self.kind], wrong
        elif isinstance(value, np.ndarray):
            assert self.kind == "void" or value.dtype == _ELEMENTS[self.kind], wrong
            assert self.const or value.flags.writeable, f"{self.name} is not const but is read-only"
        else:
            null = isinstance(value, np.uint64) and value == 0
            assert null, f"{wrong}; the null pointer is np.uint64(0)"


class RawKernel:
    """`cupy.RawKernel` on the CPU, for NumPy arrays and NumPy scalars."""

    def __init__(self, code: str, name: str, options: Sequence[str] = ()) -> None:
        self.name, self.macros = name, ""
        for option in options:
            known = re.fullmatch(r"-D(\w+)(?:=(.*))?|--?std=c\+\+17", option)
            assert known, f"{name}: the host takes the options -D and -std=c++17, not {option}"
            self.macros += f"#define {known[1]} {known[2] or 1}\n" if known[1] else ""
        code = without_comments(code)
        self.parameters, self.max_threads = _signature(self.macros + code, name)
        self.max_dynamic_shared_size_bytes = MAX_SHARED
        self.text = with_shared_memory(code, name)

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        shared_mem: int = 0,
        *,
        order: str | int = "forward",
        build: str = "exact",
        reached: tuple[np.ndarray, ...] = (),
    ) -> None:
        """Launch and wait. `order`, of blocks and threads, is one of ORDERS or another seed; arrays
        of int64 may hold addresses in arrays that are `reached`.

        What a sanitizer reports is raised as an AssertionError, and nothing is written then.
        """
        call = Call(self, grid, block, tuple(args), shared_mem, order, reached)
        if build in SANITIZERS:
            (outcome,) = sanitize(build, [call])
            assert not outcome.report, outcome.report
            for given, result in zip((*args, *reached), outcome.args, strict=True):
                if isinstance(given, np.ndarray) and given.flags.writeable:
                    given[...] = result
            return
        values = [
            np.uint64(arg.ctypes.data) if isinstance(arg, np.ndarray) else arg for arg in args
        ]
        failure = _launch(*call.settings(build), [value.tobytes() for value in values])
        if failure:
            raise LaunchError(f"{self.name}: {failure}")

    def library(self, build: str) -> str:
        """The file of a build."""
        values = ", ".join(f"value[{k}]" for k in range(len(self.parameters)))
        launch = _LAUNCH.format(name=self.name, values=values)
        head = f'#include "{building.HEADER.name}"\n{self.macros}#line 1 "{self.name}.cu"'
        text = f"{head}\n{self.text}\n{launch}"
        return building.library(text, self.name, build)


@dataclass(frozen=True)
class Call:
    """One launch; an AssertionError if a GPU would refuse it or misread its arguments."""

    kernel: RawKernel
    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: tuple[Any, ...]
    shared_mem: int = 0
    order: str | int = "forward"
    reached: tuple[np.ndarray, ...] = ()

    def __post_init__(self) -> None:
        kernel, name, shape = self.kernel, self.kernel.name, self.shape
        names = [parameter.name for parameter in kernel.parameters]
        assert len(self.args) == len(names), f"{name} takes {names} but is given {len(self.args)}"
        for parameter, value in zip(kernel.parameters, self.args, strict=True):
            parameter.check(value)
        limits = (2**31 - 1, 65535, 65535, 1024, 1024, 64)
        fits = all(1 <= size <= limit for size, limit in zip(shape, limits, strict=True))
        assert fits, f"{name}: grid {self.grid} or block {self.block} is not within {limits}"
        most = f"{name}: block {self.block} has more than {kernel.max_threads} threads"
        assert math.prod(shape[3:]) <= kernel.max_threads, most

    @property
    def shape(self) -> tuple[int, ...]:
        """Three sizes of the grid, then three of the block."""
        return (*(*self.grid, 1, 1)[:3], *(*self.block, 1, 1)[:3])

    def settings(self, build: str) -> Settings:
        """The arguments of `_launch`, all but the values."""
        seed = self.order
        order = ("reverse", "forward").index(seed) - 1 if isinstance(seed, str) else seed + 1
        limit = self.kernel.max_dynamic_shared_size_bytes
        return Settings(self.kernel.library(build), self.shape, self.shared_mem, limit, order)


def sanitize(kind: str, calls: Sequence[Call]) -> list[Outcome]:
    """Run each call under "asan" or "tsan", in a program of its own.

    Its arrays are copies in memory of exactly their size; those that overlap share it. Outcomes
    have those that are reached behind the arguments.
    """
    assert not sanitized.missing(kind), sanitized.missing(kind)
    compile_all(kind, (each.kernel for each in calls))

    def run(call: Call) -> Outcome:
        return sanitized.run(kind, call.kernel.name, call.settings(kind), call.args, call.reached)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(run, calls))


def compile_all(build: str, kernels: Iterable[RawKernel]) -> None:
    """Several at a time; what is launched later finds them built."""
    texts = {(kernel.name, kernel.macros, kernel.text): kernel for kernel in kernels}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda kernel: kernel.library(build), texts.values()))


def _launch(
    library: str,
    shape: tuple[int, ...],
    shared_mem: int,
    limit: int,
    order: int,
    values: list[bytes],
) -> str:
    """What went wrong, "" if nothing. `values` are those of the arguments; an array's, its address.

    Whatever lies at an argument's place is taken for what the kernel declares.
    """
    launch = ctypes.CDLL(library).onepass_launch
    launch.restype = ctypes.c_char_p
    held = [ctypes.create_string_buffer(value, 16) for value in values]
    failure = launch(
        (ctypes.c_void_p * len(held))(*map(ctypes.addressof, held)),
        (ctypes.c_uint * 6)(*shape),
        ctypes.c_size_t(shared_mem),
        ctypes.c_size_t(limit),
        ctypes.c_longlong(order),
    )
    return str(failure, "utf-8")


def _signature(code: str, name: str) -> tuple[tuple[Parameter, ...], int]:
    """The parameters of kernel `name`, and how many threads a block of it may have."""
    bounds = r"(?:__launch_bounds__\s*\(([^()]*)\)\s*)?"
    head = rf"__global__\s+{bounds}void\s+{bounds}{name}\s*\(([^()]*)\)"
    found = re.search(head, code)
    assert found, f"the text has no kernel {name}"
    before = code[: found.start()]
    named = re.search(r'extern\s+"C"\s*(\{.*)?$', before, re.DOTALL)
    assert named, f'kernel {name} is not extern "C": CuPy would not find it'
    aliases = dict(re.findall(r"#define\s+(\w+)[ \t]+([\w ]+)", code))
    aliases |= dict(re.findall(r"using\s+(\w+)\s*=\s*([\w ]+);", code))
    aliases |= {new: old for old, new in re.findall(r"typedef\s+([\w ]+?)\s+(\w+)\s*;", code)}

    def resolved(text: str) -> str:
        while (text := text.strip()) in aliases:
            text = aliases[text]
        return text

    parameters = []
    for declared in found[3].split(",") if found[3].strip() not in ("", "void") else []:
        *words, last = re.findall(r"\w+|[*&]", declared)
        plain = [word for word in words if word not in ("const", "volatile", "__restrict__", "*")]
        kind, stars = resolved(" ".join(plain)), words.count("*")
        known = _DTYPES if stars == 0 else {**_ELEMENTS, "void": ""} if stars == 1 else {}
        assert kind in known, f"{last}: the host can't pass `{declared.strip()}`"
        const = "const" in declared.split("*")[0].split()
        parameters.append(Parameter(last, kind, stars == 1, const))
    bound = resolved((found[1] or found[2] or "").split(",")[0])
    return tuple(parameters), int(bound) if bound.isdigit() else 1024
