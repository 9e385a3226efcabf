"""Ranks of which one is gone, or can't be told of: all end within seconds, and say why."""

from __future__ import annotations

import os
import signal

import pytest
from programs.launched import ended, launched, start, why_no_ranks
from safetensors.numpy import load_file

pytestmark = [
    pytest.mark.skipif(bool(why_no_ranks()), reason=why_no_ranks()),
    pytest.mark.slow,  # each starts processes of its own
]

SECONDS = 100.0  # which a busy machine may take to start them; they would train for ever
FAILED = "onepass: rank 1 of 2 failed, so all end: "
QUICK = {"NUMBA_DISABLE_JIT": "1"}  # to load what is compiled is half of what a rank's start takes
COMPILED = {"own_loop_raises_sharded", "layer_beside_sync", "uncaught_in_block"}


def check_file(path):
    """What a checkpoint was saved to is there as a whole, and can be read."""
    if path.exists():
        assert load_file(path)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("own_loop_raises", "KeyError: 'boom'"),
        ("own_loop_raises_sharded", "KeyError: 'boom'"),
        ("own_loop_interrupted", "KeyboardInterrupt"),
        ("memory", "MemoryError: no room"),
        ("start", "MemoryError: no room"),
        ("close", "MemoryError: no room"),
        ("layer_beside_sync", "KeyError: 'boom'"),
        ("layer_after_sync", "KeyError: 'boom'"),
        ("interrupted_twice", "KeyboardInterrupt"),
        ("sys_exit", "SystemExit: 5"),
    ],
)
def test_who_can_not_tell_the_others_ends_them(case, said, tmp_path):
    """And says which rank it is, and what it met."""
    quick = {} if case in COMPILED else QUICK
    found = launched(2, "ranks_ended", case, tmp_path, seconds=SECONDS, **quick)
    assert found.status not in (None, 0), found
    assert FAILED + said in found.errors
    assert "Traceback" in found.errors
    assert "stopped=" not in found.out
    check_file(tmp_path / "file")


@pytest.mark.parametrize("case", ["uncaught", "uncaught_in_block"])
def test_a_failure_that_all_know_of_ends_each_by_itself(case, tmp_path):
    """With its own error: nothing is aborted."""
    quick = {} if case in COMPILED else QUICK
    found = launched(2, "ranks_ended", case, tmp_path, seconds=SECONDS, **quick)
    assert found.status not in (None, 0), found
    assert "KeyError: 'boom'" in found.errors
    assert "RankFailedError: rank 1 of 2 failed: KeyError: 'boom'" in found.errors
    assert "so all end" not in found.errors
    check_file(tmp_path / "file")


@pytest.mark.parametrize("case", ["killed", "exits"])
def test_a_rank_that_is_gone_takes_the_others_with_it(case, tmp_path):
    found = launched(2, "ranks_ended", case, tmp_path, seconds=SECONDS, **QUICK)
    assert found.status not in (None, 0), found
    assert "stopped=" not in found.out
    check_file(tmp_path / "file")


def test_ctrl_c_on_one_rank_stops_all_after_the_batch(tmp_path):
    """And all have saved, and go on behind `fit`, with as many threads as before."""
    found = launched(2, "ranks_ended", "interrupted", tmp_path, seconds=SECONDS)
    assert found.status == 0, found
    for rank in range(2):
        assert f"rank {rank} stopped='interrupted'" in found.out
    check_file(tmp_path / "file")


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_on_mpiexec_reaches_all(tmp_path):
    """It hands it on; other launchers may end them."""
    program = start(2, "ranks_ended", "waits", tmp_path, **QUICK)
    for line in program.stdout:
        if line == "ready\n":
            break
    program.send_signal(signal.SIGINT)
    found = ended(program, SECONDS)
    assert found.status is not None, found
    assert found.status or found.out.count("stopped='interrupted'") == 2, found
    check_file(tmp_path / "file")


@pytest.mark.parametrize("number", ["", "3"])
def test_threads_are_shared_unless_somebody_says_how_many(number):
    """Told by the variable for one's own share; it lasts for the call."""
    others = {"OMP_NUM_THREADS": "", "NUMBA_NUM_THREADS": "", "OPENBLAS_NUM_THREADS": ""}
    others |= {"ONEPASS_NUM_THREADS": number} if number else {}
    found = launched(2, "ranks_ended", "threads", seconds=SECONDS, **others)
    said = [line.split()[1:] for line in found.out.splitlines() if line.startswith("threads")]
    assert len(said) == 2, found
    for before, inside, after in said:
        assert before == after
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        if number:
            assert (before, inside) == (number, number)
        elif cores is not None and cores <= 16:  # as many as are used where nobody says how many
            assert int(before) <= cores
            assert int(inside) <= max(1, cores // 2)
