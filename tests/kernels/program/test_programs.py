"""Programs: what changes with the step, stops, helpers that are late, forks, other callers."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import threading

import numpy as np
import pytest
from cases.crews import Clock, jobs_posted
from onepass import kernels
from onepass.kernels.crew import board
from onepass.kernels.crew import crew as crew_module
from onepass.kernels.crew.crew import Crew
from onepass.kernels.program import new_recorder, numba_words
from onepass.kernels.program import program as program_module
from onepass.kernels.program.numba_words import BYTES, ROWS, Words, copy, take
from onepass.kernels.program.program import Program

PATIENCE = 60  # seconds after which a test that hangs is given up
FLOAT = np.dtype("float32")
each_number = pytest.mark.parametrize("threads", [1, 2, 3])


@pytest.fixture
def crew_of(monkeypatch):
    """Let programs run on a new crew of so many threads."""

    def use(threads):
        made = Crew(threads)
        monkeypatch.setattr(program_module, "get_crew", lambda: made)
        return made

    return use


@pytest.fixture
def patience(monkeypatch):
    """Let callers wait so many polls for a helper that is late, whatever the instruction."""
    follow = crew_module.follow

    def use(polls):
        def changed(board_, threads, instructions, clock, end):
            hurried = instructions.copy()
            hurried[:, board.POLLS] = polls
            return follow(board_, threads, hurried, clock, end)

        monkeypatch.setattr(crew_module, "follow", changed)

    return use


# --- what changes with the step -------------------------------------------------------------------
def test_a_word_moves_on_with_each_step_and_begins_where_it_is_told():
    program = Program()
    words = Words(program)
    source, target = np.arange(12.0).reshape(6, 2), np.zeros((2, 2))
    moving = copy(program, source[0], target[0])
    number = words.add(moving, 0, source.ctypes.data, source.strides[0])
    words.add(moving, 1, target.ctypes.data, 0)
    for first, steps in ((0, 1), (0, 4), (2, 3), (5, 1)):
        words.start(number, source[first:].ctypes.data)
        assert program.run(steps) == steps
        np.testing.assert_array_equal(target, [source[first + steps - 1], [0, 0]])


def test_words_that_go_backwards_and_that_stay():
    program = Program()
    words, job = Words(program), np.zeros(3, np.int64)
    words.add(job, 0, 100, -7)
    words.add(job, 1, 5, 0)
    copied = np.zeros((4, 3), np.int64)
    given = copy(program, job, copied[0])
    words.add(given, 1, copied.ctypes.data, copied.strides[0])
    program.run(4)
    assert copied.tolist() == [[100, 5, 0], [93, 5, 0], [86, 5, 0], [79, 5, 0]]


def test_a_recorder_reads_and_writes_on_step_after_step():
    made = new_recorder(FLOAT, 8)
    room = made.program.empty((3, 2), FLOAT)
    data = np.arange(48, dtype="float32").reshape(8, 3, 2)
    found = np.full((8, 3, 2), np.nan, "float32")
    reads, writes = made.read(room), made.write(room)
    for first, steps in ((0, 8), (3, 2)):
        found[:] = np.nan
        made.words.start(reads, data[first:].ctypes.data)
        made.words.start(writes, found[1:].ctypes.data if first else found.ctypes.data)
        assert made.run(steps) == steps
        shift = 1 if first else 0
        np.testing.assert_array_equal(found[shift : shift + steps], data[first : first + steps])
        assert np.isnan(found[shift + steps :]).all()


@each_number
@pytest.mark.parametrize("nbytes", [1, 100, numba_words.SHARED + 1, 7 * BYTES + 13])
def test_copies(crew_of, threads, nbytes):
    crew = crew_of(threads)
    rng = np.random.default_rng(nbytes)
    source = rng.integers(0, 256, nbytes, np.uint8)
    room = np.zeros(nbytes + 16, np.uint8)
    program = Program()
    copy(program, source, room[8 : nbytes + 8])
    program.run(1)
    np.testing.assert_array_equal(room[8 : nbytes + 8], source)
    assert not room[:8].any()
    assert not room[-8:].any()
    assert jobs_posted(crew) == int(threads > 1 and nbytes >= numba_words.SHARED)


@each_number
@pytest.mark.parametrize("shape", [(9,), (9, 1), (9, 5), (400, 64), (400,)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_gathered_rows(crew_of, threads, shape, dtype):
    """A step after another takes the next numbers; some rows twice, some never."""
    crew = crew_of(threads)
    rng, steps = np.random.default_rng(0), 5
    rows = 7 if shape[0] == 9 else 2 * numba_words.SHARED // 64 // 8 + ROWS // 2 + 1
    source = (100 * rng.standard_normal(shape)).astype(dtype)
    order = rng.integers(0, len(source), rows * steps)
    made = new_recorder(FLOAT, steps)
    room = made.program.empty((rows, *shape[1:]), dtype)
    found = np.zeros((steps, *room.shape), dtype)
    numbers = made.take(source, room)
    made.words.start(numbers, order.ctypes.data)
    made.words.start(made.write(room), found.ctypes.data)
    made.run(steps)
    np.testing.assert_array_equal(found, source[order].reshape(found.shape))
    assert (jobs_posted(crew) > 0) == (threads > 1 and room.nbytes >= numba_words.SHARED)


def test_take_says_where_its_numbers_stand():
    program, source = Program(), np.arange(10.0)
    room, order = np.zeros(4), np.array([3, 1, 1, 9])
    job = take(program, source, room)
    job[1] = order.ctypes.data
    program.run(1)
    assert room.tolist() == [3, 1, 1, 9]


# --- memory ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(1,), (3, 5), (1000, 7)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_memory_begins_at_a_cache_line_and_at_zero(shape, dtype):
    array = Program().empty(shape, dtype)
    assert array.ctypes.data % 64 == 0
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.flags.c_contiguous
    assert not array.any()


def test_released_memory_is_given_out_again_where_it_is_large_enough():
    made = new_recorder(FLOAT, 1)
    large, small = made.empty(8, 8), made.empty(2, 4)
    made.release(large)
    made.release(small)
    assert np.shares_memory(made.empty(4, 2), small), "the least that fits"
    taken = made.empty(3, 3)
    assert np.shares_memory(taken, large)
    for held in (large, small):
        assert not np.shares_memory(made.empty(8, 8), held)


# --- stops ----------------------------------------------------------------------------------------
def with_losses(stops=True, steps=8):
    """A recorder of softmax cross-entropy on the next logits each step; (it, logits, what each
    step wrote before the loss, and after it)."""
    made = new_recorder(FLOAT, steps, stops)
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((steps, 4, 3)).astype("float32")
    labels = np.array([0, 1, 2, 0])
    room, gradient = made.program.empty((4, 3), FLOAT), made.program.empty((4, 3), FLOAT)
    before, after = np.zeros_like(logits), np.zeros_like(logits)
    made.words.start(made.read(room), logits.ctypes.data)
    made.words.start(made.write(room), before.ctypes.data)
    made.softmax_cross_entropy(room, labels, None, gradient)
    made.words.start(made.write(gradient), after.ctypes.data)
    return made, logits, before, after


@pytest.mark.parametrize("bad", [0, 3, 7])
def test_a_loss_that_is_not_finite_ends_the_run_within_its_step(bad):
    made, logits, before, after = with_losses()
    kept = logits.copy()
    logits[bad, 1, 1] = np.nan
    assert made.run(8) == bad
    assert made.program.clock.tolist()[0::2] == [bad, 1]
    np.testing.assert_array_equal(before[: bad + 1], logits[: bad + 1])
    assert not before[bad + 1 :].any(), "a later step began"
    assert after[:bad].any(axis=(1, 2)).all()
    assert not after[bad:].any(), "the step went on after its loss"
    assert np.isfinite(made.loss[:bad]).all()
    assert np.isnan(made.loss[bad])
    logits[:] = kept  # and it runs again from the start
    assert made.run(8) == 8
    assert after.any(axis=(1, 2)).all()
    assert np.isfinite(made.loss).all()


def test_a_program_that_is_not_to_stop_goes_on():
    made, logits, _, after = with_losses(stops=False)
    logits[3, 1, 1] = np.nan
    assert made.run(8) == 8
    assert np.isnan(made.loss).tolist() == [k == 3 for k in range(8)]
    assert after[4:].any(axis=(1, 2)).all()


def test_what_is_around_runs_is_called_with_the_steps_that_ended():
    made, logits, _, _ = with_losses()
    calls = []
    made.around(lambda: calls.append("start"), calls.append)
    made.run(5)
    logits[2] = np.nan
    made.run(5)
    assert calls == ["start", 5, "start", 2]
    made.ended(1)
    assert calls[-1] == 1


def test_a_run_can_begin_within_a_step():
    program, notes = Program(), []
    functions = [function(lambda *_, k=k: notes.append(k)) for k in range(3)]
    for each in functions:
        program.add(each.address, np.zeros(1, np.int64), each)
    assert program.run(2, start=1) == 2
    assert notes == [1, 2, 0, 1, 2]


def test_no_steps_do_nothing():
    program, notes = Program(), []
    each = function(lambda *_: notes.append(0))
    program.add(each.address, np.zeros(1, np.int64), each)
    assert program.run(0) == 0
    assert notes == []


# --- helpers that are late ------------------------------------------------------------------------
class function:
    """A Python function as a job's: `called`(low, high, address)."""

    def __init__(self, called):
        kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
        self._kept = kind(called)
        self.address = ctypes.cast(self._kept, ctypes.c_void_p).value


class Late:
    """A program of a shared instruction, of whose two chunks a helper takes one and keeps it until
    the caller waits for it, between two that the caller does alone.

    Attributes:
        notes: (instruction, low, who did it) in order.
    """

    def __init__(self, crew, monkeypatch):
        self.notes, self._crew = [], crew
        self.late, self.waited = True, 0
        self._taken, self._waits = threading.Event(), threading.Event()
        self._functions = [
            function(self._plain(0)),
            function(self._shared),
            function(self._plain(2)),
        ]
        self.program = Program()
        for each, (size, chunk) in zip(self._functions, ((1, 0), (2, 1), (1, 0)), strict=True):
            self.program.add(each.address, np.zeros(1, np.int64), each, size=size, chunk=chunk)
        finish = Crew._finish

        def noted(crew):
            if self._taken.is_set():
                self.waited += not self._waits.is_set()
                self._waits.set()
            finish(crew)

        monkeypatch.setattr(Crew, "_finish", noted)

    def _plain(self, number):
        return lambda low, high, job: self.notes.append((number, low, self._who()))

    def _who(self):
        return "caller" if threading.current_thread() is threading.main_thread() else "helper"

    def _shared(self, low, high, job):
        who = self._who()
        if who == "helper" and self.late:
            self._taken.set()
            self._waits.wait(PATIENCE)
            self.late = False
        elif self.late and self._crew.threads > 1:
            self._taken.wait(PATIENCE)
        self.notes.append((1, low, who))


class Scripted:
    """A pace that has the caller go on alone for a while after it was held up."""

    def __init__(self, pause):
        self.pause, self.told, self.alone_until = pause, [], 0.0

    def took(self, shared, nanoseconds, steps, held_up):
        self.told.append((shared, nanoseconds, steps, held_up))
        return self.pause if held_up else 0.0


@pytest.fixture
def clock(monkeypatch):
    """The clock of crews, which a test moves; waiting for a helper takes 5."""

    made, finish = Clock(), Crew._finish

    def takes_long(crew):
        made.now += 5 * crew_module.unended(crew._board)
        finish(crew)

    monkeypatch.setattr(crew_module, "perf_counter_ns", made)
    monkeypatch.setattr(Crew, "_finish", takes_long)
    return made


def test_a_run_that_is_held_up_goes_on_at_the_next_instruction(
    crew_of, monkeypatch, patience, clock
):
    patience(0)
    crew = crew_of(2)
    late = Late(crew, monkeypatch)
    late.program._pace = pace = Scripted(pause=100)
    assert late.program.run(3) == 3
    assert late.waited == 1
    assert jobs_posted(crew) == 1
    own, helpers = late.notes[1], late.notes[2]
    assert (own[2], helpers[2], {own[1], helpers[1]}) == ("caller", "helper", {0, 1})
    alone = [(0, 0, "caller"), (1, 0, "caller"), (2, 0, "caller")]
    assert late.notes == [alone[0], own, helpers, alone[2], *alone, *alone]
    (first, then), third = pace.told, 1 / 3
    assert first == (True, 5, pytest.approx(2 * third), True)
    assert then == (False, 0, pytest.approx(2 + third), False)


def test_after_it_was_held_up_runs_are_shared_again_once_the_pause_is_over(
    crew_of, monkeypatch, patience, clock
):
    crew = crew_of(2)
    late = Late(crew, monkeypatch)
    late.program._pace = Scripted(pause=100)
    posted = []
    patience(0)
    for now in (0, 5 + 99, 5 + 100):
        clock.now = now
        assert late.program.run(1) == 1
        posted.append(jobs_posted(crew))
        patience(1 << 60)  # nobody is late any more
    assert posted == [1, 1, 2]
    assert crew._leading.acquire(blocking=False), "the crew was not given back"


def test_a_list_that_goes_on_alone_leaves_others_their_helpers(crew_of, clock):
    crew = crew_of(2)
    slow, quick = shared_copy()[0], shared_copy()[0]
    slow._pace.alone_until = clock.now + 1
    slow.run(1)
    assert jobs_posted(crew) == 0
    quick.run(1)
    assert jobs_posted(crew) == 1


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_impatient_runs_give_the_same_bits(crew_of, patience, dtype):
    """With patience 0 nearly every step is held up somewhere, and goes on with helpers."""
    rng = np.random.default_rng(0)
    data = [rng.standard_normal(shape) for shape in ((96, 256), (256, 320), (320,))]
    data = [each.astype(dtype) for each in data]

    def found():
        made = new_recorder(np.dtype(dtype), 4)
        made.program._pace = Scripted(pause=0)
        x, weight, bias = (each.copy() for each in data)
        y = made.matmul(x, weight)
        made.activation_forward(y, "tanh", bias=bias, out=y)
        dz, bias_grad, weight_grad = np.empty_like(y), np.empty_like(bias), np.empty_like(weight)
        made.activation_backward(y, y, "tanh", bias_grad=bias_grad, out=dz)
        made.matmul(x.T, dz, out=weight_grad)
        made.matmul(dz, weight.T, out=x)  # so that a step begins with what the last one left
        results = []
        for steps in (4, 1, 3):
            assert made.run(steps) == steps
            results += [each.tobytes() for each in (x, y, bias_grad, weight_grad)]
        return results

    patience(0)
    crew_of(1)
    alone = found()
    for threads in (2, 3):
        for _ in range(4):
            crew_of(threads)
            assert found() == alone


# --- others ---------------------------------------------------------------------------------------
def shared_copy():
    """A program of a shared instruction, its source and its target."""
    source = np.random.default_rng(0).integers(0, 256, 8 * BYTES, np.uint8)
    target = np.zeros_like(source)
    program = Program()
    copy(program, source, target)
    return program, source, target


def test_a_run_beside_another_caller_s_runs_alone(crew_of):
    crew = crew_of(2)
    program, source, target = shared_copy()
    with crew._leading:
        program.run(1)
    np.testing.assert_array_equal(target, source)
    assert jobs_posted(crew) == 0
    program.run(1)
    assert jobs_posted(crew) == 1


def test_runs_of_many_callers_at_once(crew_of):
    crew_of(3)
    made = [shared_copy() for _ in range(4)]
    failures = []

    def caller(program, source, target):
        for _ in range(20):
            target[:] = 0
            if program.run(3) != 3 or not np.array_equal(source, target):
                failures.append(program)

    threads = [threading.Thread(target=caller, args=each) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_crew_that_is_dismissed_within_a_run_ends_it(crew_of):
    crew = crew_of(3)
    program, source, target = shared_copy()
    once = function(lambda *_: crew.dismiss())
    program.add(once.address, np.zeros(1, np.int64), once)
    after = np.zeros_like(source)
    copy(program, source, after)
    for _ in range(2):
        target[:] = after[:] = 0
        assert program.run(3) == 3
        np.testing.assert_array_equal(target, source)
        np.testing.assert_array_equal(after, source)
    for helper in crew._helpers:
        helper.join(PATIENCE)
        assert not helper.is_alive()


def _in_child(made, queue):
    program, source, target = made
    target[:] = 0
    ended = program.run(2)
    fresh, source_, target_ = shared_copy()
    queue.put((ended, fresh.run(2), (target == source).all(), (target_ == source_).all()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork in a process with threads
def test_a_program_still_runs_in_a_forked_child(set_threads):
    set_threads(kernels.get_num_threads() + 1)
    made = shared_copy()
    made[0].run(1)  # the parent's helpers are there
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(made, queue))
    child.start()
    found = queue.get(timeout=PATIENCE)
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert found == (2, 2, True, True)
