"""Ranks in step, without MPI: threads that stand for ranks."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onepass.nets import Adam, Communicator, Dense, RankFailedError, Sequential
from onepass.nets.parallel.agreement import Agreement
from onepass.nets.parallel.communicator import check_flat
from onepass.nets.parallel.same_everywhere import check_same, facts_of

SECONDS = 60.0  # a rank that waits longer fails: nobody comes


class Table:
    """Where threads lay down what they tell one another."""

    def __init__(self, size):
        self.places, self.gate = [None] * size, threading.Barrier(size, timeout=SECONDS)

    def exchange(self, rank, value):
        self.places[rank] = value
        self.gate.wait()
        found = list(self.places)
        self.gate.wait()
        return found


class Threads(Communicator):
    """One of several threads."""

    def __init__(self, table, rank):
        self.table, self.rank, self.size = table, rank, len(table.places)
        self.aborted = False

    def sum_parts(self, array, bounds):
        own = slice(bounds[self.rank], bounds[self.rank + 1])
        array[own] = sum(each[own] for each in self.table.exchange(self.rank, array.copy()))

    def gather_parts(self, array, bounds):
        for rank, each in enumerate(self.table.exchange(self.rank, array.copy())):
            array[bounds[rank] : bounds[rank + 1]] = each[bounds[rank] : bounds[rank + 1]]

    def gathered(self, array):
        return np.stack(self.table.exchange(self.rank, array))

    def take_from_first(self, array):
        array[...] = self.table.exchange(self.rank, array.copy())[0]

    def sum_numbers(self, numbers):
        return np.sum(self.table.exchange(self.rank, numbers), axis=0)

    def objects(self, value):
        return self.table.exchange(self.rank, value)

    def abort(self):
        self.aborted = True

    def close(self):
        pass


def run(size, act):
    """What `act(agreement, rank)` has returned, or raised, on each of so many ranks."""
    table = Table(size)

    def one(rank):
        try:
            return act(Agreement(Threads(table, rank)), rank)
        except Exception as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return [*pool.map(one, range(size))]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_meeting_tells_sums(size):
    found = run(
        size, lambda ours, rank: ours.meet("here", rank + 0.5, 2.0, rank == 0, "why" * (rank == 0))
    )
    expected = (sum(range(size)) + 0.5 * size, 2.0 * size, 1, "why")
    assert [tuple(each) for each in found] == [expected] * size


def test_the_first_reason_counts():
    found = run(3, lambda ours, rank: ours.meet("here", stopped=["", "b", "c"][rank]).stopped)
    assert found == ["b"] * 3


def test_a_loss_that_is_not_finite_hides_nothing():
    found = run(
        3, lambda ours, rank: ours.meet("here", [1.0, np.nan, np.inf][rank], 1.0, rank == 2)
    )
    assert all(np.isnan(each.loss) for each in found)
    assert [tuple(each[1:]) for each in found] == [(3.0, 1, "")] * 3


@pytest.mark.parametrize("failing", [{0}, {2}, {1, 2}, {0, 1, 2}])
def test_from_a_block_all_ranks_come_or_none(failing):
    def act(ours, rank):
        with ours.together("here"):
            if rank in failing:
                raise KeyError(f"boom {rank}")
        return "came"

    for rank, error in enumerate(run(3, act)):
        if rank in failing:
            assert isinstance(error, KeyError)
        else:
            first = min(failing)
            assert isinstance(error, RankFailedError)
            assert error.rank == first
            assert str(error) == f"rank {first} of 3 failed: KeyError: 'boom {first}'"


def test_after_it_ranks_go_on():
    def act(ours, rank):
        try:
            with ours.together("here"):
                assert rank != 1, "boom"
        except (AssertionError, RankFailedError) as error:
            known = ours.knows(error)
            ours.leave(error)  # nothing more is told
        return known, ours.meet("here", 1.0).loss

    assert run(3, act) == [(True, 3.0)] * 3


def test_who_leaves_comes_to_the_next_meeting():
    def act(ours, rank):
        if rank == 0:
            ours.leave(ValueError("boom"))
            return ours.communicator.aborted
        return ours.meet("here")

    left, *others = run(3, act)
    assert left is False
    assert all(isinstance(each, RankFailedError) and each.rank == 0 for each in others)


@pytest.mark.parametrize("how", ["closed", "interrupt"])
def test_what_can_not_be_told_ends_all(how, capsys):
    """What is raised between collectives, and what is no Exception."""

    def act(ours, rank):
        if rank == 0:
            return False
        error = KeyError("boom") if how == "closed" else KeyboardInterrupt("boom")
        if how == "closed":
            try:
                with ours.closed(ValueError):
                    raise error
            except KeyError:
                pass
        ours.leave(error)
        return ours.communicator.aborted

    assert run(2, act) == [False, True]
    assert "onepass: rank 1 of 2 failed, so all end: K" in capsys.readouterr().err


@pytest.mark.parametrize("other", [0, 1, 3])
def test_ranks_that_have_come_apart_are_told(other):
    """All of them, of the first that is not where rank 0 is; and then nothing more."""

    def act(ours, rank):
        try:
            ours.meet("save" if rank == other else "a step", 1.0)
        except RuntimeError as error:
            ours.leave(error)
            return str(error).partition(";")[0], ours.meet("the end").interrupted

    first, second = ("save", "a step") if other == 0 else ("a step", "save")
    named = f"rank 0 has come to {first}, but rank {other or 1} to {second}"
    assert run(4, act) == [(named, 0)] * 4


class OneOfMany(Communicator):
    """A rank of many that do not run: it hears what each of them would have told."""

    def __init__(self, rank, size, words=(), told=()):
        self.rank, self.size, self.words, self.all_told = rank, size, words, told

    def sum_numbers(self, numbers):
        self.told = numbers
        return np.cumsum(self.all_told, axis=0)[-1] if len(self.all_told) else numbers

    def objects(self, value):
        return self.words

    def _never(self, *given):
        raise AssertionError("not asked for")

    sum_parts = gather_parts = gathered = take_from_first = abort = close = _never


PLACES = "a step", "a batch", "save", "the end of an epoch", "the end of a callback", "fit"


def told_at(word):
    """What a rank tells the others at this place."""
    alone = OneOfMany(0, 1)
    Agreement(alone).meet(word)
    return alone.told


@pytest.mark.parametrize("size", [33, 49, 1023])
def test_many_that_have_come_to_one_place_are_in_step(size):
    """However their sums are rounded."""
    for word in PLACES:
        all_ranks = OneOfMany(1, size, [word] * size, [told_at(word)] * size)
        assert Agreement(all_ranks).meet(word) == (0.0, 0.0, 0, "")


@pytest.mark.parametrize("size", [33, 49, 1023])
def test_one_of_many_that_is_elsewhere_is_named(size):
    for other in (1, size // 2, size - 1):
        for word in PLACES[1:]:
            words = [PLACES[0]] * size
            words[other] = word
            told = [told_at(each) for each in words]
            named = f"rank 0 has come to {PLACES[0]}, but rank {other} to {word};"
            for rank in (0, other):
                agreement = Agreement(OneOfMany(rank, size, words, told))
                with pytest.raises(RuntimeError, match=named):
                    agreement.meet(words[rank])


def test_who_has_failed_may_come_from_anywhere():
    def act(ours, rank):
        with ours.together("one" if rank else "other"):
            assert rank, "boom"

    assert [type(each) for each in run(3, act)] == [AssertionError, *[RankFailedError] * 2]


def test_what_all_raise_alike_ends_nothing():
    def act(ours, rank):
        try:
            with ours.closed(ValueError):
                raise ValueError(f"on all, {rank}")
        except ValueError as error:
            ours.leave(error)
        other = ours.alike(TypeError("too"))
        ours.leave(other)
        with ours.closed():
            pass
        return ours.communicator.aborted, ours.meet("here", 1.0).loss

    assert run(2, act) == [(False, 2.0)] * 2


def test_a_single_rank_is_not_ended(capsys):
    def act(ours, rank):
        ours.end_all(KeyError("boom"))
        return ours.communicator.aborted

    assert run(1, act) == [False]
    assert capsys.readouterr().err == ""


def test_the_error_is_pickled():
    error = pickle.loads(pickle.dumps(RankFailedError(2, "rank 2 of 3 failed: boom")))
    assert (error.rank, str(error)) == (2, "rank 2 of 3 failed: boom")


def test_facts_that_differ_are_named():
    def act(ours, rank):
        check_same(ours, {"a": 1, "b": rank // 2, **({"c": 3} if rank == 1 else {})})

    found = run(3, act)
    assert all(isinstance(each, ValueError) for each in found)
    assert {str(each).partition(".")[0] for each in found} == {
        "rank 1 has c 3; expected none, as rank 0 has"
    }
    assert run(3, lambda ours, rank: check_same(ours, {"a": (1, 2.0)})) == [None] * 3


def test_facts_are_of_all_that_a_step_depends_on():
    def facts(seed=0, dtype="float32", width=3, **hyper):
        net = Sequential(Dense(2, width), seed=seed, dtype=dtype, device="cpu")
        return facts_of(net, Adam(net.parameters(), **hyper))

    assert facts() == facts(seed=1)  # the parameters become rank 0's
    for others in (
        {"dtype": "float64"}, {"width": 4}, {"lr": 0.5}, {"clip_norm": 1.0}, {"frozen": "0.bias"},
        {"use_ema": True}, {"groups": {"0.bias": {"lr": 0.1}}},
    ):  # fmt: skip
        assert facts() != facts(**others), others


def test_only_flat_memory_is_handed_out():
    check_flat(np.zeros(4))
    for array in (np.zeros((2, 2)), np.zeros(8)[::2]):
        with pytest.raises(ValueError, match="one axis, without gaps"):
            check_flat(array)
