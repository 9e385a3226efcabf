"""CUDA C kernels on the host: a RawKernel that g++ compiles and the CPU runs, thread by thread.

It takes the very text that CuPy's takes. The builds "exact", "fma" and "ftz" run here and write
into the arrays, as a GPU would. "asan" (accesses out of bounds, undefined behaviour) and "tsan"
(races) run in a Python of their own, on copies, and report what they find.

What stays unseen: threads run until they wait, so many a race shows under "tsan" alone, and one
that spins until another block writes never ends. Nothing looks at local variables that are read
unset, at unsigned overflow, or at what is lost in a conversion to int.
"""

from __future__ import annotations

import atexit
import ctypes
import inspect
import math
import os
import pickle
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from proving import account as proof
from proving.host import elementwise as hostcuda

HEADER = Path(__file__).with_name("cuda_on_host.h")
SANITIZERS = {  # -O0: no access is optimized away, and it compiles fastest
    "asan": ("-O0", "-g1", "-ffp-contract=off", "-fsanitize=address,undefined"),
    "tsan": ("-O0", "-g1", "-ffp-contract=off", "-fsanitize=thread"),
}
BUILDS = {name: ("-O2", *flags) for name, flags in hostcuda.BUILDS.items()} | SANITIZERS
RUNGS = {**dict.fromkeys(hostcuda.BUILDS, proof.HOST), "asan": proof.ASAN, "tsan": proof.TSAN}
ORDERS: tuple[str | int, ...] = ("forward", "reverse", 0, 1)  # a number seeds a shuffle
MAX_SHARED = 48 << 10  # bytes of shared memory that a block has without asking for more
PATIENCE_S = 120

_OPTIONS = ("ASAN_OPTIONS=detect_leaks=0", "TSAN_OPTIONS=exitcode=0:report_thread_leaks=0")
_NOISE = "ASan doesn't fully support makecontext/swapcontext"  # it does what is asked of it here
_STUBS = ("cuda_fp16.h", "cupy/carray.cuh", "cupy/float16.cuh")  # HEADER offers what they would
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
_DECLARATOR = r"\w+(?:\s*\[[^\]]*\])*"
_SHARED = re.compile(
    r"(?P<extern>extern\s+)?__shared__\s+(?:__align__\(\w+\)\s+)?(?P<type>(?:\w+\s+)+)"
    rf"(?P<names>{_DECLARATOR}(?:\s*,\s*{_DECLARATOR})*)\s*;"
)
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
        comment = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
        code = comment.sub(lambda found: "\n" * found[0].count("\n"), code)
        self.parameters, self.max_threads = _signature(self.macros + code, name)
        self.max_dynamic_shared_size_bytes = MAX_SHARED
        self.text = _SHARED.sub(_declare, code)
        assert "__shared__" not in self.text, f"{name}: a declaration of __shared__ is unreadable"

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        shared_mem: int = 0,
        *,
        order: str | int = "forward",
        build: str = "exact",
    ) -> None:
        """Launch and wait. `order`, of blocks and threads, is one of ORDERS or another seed.

        What a sanitizer reports is raised as an AssertionError, and nothing is written then.
        """
        call = Call(self, grid, block, tuple(args), shared_mem, order)
        if build in SANITIZERS:
            (outcome,) = sanitize(build, [call])
            assert not outcome.report, outcome.report
            for given, result in zip(args, outcome.args, strict=True):
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
        head = f'#include "{HEADER.name}"\n{self.macros}#line 1 "{self.name}.cu"'
        text = f"{head}\n{self.text}\n{launch}"
        return _compile(text, self.name, BUILDS[build])


@dataclass(frozen=True)
class Call:
    """One launch; an AssertionError if a GPU would refuse it or misread its arguments."""

    kernel: RawKernel
    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: tuple[Any, ...]
    shared_mem: int = 0
    order: str | int = "forward"

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

    def settings(self, build: str) -> tuple[str, tuple[int, ...], int, int, int]:
        """The arguments of `_launch`, all but the values."""
        seed = self.order
        order = ("reverse", "forward").index(seed) - 1 if isinstance(seed, str) else seed + 1
        limit = self.kernel.max_dynamic_shared_size_bytes
        return self.kernel.library(build), self.shape, self.shared_mem, limit, order


@dataclass(frozen=True)
class Outcome:
    """What a sanitizer reports of a launch, "" if nothing, and the arguments as it left them.

    There are no arguments if the launch was cut short.
    """

    report: str
    args: tuple[Any, ...]


def sanitize(kind: str, calls: Sequence[Call]) -> list[Outcome]:
    """Run each call under "asan" or "tsan", in a Python of its own.

    Its arrays are copies in memory of exactly their size; those that overlap share it.
    """
    assert not missing(kind), missing(kind)
    compile_all(kind, calls)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda call: _sanitized(kind, call), calls))


def compile_all(build: str, calls: Sequence[Call]) -> None:
    """The kernels of all calls, several at a time; what is launched later finds them built."""
    kernels = [each.kernel for each in calls]
    texts = {(kernel.name, kernel.macros, kernel.text): kernel for kernel in kernels}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda kernel: kernel.library(build), texts.values()))


def missing(kind: str) -> str:
    """Why "asan" or "tsan" can't run here; empty when it can."""
    return _python(kind)[1]


def _sanitized(kind: str, call: Call) -> Outcome:
    pieces = _pieces(call.args)
    starts = [start for start, _ in pieces]
    values: list[Any] = []  # an array's is the number of its piece and its place in there
    for arg in call.args:
        if isinstance(arg, np.ndarray):
            piece = bisect_right(starts, arg.ctypes.data) - 1
            values.append((piece, arg.ctypes.data - starts[piece]))
        else:
            values.append(arg.tobytes())
    memory = [(start % 16, ctypes.string_at(start, end - start)) for start, end in pieces]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "call").write_bytes(pickle.dumps((call.settings(kind), values, memory)))
        command = [*_python(kind)[0], f"{_worker()}\n_work({folder!r})"]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            return Outcome(f"{call.kernel.name} still ran after {PATIENCE_S} s", ())
        lines = done.stderr.decode(errors="replace").splitlines(keepends=True)
        report = "".join(line for line in lines if _NOISE not in line)
        after = Path(folder, "after")
        if not after.exists():
            return Outcome(report or f"{call.kernel.name} ended with {done.returncode}", ())
        written = [bytearray(piece) for piece in pickle.loads(after.read_bytes())]
    args = tuple(
        np.ndarray(arg.shape, arg.dtype, written[value[0]], value[1], arg.strides)
        if isinstance(arg, np.ndarray)
        else arg
        for arg, value in zip(call.args, values, strict=True)
    )
    return Outcome(report, args)


def _pieces(args: Sequence[Any]) -> list[tuple[int, int]]:
    """Start and end of the memory that arrays take; those that overlap share a piece."""
    spans = [
        np.lib.array_utils.byte_bounds(arg) if arg.size else (arg.ctypes.data, arg.ctypes.data)
        for arg in args
        if isinstance(arg, np.ndarray)
    ]
    pieces: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if pieces and start < pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], max(end, pieces[-1][1]))
        else:
            pieces.append((start, end))
    return pieces


def _work(folder: str) -> None:
    """What the other Python does: it imports nothing that isn't needed, NumPy least of all."""
    import ctypes
    import pickle
    import sys
    from pathlib import Path

    settings, values, memory = pickle.loads(Path(folder, "call").read_bytes())
    malloc = ctypes.CDLL(None).malloc  # the sanitizer's
    malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    starts = []
    for skew, piece in memory:
        starts.append(malloc(skew + len(piece)) + skew)
        ctypes.memmove(starts[-1], piece, len(piece))
    for k, value in enumerate(values):
        if isinstance(value, tuple):
            values[k] = (starts[value[0]] + value[1]).to_bytes(8, sys.byteorder)
    library, shape, shared_mem, limit, order = settings
    failure = _launch(library, shape, shared_mem, limit, order, values)
    print(failure, end="", file=sys.stderr)
    after = [
        ctypes.string_at(start, len(piece))
        for start, (_, piece) in zip(starts, memory, strict=True)
    ]
    Path(folder, "after").write_bytes(pickle.dumps(after))


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
    import ctypes

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


@cache
def _worker() -> str:
    source = "\n".join(inspect.getsource(function) for function in (_launch, _work))
    return f"from __future__ import annotations\n{source}"


@cache
def _python(kind: str) -> tuple[tuple[str, ...], str]:
    """The command of a Python with the sanitizer's runtime in it; or why there is none."""
    if hostcuda.MISSING:
        return (), hostcuda.MISSING
    runtime = ""
    for library in ("libubsan.so", "libasan.so") if kind == "asan" else (f"lib{kind}.so",):
        find = ["g++", f"-print-file-name={library}"]
        runtime = subprocess.run(find, capture_output=True, text=True, check=True).stdout.strip()
        if not Path(runtime).is_absolute():
            return (), f"g++ has no {library}"
    python = (sys.executable, "-I", "-S", "-c")
    plain = ("env", f"LD_PRELOAD={Path(runtime).resolve()}", *_OPTIONS, *python)
    # without randomized addresses first: some runtimes don't find their own place among them
    fixed = ("setarch", platform.machine(), "-R", *plain)
    for command in (fixed, plain) if shutil.which("setarch") else (plain,):
        done = subprocess.run([*command, "import ctypes"], capture_output=True, text=True)
        if done.returncode == 0 and not done.stderr:
            return command, ""
    return (), f"Python does not start with {runtime}: {done.stderr.strip()[:200]}"


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


def _declare(found: re.Match[str]) -> str:
    """A declaration of shared memory, as one of a reference into what the block has."""
    kind, text = found["type"].strip(), ""
    for declarator in found["names"].split(","):
        name = declarator.split("[")[0].strip()
        sizes = declarator.strip().removeprefix(name)
        if found["extern"]:
            text += f"{kind} *const {name} = ({kind} *)onepass::shared_memory(nullptr, 0); "
        else:
            memory = f"onepass::shared_memory(&{name}_key, sizeof({kind} {sizes}))"
            text += (
                f"static char {name}_key; {kind} (&{name}){sizes} = *({kind} (*){sizes}){memory}; "
            )
    return text + "\n" * found[0].count("\n")


@cache
def _workshop() -> Path:
    """The folder of all builds and of empty headers, until this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="hostcuda-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for stub in _STUBS:
        (folder / stub).parent.mkdir(exist_ok=True)
        (folder / stub).touch()
    return folder


@cache
def _compile(text: str, name: str, flags: tuple[str, ...]) -> str:
    folder = Path(tempfile.mkdtemp(dir=_workshop()))
    source, library = folder / f"{name}.cpp", folder / f"{name}.so"
    source.write_text(text, encoding="utf-8")
    command = ["g++", "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden"]
    command += ["-fno-strict-aliasing", *flags]  # a float * read as float4 *, as kernels do
    command += [f"-I{HEADER.parent}", f"-I{_workshop()}", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"g++ rejects {name}:\n{done.stderr}"
    return str(library)
