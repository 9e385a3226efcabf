"""Norms in a program give the bits that their public functions give, step after step."""

from __future__ import annotations

import numpy as np
import pytest
from cases.crews import jobs_posted
from cases.norms import ACTIVATIONS, OPERATIONS, SHAPES, Cpu, assert_same, make, run
from onepass.kernels.crew.board import FUNCTION
from onepass.kernels.crew.crew import Crew
from onepass.kernels.program import new_recorder
from onepass.kernels.program import program as program_module

each_operation = pytest.mark.parametrize("operation", OPERATIONS)


class Recorded:
    """A pass each way in a program.

    Attributes:
        arrays: x, dy, gamma and beta that it reads, or None.
        results: y, dx and gradients, as `run` gives them.
    """

    def __init__(self, case, shared=True, in_place=False):
        self.recorder = made = new_recorder(case.x.dtype, 4, shared=shared)
        given = (case.x, case.dy, case.gamma, case.beta)
        self.arrays = [None if array is None else array.copy() for array in given]
        x, dy, *vectors = self.arrays
        if case.operation == "rms_norm":
            vectors = vectors[:1]
        y, *gradients = (None if a is None else np.full_like(a, 7) for a in (x, *vectors))
        dx = dy if in_place else np.full_like(x, 7)
        forward = getattr(made, f"{case.operation}_forward")
        _, saved = forward(x, *vectors, **options_of(case), out=y)
        places = dict(zip(("gamma_grad", "beta_grad"), gradients, strict=False))
        made.norm_backward(dy, saved, **places, out=dx)
        self.results = [y, dx, *gradients]


def options_of(case):
    """As layers give them: the lengths of axes, or None for the last one."""
    options = dict(case.options)
    if case.operation != "group_norm":
        rows = options.get("normalized_shape")
        options["normalized_shape"] = (rows,) if isinstance(rows, int) else rows
    return options


def changed(case, seed):
    """Other numbers of the same shapes."""
    rng = np.random.default_rng(seed)
    fresh = {
        name: None if a is None else rng.standard_normal(a.shape).astype(a.dtype)
        for name, a in (("x", case.x), ("dy", case.dy), ("gamma", case.gamma), ("beta", case.beta))
    }
    return case._replace(**fresh)


def check(case, **how):
    """Two steps, of which each has its own numbers; gives what was recorded."""
    made = Recorded(case, **how)
    for given in (case, changed(case, 1)):
        for place, array in zip(
            made.arrays, (given.x, given.dy, given.gamma, given.beta), strict=True
        ):
            if place is not None:
                place[...] = array
        assert made.recorder.run(1) == 1
        assert_same(made.results, run(Cpu("numba"), given))
    return made


@pytest.mark.parametrize("in_place", [False, True], ids=["", "in place"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape(name, in_place):
    operation, shape, cut = SHAPES[name]
    check(make(operation, shape, **cut), in_place=in_place)


def test_a_result_in_place_of_what_is_read_has_loops_of_its_own():
    """What others write is taken to lie apart from what they read."""
    forward, backward = [], []
    for in_place in (False, True):
        table = Recorded(make("layer_norm"), in_place=in_place).recorder.program.table()
        forward.append(int(table[1, FUNCTION]))
        backward.append(int(table[2, FUNCTION]))
    assert forward[0] == forward[1]
    assert backward[0] != backward[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@each_operation
def test_every_activation_and_dtype(operation, activation, dtype):
    check(make(operation, dtype=dtype, activation=activation))


@pytest.mark.parametrize("vectors", ["", "gamma", "beta", "gamma beta"])
@each_operation
def test_vectors_that_are_left_out(operation, vectors):
    check(make(operation, vectors=vectors))


def test_an_eps_that_is_left_out_is_that_of_the_dtype():
    for dtype in ("float32", "float64"):
        check(make("rms_norm", dtype=dtype, eps=None))


# --- threads --------------------------------------------------------------------------------------
LARGE = {
    "layer norm": ("layer_norm", (1_001, 300), {}),
    "layer norm, gelu": ("layer_norm", (130, 512), {"activation": "gelu"}),
    "RMS norm": ("rms_norm", (513, 300), {"dtype": "float64"}),
    "group norm": ("group_norm", (9, 16, 30, 30), {"groups": 4}),
    "group norm, short planes": ("group_norm", (60, 64, 3, 4), {"groups": 8}),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_what_is_large_and_change_no_bits(threads, name, monkeypatch):
    crew = Crew(threads)
    monkeypatch.setattr(program_module, "get_crew", lambda: crew)
    operation, shape, options = LARGE[name]
    check(make(operation, shape, **options))
    assert (jobs_posted(crew) > 0) == (threads > 1)
    crew.dismiss()


def test_a_program_of_one_thread_shares_nothing(monkeypatch):
    crew = Crew(3)
    monkeypatch.setattr(program_module, "get_crew", lambda: crew)
    check(make("layer_norm", (1_001, 300)), shared=False)
    assert jobs_posted(crew) == 0
    crew.dismiss()


# --- mistakes -------------------------------------------------------------------------------------
WRONG = {
    "eps": ("layer_norm", {"eps": 0.0}, "eps is 0.0"),
    "activation": ("rms_norm", {"activation": "tanh"}, "activation is 'tanh'"),
    "groups": ("group_norm", {"groups": 3}, "groups is 3"),
    "a group of one value": ("group_norm", {"groups": 20}, "1 value in each of 20 groups"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_public_functions_refuse_is_not_written_down(name):
    operation, options, message = WRONG[name]
    right = {"groups": 2} if operation == "group_norm" else {"normalized_shape": None}
    made = new_recorder(np.dtype("float32"), 1)
    x, before = np.ones((4, 20), "float32"), len(made.program)
    given = {"eps": 1e-5, "activation": None, **right, **options, "out": np.empty_like(x)}
    with pytest.raises(ValueError, match=message):
        getattr(made, f"{operation}_forward")(x, **given)
    assert len(made.program) == before
