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
import onepass
import pytest
from onepass.kernels.activation import numba_compile
from onepass.kernels.batch_norm import numba_cpu as numba_batchnorm
from onepass.kernels.compiling import disk_cache
from onepass.kernels.compiling import jit as compiling


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


def test_machine_code_of_other_shared_code_is_not_taken(sample, monkeypatch):
    compiling.njit(SIGNATURE)(sample)
    with monkeypatch.context() as changed:
        changed.setattr(disk_cache, "shared_checksum", lambda: "other")
        assert run(compiling.njit(SIGNATURE)(sample)) == (3, False)


def test_files_of_a_stopped_writer_are_not_taken(sample, tmp_path, monkeypatch):
    """The index is written first: a process that ends there leaves older machine code behind it."""
    compiling.njit(SIGNATURE)(sample)
    with monkeypatch.context() as changed:
        changed.setattr(disk_cache, "shared_checksum", lambda: "newer")
        changed.setattr("numba.core.caching.IndexDataCacheFile._save_data", lambda *_: None)
        compiling.njit(SIGNATURE)(sample)
        assert run(compiling.njit(SIGNATURE)(sample)) == (3, False)


# --- what machine code is made of -----------------------------------------------------------------
INFRASTRUCTURE = {
    "checksum",
    "compile",
    "disk_cache",
    "rule",
    "threads",
    "usable",
}  # nothing of it is compiled
ROOMS = {
    "activation/numba_calls": numba_compile._SOURCES,
    "batchnorm/numba_tasks": numba_batchnorm._SOURCES,
    "dropout/numba_loops": None,
    "softmax/numba_rows": None,
    **dict.fromkeys(("engines/bundle", "engines/fields", "engines/reduce", "engines/board"), ()),
}


def imported(path):
    """The files of kernels/ that a file imports at module level."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for alias in node.names:
                for file in (folder / f"{alias.name}.py", folder.with_suffix(".py")):
                    if file.exists() and ROOT / "kernels" in file.parents:
                        yield file


def reach(path):
    """All of them, and what they import in turn."""
    seen, ahead = set(), [path]
    while ahead:
        file = ahead.pop()
        if file not in seen:
            seen.add(file)
            ahead += imported(file)
    return seen - {path}


@pytest.mark.parametrize(("start", "sources"), ROOMS.items(), ids=ROOMS)
def test_all_that_is_compiled_in_counts_in_a_checksum(start, sources):
    """Or machine code from disk would be that of older code."""
    path = ROOT / "kernels" / f"{start}.py"
    files = {file for file in reach(path) if file.stem not in INFRASTRUCTURE}
    left = {file for file in files if file.parent.name != "engines"}
    shared = {file.stem for file in files - left}
    assert shared <= set(disk_cache.SHARED_CODE) | {"reduce"}, shared
    if sources is None:  # named in a call
        text = (path.parent / "numba_cpu.py").read_text(encoding="utf-8")
        (line,) = [
            line for line in text.splitlines() if "= checksum(" in line or "{checksum(" in line
        ]
        assert all(file.stem in line for file in left), line
    else:
        assert left <= {Path(module.__file__) for module in sources}


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
    """Whether a process that runs the library in `folder` found its machine code on disk."""
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
    assert child(tmp_path) == ["1", "1"]
    for helper in ("simd/denormals", "crew/atomics", "crew/board"):
        with open(tmp_path / f"onepass/kernels/{helper}.py", "a", encoding="utf-8") as file:
            file.write("\nCHANGED = 1\n")
        assert child(tmp_path) == ["0", "0"], helper
    for file in (tmp_path / "cache").rglob("*.nb?"):
        file.write_bytes(file.read_bytes()[:100])
    assert child(tmp_path) == ["0", "0"]
    assert child(tmp_path) == ["1", "1"]
