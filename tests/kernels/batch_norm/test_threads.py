"""Batch normalization on threads: the same bits for any number of them, and for many callers."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from cases.batch_norm import assert_batch_norm, make
from cases.batch_norm_threads import SHARED, digest, step
from onepass import kernels
from onepass.kernels.crew.crew import Crew
from onepass.kernels.crew.threads import VARIABLE
from programs import TESTS

CALL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)


@pytest.fixture(scope="module")
def cases():
    return {
        name: make(shape, axis, dtype=dtype, activation="relu", seed=6)
        for name, (shape, axis, dtype) in SHARED.items()
    }


@pytest.mark.parametrize("name", SHARED)
def test_every_number_of_threads_gives_the_same_bits_at_every_run(set_threads, cases, name):
    digests = set()
    for threads in (1, 2, 3, 7):
        set_threads(threads)
        digests |= {digest(step(cases[name])), digest(step(cases[name]))}
    assert len(digests) == 1


@pytest.mark.parametrize("name", SHARED)
def test_shared_work_may_end_in_any_order(set_threads, cases, monkeypatch, name):
    """The crew runs a job's chunks one by one, backwards."""
    set_threads(1)
    want, jobs = step(cases[name]), []

    def backwards(self, function, size, job, kept, chunk=None, elements=None):
        length, call = chunk or 1024, CALL(function)
        jobs.append(-(-size // length))
        for low in reversed(range(0, size, length)):
            call(low, min(low + length, size), job.ctypes.data)

    monkeypatch.setattr(Crew, "run", backwards)
    set_threads(5)
    got = step(cases[name])
    assert max(jobs, default=0) > 1, "nothing was shared: this test has shown nothing"
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", SHARED)
def test_shared_work_follows_the_oracle(set_threads, cases, name):
    set_threads(3)
    assert_batch_norm(kernels.batch_norm_forward, kernels.batch_norm_backward, cases[name])


IN_A_PROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
from cases.batch_norm import make
from cases.batch_norm_threads import SHARED, digest, step
for name in ("many channels", "few channels, large slabs", "channels last"):
    shape, axis, dtype = SHARED[name]
    print(digest(step(make(shape, axis, dtype=dtype, activation="relu", seed=6))))
"""


@pytest.mark.slow
def test_processes_with_other_numbers_of_threads_give_the_same_bits():
    outputs = set()
    for threads in "123":
        environment = {**os.environ, VARIABLE: threads}
        done = subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS, str(TESTS)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 3


def test_many_callers_at_once(set_threads, cases):
    set_threads(3)
    names = ["many channels", "few columns", "channels last", "many channels"]
    wanted = {name: digest(step(cases[name])) for name in names}
    small = make((6, 5, 7), activation="relu")
    wanted["small"] = digest(step(small))
    failures, ready = [], threading.Barrier(len(names) + 1)

    def caller(name, case, times):
        ready.wait()
        failures.extend(name for _ in range(times) if digest(step(case)) != wanted[name])

    threads = [threading.Thread(target=caller, args=(n, cases[n], 4)) for n in names]
    threads.append(threading.Thread(target=caller, args=("small", small, 200)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
