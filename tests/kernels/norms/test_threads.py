"""Norms on threads: the same bits for any number of them, and for many callers."""

from __future__ import annotations

import ctypes
import hashlib
import threading

import pytest
from cases.norms import Cpu, assert_same, check, make, run
from onepass.kernels.crew.crew import Crew

CALL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
# operation, shape, options: all large enough to be shared, and hardly larger, but for one row
SHARED = {
    "layer norm": ("layer_norm", (1_201, 769), {}),
    "layer norm, many short rows": ("layer_norm", (170_003, 5), {"activation": "gelu"}),
    "layer norm, long rows": ("layer_norm", (7, 200_003), {"residual": True}),
    "layer norm, one row": ("layer_norm", (1, 900_001), {}),
    "layer norm, two axes": ("layer_norm", (40, 25, 811), {"normalized_shape": (25, 811)}),
    "layer norm, float64": ("layer_norm", (2_003, 530), {"dtype": "float64"}),
    "layer norm, float16": ("layer_norm", (3_001, 700), {"dtype": "float16", "residual": True}),
    "RMS norm": ("rms_norm", (1_201, 769), {"activation": "silu", "residual": True}),
    "RMS norm, columns": ("rms_norm", (300_007, 3), {}),
    "group norm": ("group_norm", (16, 64, 28, 28), {"groups": 8, "activation": "relu"}),
    "group norm, one group": ("group_norm", (3, 8, 401, 99), {"groups": 1}),
    "instance norm": ("group_norm", (17, 96, 23, 23), {"groups": 96}),
    "group norm of rows": ("group_norm", (10_007, 96), {"groups": 32}),
}
QUICK = "layer norm"
NAMES = [pytest.param(name, marks=[] if name == QUICK else [pytest.mark.slow]) for name in SHARED]


@pytest.fixture(scope="module")
def cases():
    made = {}

    def case(name):
        if name not in made:
            operation, shape, options = SHARED[name]
            made[name] = make(operation, shape, seed=6, **options)
        return made[name]

    return case


def digest(case):
    results = run(Cpu("numba"), case)
    return hashlib.sha256(b"".join(a.tobytes() for a in results if a is not None)).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_threads_gives_the_same_bits_at_every_run(set_threads, cases, name):
    case, digests = cases(name), set()
    for threads in (1, 2, 3, 7):
        set_threads(threads)
        digests |= {digest(case), digest(case)}
    assert len(digests) == 1


@pytest.mark.parametrize("name", NAMES)
def test_shared_work_may_end_in_any_order(set_threads, cases, monkeypatch, name):
    """The crew runs a job's chunks one by one, backwards."""
    set_threads(1)
    want, jobs, woken = run(Cpu("numba"), cases(name)), [], []

    def backwards(self, function, size, job, kept, chunk=None, elements=None, wake=True):
        length, call = chunk or 1024, CALL(function)
        jobs.append(-(-size // length))
        woken.append(wake)
        for low in reversed(range(0, size, length)):
            call(low, min(low + length, size), job.ctypes.data)

    monkeypatch.setattr(Crew, "run", backwards)
    set_threads(5)
    assert_same(run(Cpu("numba"), cases(name)), want)
    alone = cases(name).norm.rows(cases(name).x).shape[0] == 1
    assert alone or max(jobs, default=0) > 1, "nothing was shared: this test has shown nothing"
    assert alone or all(woken), "too small for helpers to be woken"


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_shared_work_follows_the_oracle(set_threads, cases, name):
    set_threads(3)
    check(Cpu("numba"), cases(name))


def test_small_arrays_are_not_shared(set_threads, monkeypatch):
    jobs = []
    monkeypatch.setattr(Crew, "run", lambda self, *given, **named: jobs.append(given))
    set_threads(2)
    for operation in ("layer_norm", "rms_norm", "group_norm"):
        check(Cpu("numba"), make(operation))
    assert jobs == []


@pytest.mark.slow
def test_many_callers_at_once(set_threads, cases):
    set_threads(3)
    names = ["layer norm", "group norm", "RMS norm, columns", "layer norm"]
    wanted = {name: digest(cases(name)) for name in names}
    small = make("layer_norm", activation="silu")
    wanted["small"] = digest(small)
    wrong, ready = [], threading.Barrier(len(names) + 1)

    def caller(name, case, times):
        ready.wait()
        wrong.extend(name for _ in range(times) if digest(case) != wanted[name])

    callers = [threading.Thread(target=caller, args=(n, cases(n), 3)) for n in names]
    callers.append(threading.Thread(target=caller, args=("small", small, 200)))
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert wrong == []
