"""First calls: each function is compiled once, one at a time, and no more of it than is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from numba.core.codegen import JITCodeLibrary
from onepass.kernels.compiling.jit import njit
from onepass.kernels.simd.loops import inline, part

CHILD = '''
"""Four operations, each first called by several threads at once; prints what was compiled how."""
import json
import threading
import time

import numpy as np
from onepass import kernels
from onepass.kernels.compiling import jit as compiling
from onepass.kernels.compiling import disk_cache

THREADS = 8
names, overlaps, inside = [], 0, []
build = disk_cache.DiskCache.__init__


def probe(self, function, options):
    """In the middle of a compilation: is any other thread in one, and of what?"""
    global overlaps
    names.append(f"{function.__module__}.{function.__name__}")
    inside.append(threading.get_ident())
    time.sleep(0.02)  # others get the interpreter here, and would come in
    overlaps += len(set(inside)) > 1
    build(self, function, options)
    inside.pop()


disk_cache.DiskCache.__init__ = probe


def sgd():
    big = np.ones((2, 300_000), "f4")  # shared by the crew
    kernels.sgd_step(big[0], big[1], lr=0.5)
    assert (big[0] == 0.5).all()
    views = np.ones((4, 2), "f4")
    kernels.sgd_step(views[:, 0], views[:, 1], lr=0.5)
    assert (views[:, 0] == 0.5).all()


def dropout():
    x = np.ones(100)
    assert set(kernels.dropout(x, 0.5, seed=0, draw=0)) == {0.0, 2.0}


def activation():
    x = np.array([[-1.0, 2.0]])
    assert (kernels.activation_forward(x, "relu") == [[0.0, 2.0]]).all()


def norm():
    assert kernels.global_norm([np.array([3.0, 4.0])]) == 5.0


def call(work, errors):
    gate.wait()
    try:
        work()
    except BaseException as error:
        errors.append(repr(error))


errors = []
gate = threading.Barrier(THREADS)
works = [(sgd, dropout, activation, norm)[k % 4] for k in range(THREADS)]
threads = [threading.Thread(target=call, args=(work, errors)) for work in works]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"errors": errors, "overlaps": overlaps, "names": names}))
'''


@pytest.mark.slow
def test_threads_compile_one_at_a_time_and_nothing_twice():
    environment = {**os.environ, "ONEPASS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["errors"] == []
    assert told["overlaps"] == 0
    assert len(told["names"]) >= 8, told["names"]
    assert len(set(told["names"])) == len(told["names"]), told["names"]


@inline
def doubled(a):
    for i in range(a.size):
        a[i] += a[i]


@part
def quadrupled(a):
    doubled(a)
    doubled(a)


def entered(a):
    quadrupled(a)


def test_machine_code_is_made_of_what_python_calls_only(monkeypatch):
    made, finish = [], JITCodeLibrary._finalize_final_module

    def finished(library):
        made.append(library.name)
        finish(library)

    monkeypatch.setattr(JITCodeLibrary, "_finalize_final_module", finished)
    monkeypatch.setattr("onepass.kernels.compiling.jit._keep_on_disk", lambda *_: None)
    a = np.ones(1000)
    njit("void(float64[::1])")(entered)(a)
    assert (a == 4).all()
    assert sum(name == "entered" for name in made) == 1
    assert not {"doubled", "quadrupled"} & set(made)
