"""Activations on threads: the same bits for any number of them, and for many callers."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
import pytest
from cases.activation import Cpu, check, make
from onepass import kernels
from onepass.kernels.activation.cpu.numba_compile import compiled
from onepass.kernels.crew.crew import ENDED, HELPED, UNENDED, Crew

# shape, kind, dtype: all large enough to be shared
SHARED = {
    "rows": ((4_001, 257), "relu", "float32"),
    "few columns": ((400_003, 3), "leaky_relu", "float32"),
    "one column": ((1_000_003, 1), "tanh", "float32"),
    "wide rows": ((7, 200_001), "sigmoid", "float32"),
    "one row": ((1, 1_500_001), "linear", "float32"),
    "three axes": ((40, 50, 311), "sigmoid", "float32"),
    "float64": ((2_003, 130), "tanh", "float64"),
    "float16": ((3_001, 700), "sigmoid", "float16"),
    "told from x": ((40_001, 19), "softplus", "float32"),
}


def step(case):
    """A pass each way, with the bias and in place of what is given, and without."""
    options = {"engine": "numba", **case.options}
    y = kernels.activation_forward(case.x, case.kind, bias=case.bias, **options)
    told = {"y": case.x if kernels.ACTIVATIONS[case.kind].from_x else y, "kind": case.kind}
    other = kernels.activation_forward(case.x.copy(), case.kind, **options)
    sums = np.empty(case.x.shape[-1], case.x.dtype)
    dz = kernels.activation_backward(case.dy, **told, bias=case.bias, bias_grad=sums, **options)
    z = case.x.copy()
    kernels.activation_forward(z, case.kind, bias=case.bias, out=z, **options)
    plain = kernels.activation_backward(case.dy, **told, **options)
    return [y, other, sums, dz, z, plain]


def digest(results):
    return hashlib.sha256(b"".join(each.tobytes() for each in results)).hexdigest()


@pytest.fixture(scope="module")
def cases():
    return {name: make(*each, seed=6) for name, each in SHARED.items()}


@pytest.fixture
def posted(monkeypatch):
    """What became of each loop that was posted."""
    states, post = [], Crew.post

    def noted(self, *args, **options):
        states.append(post(self, *args, **options))
        return states[-1]

    monkeypatch.setattr(Crew, "post", noted)
    return states


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_every_number_of_threads_gives_the_same_bits_at_every_run(set_threads, cases, posted, name):
    set_threads(1)
    wanted = {digest(step(cases[name]))}
    assert set(posted) == {None}
    posted.clear()
    for threads in (2, 3, 7):
        set_threads(threads)
        wanted |= {digest(step(cases[name])), digest(step(cases[name]))}
    assert len(wanted) == 1
    assert {ENDED, UNENDED} & set(posted), "nothing was shared"


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_shared_work_follows_the_oracle(set_threads, cases, name):
    set_threads(3)
    check(Cpu("numba"), cases[name])


def test_arrays_that_can_not_be_shared_are_refused_before_a_write(set_threads):
    set_threads(2)
    x = np.ones((1_024, 1_024), "float32")
    with pytest.raises(ValueError, match="out and x overlap"):
        kernels.activation_forward(x[:-1], "relu", out=x[1:])
    with pytest.raises(ValueError, match="bias_grad and y overlap"):
        kernels.activation_backward(x.copy(), x, "relu", bias_grad=x[5])
    assert (x == 1).all()


def test_small_arrays_are_not_shared(posted):
    step(make((100, 300), "relu"))
    assert posted == []


def test_work_that_takes_longer_is_shared_sooner(posted, set_threads):
    set_threads(2)
    x = np.ones((HELPED // 64, 4), "float32")  # a quarter of HELPED
    kernels.activation_forward(x, "relu")
    assert posted == []
    kernels.activation_forward(x, "tanh")
    assert len(posted) == 1


def test_many_callers_at_once(set_threads, cases):
    set_threads(3)
    names = ["rows", "few columns", "float64", "rows"]
    wanted = {name: digest(step(cases[name])) for name in names}
    small = make((6, 5), "tanh")
    wanted["small"] = digest(step(small))
    wrong = []

    def caller(name):
        case = cases.get(name, small)
        found = {digest(step(case)) for _ in range(3 if name in cases else 300)}
        wrong.extend(found - {wanted[name]})

    callers = [threading.Thread(target=caller, args=(name,)) for name in (*names, "small")]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert wrong == []


@pytest.mark.parametrize("name", ["posted_forward", "posted_backward"])
def test_python_s_lock_is_free_while_a_posted_loop_runs(name):
    """A helper that sleeps takes it to wake up, and else comes when all is done."""
    assert compiled(name, "f").targetoptions["nogil"]
