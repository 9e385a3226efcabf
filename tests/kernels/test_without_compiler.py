"""Where Numba is switched off, broken, or packed without sources, programs go on or say why."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onepass
import pytest
from onepass import EngineUnavailableError, kernels
from onepass.kernels import usable
from onepass.kernels.compiling import jit as compiling

ROOT = Path(onepass.__file__).parent

OPERATIONS = """
import numpy as np
from onepass import kernels
from onepass.nets import Adam, BatchNorm, Dense, Dropout, Sequential, SoftmaxCrossEntropy, fit

def run(engine):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((32, 6), dtype="float32")
    ones, zeros = np.ones(6, "float32"), np.zeros(6, "float32")
    found = []
    p, m, v = (np.full((3, 4), value, "float32") for value in (1, 0, 0))
    kernels.adam_step(p, np.ones_like(p), m, v, step=1, engine=engine)
    found += [p, m, v]
    y, saved = kernels.batch_norm_forward(x, ones, zeros, activation="relu", engine=engine)
    found += [y, *kernels.batch_norm_backward(x, saved, engine=engine)]
    found.append(kernels.batch_norm_inference(x, ones, zeros, zeros, ones, engine=engine))
    y = kernels.activation_forward(x, "tanh", bias=ones, engine=engine)
    found += [y, kernels.activation_backward(x, y, "tanh", engine=engine)]
    found.append(kernels.dropout(x, 0.5, seed=1, draw=2, engine=engine))
    found += kernels.softmax_cross_entropy(x, np.arange(32) % 6, engine=engine)
    kernels.warmup(engine=engine, rules=["sgd"])
    return found

for ours, theirs in zip(run("auto"), run("array"), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
assert kernels.global_norm([np.full(4, 2.0, "float32")]) == 4.0
data = np.random.default_rng(1).standard_normal((64, 5)).astype("float32"), np.arange(64) % 3
net = Sequential(
    Dense(5, 8, bias=False),
    BatchNorm(8, activation="relu"),
    Dropout(0.5),
    Dense(8, 3),
    device="cpu",
)
optimizer = Adam(net.parameters(), clip_norm=1.0)
fit(net, data, loss=SoftmaxCrossEntropy(), optimizer=optimizer, epochs=1, progress=False)
"""

REFUSED = """
from onepass import EngineUnavailableError
status = kernels.engines()["numba"]
assert not status.available and REASON in status.reason, status
assert status.remedy
p = np.ones(4, "float32")
try:
    kernels.sgd_step(p, p.copy(), lr=0.1, engine="numba")
except EngineUnavailableError as error:
    assert REASON in str(error), error
else:
    raise AssertionError("engine='numba' ran")
assert (p == 1).all()
"""

BROKEN = {
    "NUMBA_DISABLE_JIT": ("NUMBA_DISABLE_JIT", {"NUMBA_DISABLE_JIT": "1"}, ""),
    "switched off in the program": (
        "switched off",
        {},
        "import numba\nnumba.config.DISABLE_JIT = True\n",
    ),
    "no Numba": ("can't be imported", {}, "import sys\nsys.modules['numba'] = None\n"),
    "no LLVM": ("can't be imported", {}, "import sys\nsys.modules['llvmlite.binding'] = None\n"),
}


def python(code, environment=None, arguments=()):
    """A process with `code`: its output, if it ends well."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("reason", "environment", "before"), BROKEN.values(), ids=BROKEN)
def test_auto_falls_back_to_array_and_numba_says_why(reason, environment, before):
    code = before + OPERATIONS + REFUSED.replace("REASON", repr(reason))
    python(code, environment)


@pytest.mark.parametrize("arguments", [["info"], ["train", "--epochs", "1", "--quiet"]])
def test_commands_work_with_the_compiler_switched_off(arguments):
    code = "import sys\nfrom onepass.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    environment = {"NUMBA_DISABLE_JIT": "1", "COLUMNS": "200"}
    out = python(code, environment, arguments)
    assert "NUMBA_DISABLE_JIT" in out if arguments == ["info"] else "accuracy" in out


def test_it_may_be_switched_off_and_on_while_a_program_runs(monkeypatch):
    import numba

    p, g = np.ones(4), np.ones(4)
    kernels.sgd_step(p, g, lr=0.5)
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert not usable.numba_usable()
    kernels.sgd_step(p, g, lr=0.25)
    y, _ = kernels.batch_norm_forward(np.arange(6.0).reshape(3, 2), None, None)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    with pytest.raises(EngineUnavailableError, match="switched off"):
        kernels.batch_norm_forward(np.ones((2, 2)), None, None, engine="numba")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)
    assert usable.numba_usable()
    kernels.sgd_step(p, g, lr=0.25)
    assert (p == 0).all()


# --- programs without their sources ---------------------------------------------------------------


def copied_to(folder):
    """The library in a folder where packagers find it; an editable install hides it from them."""
    package = folder / "onepass"
    for part in ("backend", "kernels", "nets"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, package / part, ignore=skipped)
    shutil.copy(ROOT / "__init__.py", package)
    return package


# One of each way in which kernels are compiled.
SOME = """
import numpy as np
from onepass import kernels

def run(engine):
    x = np.random.default_rng(0).standard_normal((32, 6), dtype="float32")
    p, m, v = (np.full((3, 4), value, "float32") for value in (1, 0, 0))
    kernels.adam_step(p, np.ones_like(p), m, v, step=1, engine=engine)
    found = [p, m, v, kernels.dropout(x, 0.5, seed=1, draw=2, engine=engine)]
    return found + [*kernels.softmax_cross_entropy(x, np.arange(32) % 6, engine=engine)]

for ours, theirs in zip(run("numba"), run("array"), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
"""


@pytest.mark.slow
def test_kernels_run_from_a_folder_of_pyc_files(tmp_path):
    package = copied_to(tmp_path)
    compileall.compile_dir(package, quiet=1, legacy=True)
    for file in package.rglob("*.py"):
        file.unlink()
    without = "import onepass\nassert onepass.__file__.endswith('.pyc')\n"
    python(without + SOME, {"NUMBA_CACHE_DIR": f"{tmp_path}/cache", "PYTHONPATH": str(tmp_path)})
    assert list(tmp_path.rglob("*.nbi")), "what was compiled is kept"


# What is installed here and found on the way, which takes as long as the rest.
UNUSED = """torch cupy sklearn matplotlib pandas scipy jax pytest numba_cuda numba.tests numpy.f2py
    setuptools PIL jinja2 pygments tkinter IPython yaml rich"""


PACKED = """
from importlib.util import find_spec
from onepass import nets
missing = [name for name in NAMES if find_spec(name) is None]
assert not missing, missing
print("all of it is there, and ran")
"""


def modules_in(package):
    """The names of its modules, but for those of GPUs, whose packages the program is without."""
    for file in sorted(package.rglob("*.py")):
        words = file.relative_to(package.parent).with_suffix("").parts
        if not {"gpu", "cuda", "cupy"} & {*"_".join(words).split("_")}:
            yield ".".join(words).removesuffix(".__init__")


@pytest.mark.slow
def test_kernels_run_in_a_program_that_pyinstaller_packed(tmp_path):
    """Those that are imported where they are first needed are packed, too."""
    pytest.importorskip("PyInstaller", reason="PyInstaller is not installed")
    package = copied_to(tmp_path / "source")
    names = [*modules_in(package / "kernels"), *modules_in(package / "backend")]
    names = [f"onepass.{name}" for name in names]
    script = tmp_path / "program.py"
    script.write_text(SOME + PACKED.replace("NAMES", repr(names)), encoding="utf-8")
    packed = subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--onedir", "--log-level", "ERROR", script.name]
        + [f"--exclude-module={name}" for name in UNUSED.split()],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "source")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert packed.returncode == 0, packed.stderr
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [tmp_path / "dist/program/program"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "all of it is there, and ran" in done.stdout


# --- first calls of several threads ---------------------------------------------------------------


def test_threads_that_need_the_same_function_at_once_compile_it_once():
    started, ready = [], threading.Barrier(8)

    @compiling.once
    def build(name):
        started.append(name)
        time.sleep(0.05)  # others would begin meanwhile, if they could
        return object()

    found = []

    def ask(name):
        ready.wait(60)
        found.append((name, build(name)))

    threads = [threading.Thread(target=ask, args=("ab"[k % 2],)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(started) == ["a", "b"]
    assert len(found) == 8
    assert len(set(found)) == 2


def test_one_thread_compiles_at_a_time(monkeypatch):
    """Numba counts the functions that it registers without a lock."""
    inside, most = [0], [0]
    register = compiling.numba.njit

    def watched(**options):
        decorate = register(**options)

        def compile_one(function):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            result = decorate(function)
            inside[0] -= 1
            return result

        return compile_one

    monkeypatch.setattr(compiling.numba, "njit", watched)

    def work(k):
        compiling.njit("int64(int64)")(lambda a: a + k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert most == [1]
