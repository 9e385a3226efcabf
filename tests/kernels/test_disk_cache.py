"""Machine code on disk: used where it is sound, compiled anew where it isn't or can't be kept."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from shutil import copytree, ignore_patterns

import numba
import numpy as np
import onepass
import pytest
from onepass.kernels.activation.cpu import numba_compile
from onepass.kernels.batch_norm.cpu import numba_tasks
from onepass.kernels.compiling import checksum as checksums
from onepass.kernels.compiling import disk_cache
from onepass.kernels.compiling import jit as compiling
from onepass.kernels.compiling.specialize import inlined, specialize
from onepass.kernels.crew import board
from onepass.kernels.inverted_dropout import philox
from onepass.kernels.inverted_dropout.cpu import numba_orders
from onepass.kernels.rule_engines import numba_bundle, numba_entry, numba_loops
from onepass.kernels.rules.adam import ADAM
from onepass.kernels.simd import transpose
from onepass.kernels.softmax.cpu import numba_rows


def add(a, b):
    return a + b


@pytest.fixture
def nowhere(monkeypatch):
    """Numba as it is in a read-only install of a user without a home."""
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    monkeypatch.setattr(disk_cache.DiskCache._impl_class, "_locator_classes", [])


def test_this_is_how_numba_refuses(nowhere):
    with pytest.raises(RuntimeError, match="cannot cache function 'add'"):
        numba.njit(cache=True)(add)


def test_njit_and_cfunc_compile_without_a_cache(nowhere):
    assert compiling.njit()(add)(1, 2) == 3
    assert compiling.njit("int64(int64, int64)", nogil=True)(add)(1, 2) == 3
    assert compiling.cfunc("int64(int64, int64)")(add).ctypes(1, 2) == 3


def test_other_errors_are_not_hidden():
    with pytest.raises(numba.core.errors.TypingError):
        compiling.njit("int64(unicode_type, int64)")(add)


SIGNATURE = "int64(int64, int64)"
COMPILERS = {
    "njit": lambda function: compiling.njit(SIGNATURE)(function),
    "at the call": lambda function: compiling.njit()(function),
    "cfunc": lambda function: compiling.cfunc(SIGNATURE)(function),
}
ROOT = Path(onepass.__file__).parent


def run(compiled):
    """(result of 1 + 2, whether the machine code came from disk)"""
    result = getattr(compiled, "ctypes", compiled)(1, 2)
    if hasattr(compiled, "cache_hits"):
        return result, compiled.cache_hits > 0
    return result, sum(compiled.stats.cache_hits.values()) > 0


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A function in a file, and a folder for its machine code."""
    file = tmp_path / "sample.py"
    file.write_text("def add(a, b):\n    return a + b\n", encoding="utf-8")
    spec = spec_from_file_location("sample", file)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "sample", module)  # where code from disk looks for its globals
    spec.loader.exec_module(module)
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path / "cache"))
    return module.add


@pytest.mark.parametrize("compiler", COMPILERS.values(), ids=COMPILERS)
def test_machine_code_comes_from_disk_the_second_time(sample, compiler):
    assert run(compiler(sample)) == (3, False)
    assert run(compiler(sample)) == (3, True)


def flipped(content):
    """One bit changed in the middle, amid the machine code of a data file."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "lacks its end": lambda content: content[:-1],
    "flipped": flipped,
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"<html>404</html>",
    "another pickle": lambda content: b"I1\n.",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("compiler", COMPILERS.values(), ids=COMPILERS)
def test_a_damaged_file_is_compiled_anew_and_mended(sample, tmp_path, compiler, suffix, damage):
    compiler(sample)(1, 2)
    (file,) = tmp_path.rglob(f"*.{suffix}")
    file.write_bytes(damage(file.read_bytes()))
    assert run(compiler(sample))[0] == 3
    assert run(compiler(sample)) == (3, True)


def test_a_damaged_file_that_cannot_be_mended_is_no_error(sample, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    compiling.njit(SIGNATURE)(sample)
    for file in tmp_path.rglob("*.nb?"):
        file.write_bytes(b"")
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._open_for_write", refuse)
    assert run(compiling.njit(SIGNATURE)(sample)) == (3, False)


def test_a_full_disk_is_no_error(sample, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._open_for_write", full)
    for compiler in COMPILERS.values():
        assert run(compiler(sample)) == (3, False)


def test_machine_code_of_other_types_is_not_taken(sample, tmp_path):
    """Two processes that write one index at once leave entries that name each other's files."""
    compiling.njit("float64(float64, float64)")(sample)
    compiling.njit(SIGNATURE)(sample)
    files = sorted(tmp_path.rglob("*.nbc"))
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents[::-1], strict=True):
        file.write_bytes(content)
    assert run(compiling.njit(SIGNATURE)(sample)) == (3, False)


def test_machine_code_of_other_sources_is_not_taken(sample, monkeypatch):
    compiling.njit(SIGNATURE)(sample)
    with monkeypatch.context() as changed:
        changed.setattr(disk_cache, "sources", lambda module: "other")
        assert run(compiling.njit(SIGNATURE)(sample)) == (3, False)


def test_files_of_a_stopped_writer_are_not_taken(sample, tmp_path, monkeypatch):
    """The index is written first: a process that ends there leaves older machine code behind it."""
    compiling.njit(SIGNATURE)(sample)
    with monkeypatch.context() as changed:
        changed.setattr(disk_cache, "sources", lambda module: "newer")
        changed.setattr("numba.core.caching.IndexDataCacheFile._save_data", lambda *_: None)
        compiling.njit(SIGNATURE)(sample)
        assert run(compiling.njit(SIGNATURE)(sample)) == (3, False)


# --- what machine code is made of -----------------------------------------------------------------
def activation(direction, kind):
    return lambda: numba_compile._specialized(direction, kind, "f")


def operation(module, name):
    return lambda: specialize(getattr(module, name), COMPUTED=np.float32, STORED=np.float32)


def rule_loop():
    return numba_loops.loop(ADAM, False)


SIMD = {"simd.half", "simd.denormals"}
MADE = {  # what is specialized, and some of the modules that are compiled into it
    "activation forward": (
        activation("forward", "tanh"),
        {*SIMD, "simd.tanh", "simd.exp", "crew.atomics", "activation.formula"},
    ),
    "activation backward": (
        activation("backward", "relu"),
        {*SIMD, "simd.memory", "activation.formula", "activation.cpu.numba_loops"},
    ),
    "batch norm": (
        operation(numba_tasks, "forward"),
        {"simd.half", "crew.atomics", "batch_norm.formula", "batch_norm.cpu.numba_sums"},
    ),
    "dropout": (
        operation(numba_orders, "permuted"),
        {*SIMD, "crew.atomics", "simd.transpose", "inverted_dropout.philox"},
    ),
    "softmax": (
        operation(numba_rows, "softmax_rows"),
        {*SIMD, "simd.exp", "softmax.cpu.numba_loops"},
    ),
    "copy": (operation(transpose, "_turned"), {"simd.transpose"}),
    "rule": (rule_loop, {*SIMD, "rule", "rules.adam", "compiling.python_text", "simd.loops"}),
}


@pytest.fixture
def change(monkeypatch):
    """Let one module, and no other, have bytecode that it hasn't."""
    read = checksums._read
    changed = [""]

    def other(module):
        total, imports = read(module)
        return ("other" if module == changed[0] else total), imports

    def change(module):
        changed[0] = f"onepass.kernels.{module}"
        checksums.sources.cache_clear()

    monkeypatch.setattr(checksums, "_read", other)
    yield change
    checksums.sources.cache_clear()


@pytest.mark.parametrize(("made", "expected"), MADE.values(), ids=MADE)
def test_all_that_is_compiled_in_counts_in_a_name(made, expected, change):
    """Or machine code from disk would be that of older code."""
    change("none")
    function = made()
    assert made().__name__ == function.__name__
    for module in expected:
        change(module)
        assert made().__name__ != function.__name__, module


@pytest.mark.parametrize(
    ("function", "module"),
    [
        (board.lead, "crew.atomics"),
        (numba_entry.step_one, "crew.board"),
        (numba_bundle.step_each, "rule_engines.entry"),
    ],
)
def test_all_that_is_compiled_in_counts_in_a_stamp(function, module, change):
    def stamp():
        return disk_cache.DiskCache(function.py_func, {})._cache_file._source_stamp

    change("none")
    before = stamp()
    change(module)
    assert stamp() != before


def test_names_are_put_in_wherever_they_stand():
    kept = specialize(philox.philox_round)
    assert kept.__globals__["HALF"] is philox.HALF
    a, b = (operation(numba_orders, "permuted")(), numba_orders.permuted)
    drop = a.__globals__["drop"].py_func
    assert drop.__globals__["COMPUTED"] is np.float32
    assert a.__globals__["turn"] is b.__globals__["turn"]
    other = specialize(b, COMPUTED=np.float64, STORED=np.float32)
    assert len({a.__name__, other.__name__, b.__name__}) == 3
    assert drop.__name__ != other.__globals__["drop"].__name__


def test_a_helper_is_compiled_once_for_all_that_put_in_the_same():
    drop, same, other = (
        specialize(numba_orders.permuted, COMPUTED=number, STORED=np.float32).__globals__["drop"]
        for number in (np.float32, np.float32, np.float64)
    )
    assert drop is same
    assert drop is not other
    assert inlined(add) is inlined(add)
    helpers = [inlined(add, a=value) for value in (0.0, -0.0, 0, np.float32(0))]
    assert len({id(helper) for helper in helpers}) == len(helpers)


def module_of(path):
    return ".".join(("onepass", *path.relative_to(ROOT).with_suffix("").parts))


def imported(path):
    """The modules of kernels/ that a file imports when it is imported, or for type checkers."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    body += [node for each in body if isinstance(each, ast.If) for node in each.body]
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for alias in node.names:
                for file in (folder / f"{alias.name}.py", folder.with_suffix(".py")):
                    if file.exists() and ROOT / "kernels" in file.parents:
                        yield module_of(file)


def test_a_changed_constant_is_another_checksum():
    one, other = (compile(f"LIMIT = {k}\ndef f(): pass", "f.py", "exec") for k in (300, 301))
    moved = compile("\n\nLIMIT = 300\ndef f(): pass", "g.py", "exec")
    assert checksums.checksum(one) != checksums.checksum(other)
    assert checksums.checksum(one) == checksums.checksum(moved)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "kernels").rglob("numba_*.py")), ids=lambda path: module_of(path)
)
def test_imports_are_read_from_bytecode(path):
    module = module_of(path)
    assert {*checksums._imports(module, checksums.code_of(module))} == {*imported(path)}


CHILD = """
import numpy as np
from onepass.kernels import sgd_step
from onepass.kernels.crew import board
from onepass.kernels.rule_engines.numba_loops import shared_loop
from onepass.kernels.rules.sgd import SGD
p = np.ones(4, "f4")
sgd_step(p, np.ones(4, "f4"), lr=0.5)
assert (p == 0.5).all()
lead = sum(board.lead.stats.cache_hits.values())
print(shared_loop(SGD.without_decay, "float32").cache_hits, lead)
"""


def child(folder):
    """Whether a process of the library in `folder` found on disk the loop of a rule, and `lead`."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": f"{folder}/cache"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_a_changed_helper_leads_to_compiling_anew(tmp_path):
    for part in ("backend", "kernels"):
        copytree(ROOT / part, tmp_path / "onepass" / part, ignore=ignore_patterns("__pycache__"))
    (tmp_path / "onepass" / "__init__.py").write_bytes((ROOT / "__init__.py").read_bytes())
    assert child(tmp_path) == ["0", "0"]
    for file in (tmp_path / "cache").rglob("*.nb?"):
        file.write_bytes(file.read_bytes()[:100])
    assert child(tmp_path) == ["0", "0"]
    helpers = {
        "crew/board": ["1", "0"],  # a 1: what was kept, above all in the place of what was cut
        "simd/denormals": ["0", "1"],  # the loop of a rule flushes them, `lead` does not
        "crew/atomics": ["0", "0"],
    }
    for helper, found in helpers.items():
        with open(tmp_path / f"onepass/kernels/{helper}.py", "a", encoding="utf-8") as file:
            file.write("\nCHANGED = 1\n")
        assert child(tmp_path) == found, helper
