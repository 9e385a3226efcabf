"""The thread crew: right with any number of threads, late helpers, many callers, after a fork."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

import numpy as np
import pytest
from cases.crews import Clock, jobs_posted
from onepass import kernels
from onepass.kernels.crew import crew as crew_module
from onepass.kernels.crew.crew import HELPED, SHARED, Crew
from onepass.kernels.rule_engines import entry, numba_cpu, numba_entry, numba_loops
from onepass.kernels.rules.adam import ADAM

SIZE = SHARED // 4 // 4 + 1023  # float32, four arrays: just above the threshold


def arrays(seed=0, size=SIZE):
    draw = np.random.default_rng(seed)
    made = [draw.standard_normal(size, dtype="float32") for _ in range(4)]
    made[3] = np.abs(made[3])
    return made


def expected(given):
    """The same step in pieces below the threshold, which run on the caller's core."""
    result = [array.copy() for array in given]
    for low in range(0, SIZE, 100_000):
        kernels.adam_step(*(array[low : low + 100_000] for array in result), step=3)
    return result


@pytest.fixture
def crew_of(monkeypatch):
    def use(threads):
        made = Crew(threads)
        monkeypatch.setattr(numba_cpu, "get_crew", lambda: made)
        return made

    return use


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_every_number_of_threads_gives_the_same_bits(crew_of, threads):
    crew_of(threads)
    given = arrays()
    want = expected(given)
    for _ in range(20):
        got = [array.copy() for array in given]
        kernels.adam_step(*got, step=3)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_helpers_do_a_job_of_which_the_caller_does_nothing():
    """Otherwise the tests above could pass though no helper ever worked."""
    made, given = Crew(2), arrays()
    got = [array.copy() for array in given]
    kernels.adam_step(*given, step=3)
    coefficients = (1.0, 0.0, 1.0, *adam_coefficients(step=3))
    plan, given_ = entry.plan_of(ADAM.without_decay), tuple(got)
    job = np.empty(plan.words, np.int64)
    assert numba_entry.write_job(id(given_), id(coefficients), plan.address, job.ctypes.data)
    chunk = 20_000
    chunks = -(-SIZE // chunk)
    function = numba_loops.shared_loop(ADAM.without_decay, "float32").address
    made._board[16:22] = function, SIZE, chunk, job.ctypes.data, chunks, 2
    made._board[24], made._board[32] = chunks // 2, chunks - chunks // 2
    made._board[0] = 1
    made._start()
    while made._board[8] < chunks:  # for ever, if no helper works
        time.sleep(0.001)
    for a, b in zip(got, given, strict=True):
        np.testing.assert_array_equal(a, b)


def adam_coefficients(step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    root = (1 - beta2**step) ** 0.5
    return beta1, 1 - beta1, beta2, 1 - beta2, lr * root / (1 - beta1**step), eps * root


def test_a_step_ends_though_no_helper_ever_comes(crew_of, monkeypatch):
    monkeypatch.setattr(Crew, "_start", lambda self: None)
    crew_of(4)
    got = arrays()
    want = expected(got)
    kernels.adam_step(*got, step=3)
    np.testing.assert_array_equal(got[0], want[0])


def test_a_step_ends_though_threads_can_t_be_started(crew_of, monkeypatch):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "onepass-2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    made = crew_of(5)
    want = expected(arrays())
    for _ in range(3):
        got = arrays()
        kernels.adam_step(*got, step=3)
        np.testing.assert_array_equal(got[0], want[0])
    assert made.threads == 2


def test_many_callers_at_once(crew_of):
    crew_of(3)
    given = [arrays(seed) for seed in range(4)]
    wanted = [expected(one) for one in given]
    failures = []

    def caller(k):
        for _ in range(10):
            got = [array.copy() for array in given[k]]
            kernels.adam_step(*got, step=3)
            if not all(np.array_equal(a, b) for a, b in zip(got, wanted[k], strict=True)):
                failures.append(k)

    threads = [threading.Thread(target=caller, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def _in_child(queue):
    got = arrays()
    kernels.adam_step(*got, step=3)
    queue.put(got[0][:1000])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork in a process with threads
def test_a_forked_child_has_a_crew_of_its_own():
    kernels.adam_step(*arrays(), step=3)  # the parent's threads are running
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    result = queue.get(timeout=250)
    child.join(250)
    assert child.exitcode == 0
    np.testing.assert_array_equal(result, expected(arrays())[0][:1000])


MIDDLE = HELPED // 4 // 4 + 1023  # float32, four arrays: worth helpers that are awake


def steps_in_a_row(count, size=MIDDLE):
    got = arrays(size=size)
    for _ in range(count):
        kernels.adam_step(*got, step=3)
    return got


def test_middling_steps_give_the_same_bits_with_and_without_help(crew_of):
    crew_of(1)
    alone = steps_in_a_row(200)
    for threads in (2, 3):
        crew_of(threads)
        for a, b in zip(steps_in_a_row(200), alone, strict=True):
            np.testing.assert_array_equal(a, b)


class Bell:
    """Of a helper that is asleep."""

    rung = 0

    def release(self):
        self.rung += 1


@pytest.fixture
def scripted(crew_of, monkeypatch):
    """A crew whose helpers are those that a test says, by a clock that a test moves."""

    clock = Clock()
    monkeypatch.setattr(crew_module, "perf_counter_ns", clock)
    monkeypatch.setattr(Crew, "_make_room", lambda self: None)
    monkeypatch.setattr(Crew, "_start", lambda self: self._helpers.append("one"))
    return crew_of(2), clock


def test_middling_steps_that_follow_one_another_are_helped(scripted):
    made, _ = scripted
    steps_in_a_row(7)
    assert jobs_posted(made) == 7
    assert made._helpers, "none was started"


def test_a_middling_step_wakes_a_sleeping_helper_for_the_next_one(scripted):
    made, _ = scripted
    bell = Bell()
    made._asleep.append(bell)
    steps_in_a_row(1)
    assert (bell.rung, jobs_posted(made)) == (1, 0)
    steps_in_a_row(1)
    assert (bell.rung, jobs_posted(made)) == (1, 1)


@pytest.mark.parametrize("started", [False, True])
def test_a_middling_step_wakes_nobody_after_a_pause(scripted, started):
    """After a matrix product, say: two pools of threads would wait for each other."""
    made, clock = scripted
    bell = Bell()
    if started:
        made._helpers.append("one")
        made._asleep.append(bell)
    for _ in range(5):
        clock.now += crew_module.CLOSE + 1
        steps_in_a_row(1)
    assert (bell.rung, jobs_posted(made)) == (0, 0)
    assert len(made._helpers) == started


def test_a_middling_step_after_a_pause_takes_what_helpers_are_awake(scripted):
    made, clock = scripted
    made._helpers.append("one")
    clock.now += crew_module.CLOSE + 1
    steps_in_a_row(1)
    assert jobs_posted(made) == 1


def test_a_large_step_wakes_helpers_at_once(scripted):
    made, clock = scripted
    bell = Bell()
    made._helpers.append("one")
    made._asleep.append(bell)
    clock.now += crew_module.CLOSE + 1
    steps_in_a_row(1, size=SIZE)
    assert (bell.rung, jobs_posted(made)) == (1, 1)


@pytest.mark.parametrize("size", [100, 30_000])
def test_a_small_step_has_nothing_to_do_with_helpers(scripted, size):
    made, _ = scripted
    steps_in_a_row(5, size=size)
    assert jobs_posted(made) == 0
    assert made._helpers == []


def test_after_a_helper_that_kept_it_waiting_the_caller_works_alone_for_a_while(
    scripted, monkeypatch
):
    made, _ = scripted
    late = [True, False, True, True, False]

    def post(self, *given):
        return crew_module.UNENDED if late.pop(0) else crew_module.ENDED

    def alone(number):
        """How many jobs are not shared before the next one that is."""
        before = len(late)
        for k in range(200):
            made.post(lambda *given: post(made), SIZE, 8, None, wake=True)
            if len(late) < before:
                assert k == number
                return
        raise AssertionError("none was shared any more")

    for number in (0, 1, 0, 1, 2):  # nothing; 1 after a late one; nothing; 1, at once again 2
        alone(number)


def test_a_middling_step_that_is_refused_writes_nothing_and_frees_the_crew(crew_of):
    crew_of(2)
    steps_in_a_row(100)
    p, g, m, _ = arrays(size=MIDDLE)
    kept = p.copy()
    for _ in range(50):
        with pytest.raises(ValueError, match="overlap"):
            kernels.adam_step(p, g, m, p[:], step=3)
    np.testing.assert_array_equal(p, kept)
    steps_in_a_row(100)


def test_a_middling_step_beside_a_leader_runs_alone(crew_of):
    made = crew_of(2)
    want = steps_in_a_row(3)
    with made._leading:
        got = steps_in_a_row(3)
    np.testing.assert_array_equal(got[0], want[0])


class Mapped(np.ndarray):
    """A subclass, as arrays in mapped files have one."""


SHAPED = {
    "matrix": lambda array: array.reshape(2, -1),
    "Fortran": lambda array: array.reshape(2, -1).T,
    "subclass": lambda array: array.view(Mapped),
    "float16": lambda array: array.astype("float16"),
}


@pytest.mark.parametrize("shape", SHAPED)
def test_large_arrays_of_any_shape_are_shared(crew_of, shape):
    made, size = crew_of(2), 2 * SIZE + 2
    given = [SHAPED[shape](array) for array in arrays(size=size)]
    want = [array.copy("K") for array in given]
    for low in range(0, size, 50_000):
        flat = (np.asarray(array).ravel("K") for array in want)
        pieces = [run[low : low + 50_000] for run in flat]
        kernels.adam_step(*pieces, step=3)
    kernels.adam_step(*given, step=3)
    assert jobs_posted(made) == 1
    for got, expect in zip(given, want, strict=True):
        np.testing.assert_array_equal(got, expect)
