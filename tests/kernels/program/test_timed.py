"""A program that tells how long its instructions took does what it does without that."""

from __future__ import annotations

import time

import numpy as np
import pytest
from onepass.kernels.crew.board import STOP
from onepass.kernels.crew.crew import Crew
from onepass.kernels.program import new_recorder, numba_clock, why_no_programs
from onepass.kernels.program import program as program_module
from onepass.kernels.program.numba_words import Words, copy
from onepass.kernels.program.program import Program

if why_no_programs(np.dtype("float32")):
    pytest.skip("programs can't be made here", allow_module_level=True)
if not hasattr(time, "CLOCK_MONOTONIC"):
    pytest.skip("the C library has no such clock", allow_module_level=True)


def recorded():
    """A program with a word that changes, a product and a step; and what it writes."""
    draw = np.random.default_rng(0)
    recorder = new_recorder(np.dtype("float32"), 8)
    x = draw.random((40, 30), dtype="float32")
    room, weight, out = (
        np.zeros((4, 30), "f"),
        draw.random((30, 20), dtype="f"),
        np.zeros((4, 20), "f"),
    )
    word = recorder.take(x, room)
    order = draw.permutation(40)
    recorder.words.start(word, order.ctypes.data)
    recorder.matmul(room, weight, out)
    recorder.activation_forward(out, "relu", out=out)
    return recorder, out, (x[order[:4]] @ weight), order


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_it_computes_the_same_and_names_every_instruction_in_order(threads, monkeypatch):
    crew = Crew(threads)
    monkeypatch.setattr(program_module, "get_crew", lambda: crew)
    recorder, out, wanted, _ = recorded()
    found = recorder.timed()
    np.testing.assert_allclose(out, wanted, rtol=1e-5)
    assert [name for name, _ in found] == ["words", "gather", "product", "activation"]
    assert len(found) == len(recorder.program)
    assert all(nanoseconds >= 0 for _, nanoseconds in found)
    crew.dismiss()


def test_the_times_lie_within_the_time_of_the_call():
    recorder, *_ = recorded()
    recorder.timed()
    start = time.perf_counter_ns()
    found = recorder.timed()
    assert 0 < sum(nanoseconds for _, nanoseconds in found) <= time.perf_counter_ns() - start


def test_it_is_one_step_and_runs_go_on_as_before():
    recorder, out, wanted, _ = recorded()
    ended = []
    recorder.around(lambda: None, ended.append)
    recorder.timed()
    assert recorder.run(1) == 1
    np.testing.assert_allclose(out, wanted, rtol=1e-5)
    assert ended == [1, 1]


def test_after_an_instruction_that_asks_to_stop_nothing_is_run_and_nothing_told():
    program = Program()
    Words(program)
    stop, target = np.ones(1, np.int64), np.zeros(2)
    copy(program, stop, program.clock[STOP:], "stop")
    copy(program, np.ones(2), target, "late")
    assert [name for name, _ in program.timed()] == ["words"]
    assert not target.any()
    assert program.clock[0] == 0


def test_where_there_is_no_clock_it_says_so_and_runs_nothing(monkeypatch):
    monkeypatch.delattr(time, "CLOCK_MONOTONIC")
    numba_clock._gettime_address.cache_clear()
    recorder, out, *_ = recorded()
    try:
        with pytest.raises(NotImplementedError, match="no clock"):
            recorder.timed()
    finally:
        numba_clock._gettime_address.cache_clear()
    assert not out.any()
