"""Timing by a clock that only moves when it is told to: medians, turns, and what is not timed."""

from __future__ import annotations

import gc
import time

import pytest
from onepass.bench.measuring import timing
from onepass.bench.measuring.candidate import Candidate
from onepass.bench.measuring.timing import interleaved


class Clock:
    """A clock that moves by what sleeps and calls take, and a log of them."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.log.append("pause")
        self.now += seconds

    def takes(self, name, *seconds):
        """A call that takes these times in turn."""
        turns = []

        def call():
            self.log.append(name)
            self.now += seconds[len(turns) % len(seconds)]
            turns.append(name)

        return call


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    return made


# --- numbers --------------------------------------------------------------------------------------
def test_a_summary_has_the_quartiles_of_all_calls_and_a_median_a_block():
    found = timing.timing([[1.0, 2.0, 3.0], [5.0, 4.0]])
    assert (found.low, found.median, found.high) == (2.0, 3.0, 4.0)
    assert found.calls == 5
    assert found.blocks == (2.0, 4.5)


def test_medians_are_those_of_each_candidates_own_calls(clock):
    times = interleaved(
        {"slow": clock.takes("slow", 8.0), "quick": clock.takes("quick", 1.0, 2.0, 4.0)},
        rounds=4,
        block=0.0,
        least=3,
    )
    assert list(times) == ["slow", "quick"]
    assert (times["slow"].low, times["slow"].median, times["slow"].high) == (8.0, 8.0, 8.0)
    assert times["slow"].blocks == (8.0,) * 4
    assert times["quick"].median == 2.0
    assert times["quick"].blocks == (2.0,) * 4
    assert times["slow"].calls == times["quick"].calls == 12


def test_a_real_clock_sees_real_sleeps():
    """On a busy machine a sleep may be longer, but no shorter."""
    times = interleaved(
        {"2": lambda: time.sleep(0.002), "6": lambda: time.sleep(0.006)}, rounds=3, block=0.0
    )
    assert 0.002 <= times["2"].low <= times["2"].median <= times["2"].high
    assert times["6"].low >= 0.006


# --- how many calls -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("seconds", "block", "least", "calls"),
    [
        (0.125, 1.0, 2, 8),  # as many as fill the block
        (0.125, 1.0, 20, 20),
        (4.0, 1.0, 2, 2),
        (2.0**-20, 1.0, 2, 1000),
        (0.0, 1.0, 2, 1000),  # too quick for the clock
        (0.0, 1.0, 5000, 1000),
    ],
)
def test_calls_fill_the_block_but_never_more_than_1000(clock, seconds, block, least, calls):
    found = interleaved({"a": clock.takes("a", seconds)}, rounds=2, block=block, least=least)
    assert found["a"].calls == 2 * calls


# --- turns ----------------------------------------------------------------------------------------
def test_blocks_take_turns_and_every_second_round_runs_backwards(clock):
    calls = {name: clock.takes(name, 1.0) for name in "abc"}
    interleaved(calls, rounds=4, block=0.0, least=1, warm=False)
    order = [name for name in clock.log if name != "pause"]
    assert order == [*"abc", *"cba", *"abc", *"cba"]


def test_a_rest_comes_before_every_block(clock):
    interleaved(
        {name: clock.takes(name, 1.0) for name in "ab"}, rounds=2, block=0.0, least=2, warm=False
    )
    assert clock.log == ["pause", "a", "pause", "b", "pause", "b", "pause", "a"]


def blocks(log, rounds):
    """The events of the last `rounds` blocks, each from its reset on."""
    starts = [k for k, event in enumerate(log) if event == "reset"][-rounds:]
    return [log[low:high] for low, high in zip(starts, [*starts[1:], len(log)], strict=True)]


def test_reset_runs_once_a_block_and_before_runs_once_a_timed_call(clock):
    candidate = Candidate(
        clock.takes("call", 1.0), clock.takes("reset", 100.0), clock.takes("before", 1000.0)
    )
    found = interleaved({"a": candidate}, rounds=3, block=0.0, least=4)["a"]
    warm, timed = ["reset", "pause", "call"], ["before", "call"]
    assert blocks(clock.log, 3) == [warm + 4 * timed] * 3
    assert (found.low, found.high) == (1.0, 1.0)  # neither is timed


def test_a_common_before_is_for_candidates_without_their_own(clock):
    candidates = {"plain": clock.takes("plain", 1.0), "own": Candidate(clock.takes("own", 1.0))}
    found = interleaved(
        candidates, rounds=2, block=0.0, least=2, before=clock.takes("before", 50.0)
    )
    for name in candidates:
        assert (found[name].low, found[name].high) == (1.0, 1.0)
    before = [
        after for event, after in zip(clock.log, clock.log[1:], strict=False) if event == "before"
    ]
    assert set(before) == {"plain"}
    assert len(before) >= found["plain"].calls


def test_cold_calls_are_one_a_round_with_nothing_before_them_uncounted(clock):
    candidate = Candidate(
        clock.takes("call", 1.0, 2.0, 6.0), clock.takes("reset", 9.0), clock.takes("before", 9.0)
    )
    found = interleaved({"a": candidate}, rounds=3, block=100.0, least=7, warm=False)["a"]
    assert clock.log == ["reset", "pause", "before", "call"] * 3
    assert found.blocks == (1.0, 2.0, 6.0)
    assert found.calls == 3


def test_what_takes_long_is_tried_once_to_find_its_length(clock):
    interleaved({"a": clock.takes("a", 12.0)}, rounds=2, block=1.0, least=1)
    assert clock.log == ["a", *["pause", "a", "a"] * 2]


# --- garbage collection ---------------------------------------------------------------------------
@pytest.mark.parametrize("collecting", [True, False])
@pytest.mark.parametrize("failing", [True, False])
def test_garbage_is_not_collected_meanwhile_and_then_as_it_was(clock, collecting, failing):
    seen = []

    def call():
        clock.now += 1
        seen.append(gc.isenabled())
        if failing and len(seen) == 3:
            raise ZeroDivisionError

    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        if failing:
            with pytest.raises(ZeroDivisionError):
                interleaved({"a": call}, rounds=3, block=0.0, least=1)
        else:
            interleaved({"a": call}, rounds=3, block=0.0, least=1)
        assert gc.isenabled() == collecting
        assert not any(seen[1:])  # the first call only finds out how many fit
    finally:
        (gc.enable if before else gc.disable)()


def test_measure_takes_half_as_many_rounds_of_cold_calls_but_two_at_least(clock):
    from onepass.bench.measuring.workload import Workload, measure

    class Work(Workload):
        section, operation, label, dtype, device = "s", "o", "l", "float32", "cpu"
        size, bytes, paths = 4, 8, ("a", "b")

        def __init__(self, warm):
            self.warm = warm

        def prepare(self, paths):
            return {
                path: Candidate(clock.takes(path, 1.0), launches=2, moved=3, memory=5)
                for path in paths
            }

    for warm, rounds, calls in ((True, 6, 12), (False, 6, 3), (False, 1, 2)):
        effort = timing.Effort(rounds=rounds, block=0.0, least=2)
        first, second = measure(Work(warm), ["a", "b"], effort)
        assert (first.path, second.path) == ("a", "b")
        assert first.timing.calls == calls
        assert first.workload == ("s", "o", "l", "float32", "cpu")
        assert (first.size, first.bytes) == (4, 8)
        assert (first.launches, first.moved, first.memory) == (2, 3, 5)
