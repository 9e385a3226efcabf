"""BLAS takes one thread a call while programs run, and as many as before once none does."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager

import pytest
import threadpoolctl
from onepass.kernels.program import blas
from threadpoolctl import ThreadpoolController, threadpool_limits

PATIENCE = 60  # seconds after which a test that hangs is given up


def libraries():
    return ThreadpoolController().select(user_api="blas").lib_controllers


def numbers():
    """File of each BLAS library -> threads that it takes, as threadpoolctl tells."""
    return {each.filepath: each.get_num_threads() for each in libraries()}


def set_numbers(wanted):
    """As a user does who sets them once; no thread holds a limit afterwards."""
    free_control()
    for each in libraries():
        each.set_num_threads(wanted[each.filepath])
    free_control()


def free_control():
    """From 3.8 on threadpoolctl takes limits on OpenBLAS from one thread at a time."""
    clear = getattr(threadpoolctl.OpenBLASController, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


@pytest.fixture
def chosen():
    """The user gave all BLAS libraries three threads."""
    blas.find_blas()  # loads SciPy's
    blas._libraries.cache_clear()
    before = numbers()
    wanted = dict.fromkeys(before, 3)
    set_numbers(wanted)
    try:
        if numbers() != wanted:
            pytest.skip(f"no BLAS here takes three threads: {numbers()}")
        yield wanted
    finally:
        set_numbers(before)
        blas._libraries.cache_clear()


def ones(chosen):
    return dict.fromkeys(chosen, 1)


@contextmanager
def another_within():
    """Another thread is in `one_thread`; gives a function that has it leave."""
    inside, leave = threading.Event(), threading.Event()

    def other():
        with blas.one_thread():
            inside.set()
            leave.wait(PATIENCE)

    thread = threading.Thread(target=other)

    def leaves():
        leave.set()
        thread.join()

    thread.start()
    try:
        assert inside.wait(PATIENCE)
        yield leaves
    finally:
        leaves()


def test_one_thread_within_and_as_many_as_before_after(chosen):
    for _ in range(2):
        with blas.one_thread():
            assert numbers() == ones(chosen)
        assert numbers() == chosen


def test_nested(chosen):
    with blas.one_thread():
        with blas.one_thread():
            assert numbers() == ones(chosen)
        assert numbers() == ones(chosen)
    assert numbers() == chosen


def test_after_an_exception(chosen):
    with pytest.raises(LookupError), blas.one_thread(), blas.one_thread():
        raise LookupError
    assert numbers() == chosen
    with blas.one_thread():
        assert numbers() == ones(chosen)
    assert numbers() == chosen


@pytest.mark.parametrize("came", ["first", "last"])
@pytest.mark.parametrize("leaves", ["first", "last"])
def test_of_two_threads_that_overlap_the_last_to_leave_puts_it_back(chosen, came, leaves):
    """`came` and `leaves` are the other thread's."""
    with ExitStack() as own, ExitStack() as others:
        if came == "last":
            own.enter_context(blas.one_thread())
        other_leaves = others.enter_context(another_within())
        if came == "first":
            own.enter_context(blas.one_thread())
        assert numbers() == ones(chosen)
        if leaves == "first":
            other_leaves()
            assert numbers() == ones(chosen), "this thread is still within"
            own.close()
        else:
            own.close()
            assert numbers() == ones(chosen), "the other one is still within"
            other_leaves()
        assert numbers() == chosen


def test_the_last_to_leave_puts_it_back_though_who_came_first_lives_on(chosen):
    left, end = threading.Event(), threading.Event()
    inside, leave = threading.Event(), threading.Event()

    def other():
        with blas.one_thread():
            inside.set()
            leave.wait(PATIENCE)
        left.set()
        end.wait(PATIENCE)  # it has more to do

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert inside.wait(PATIENCE)
        with blas.one_thread():
            leave.set()
            assert left.wait(PATIENCE)
        assert numbers() == chosen
    finally:
        leave.set()
        end.set()
        thread.join()


def test_a_thread_after_another_that_lives_on(chosen):
    with blas.one_thread():
        pass
    found = []

    def other():
        with blas.one_thread():
            found.append(numbers())
        found.append(numbers())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [ones(chosen), chosen]


def test_a_limit_of_another_thread_s_own_is_obeyed_afterwards(chosen):
    """threadpool_limits of a worker's does nothing while another thread holds OpenBLAS."""
    with blas.one_thread():
        pass
    found = []

    def other():
        with threadpool_limits(4, user_api="blas"):
            found.append(set(numbers().values()))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [{4}]


def test_a_thread_beside_one_whose_own_limit_holds(chosen):
    found = []

    def other():
        with blas.one_thread():
            found.append(numbers())

    with threadpool_limits(4, user_api="blas"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert found == [ones(chosen)]
        assert set(numbers().values()) == {4}
    assert numbers() == chosen


def test_each_library_gets_back_its_own_number(chosen):
    wanted = {name: 1 + k for k, name in enumerate(chosen)}
    set_numbers(wanted)
    with blas.one_thread():
        assert numbers() == ones(chosen)
    assert numbers() == wanted


def test_what_was_set_between_two_uses_is_kept(chosen):
    with blas.one_thread():
        pass
    with threadpool_limits(4, user_api="blas"):
        with blas.one_thread():
            assert numbers() == ones(chosen)
        assert set(numbers().values()) == {4}
    assert numbers() == chosen


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork in a process with threads
def test_a_child_forked_while_another_thread_is_within_puts_back_what_it_set(chosen):
    """The parent's other thread never leaves in the child."""
    with another_within():
        child = os.fork()
        if child == 0:
            code = 4
            try:
                wanted = dict.fromkeys(chosen, 4)
                set_numbers(wanted)
                with blas.one_thread():
                    within = numbers()
                code = int(within != ones(chosen)) + 2 * int(numbers() != wanted)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
