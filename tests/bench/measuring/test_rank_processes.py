"""Ranks are started, asked and ended; what goes wrong with them is told."""

from __future__ import annotations

import sys

import pytest
from onepass.bench.measuring import rank_processes
from onepass.bench.measuring.rank_processes import RankProcesses, launcher, why_no_ranks

needs_mpi = pytest.mark.skipif(bool(why_no_ranks()), reason=why_no_ranks() or "they are there")


def served(monkeypatch, program):
    monkeypatch.setattr(rank_processes, "SERVE", program)


ECHO = """
import json, sys
from mpi4py import MPI
from onepass.nets.parallel.mpi_communicator import MpiCommunicator
comm = MPI.COMM_WORLD
all_of_them = MpiCommunicator(comm)
say = lambda what: comm.rank or print(json.dumps(what), flush=True)
say(comm.size)
while request := comm.bcast(sys.stdin.readline() if comm.rank == 0 else None):
    request = json.loads(request)
    if request["what"] == "fail" and comm.rank == comm.size - 1:
        print("why it failed", file=sys.stderr, flush=True)
        all_of_them.abort()
    if request["what"] == "sleep":
        import time; time.sleep(60)
    say([request, comm.allreduce(1)])
"""


@needs_mpi
def test_all_ranks_answer_and_end_with_the_object(monkeypatch):
    served(monkeypatch, ECHO)
    ranks = RankProcesses(2)
    assert ranks.ask("this", size=3) == [{"what": "this", "size": 3}, 2]
    assert ranks.ask("that") == [{"what": "that"}, 2]
    process = ranks._process
    assert process.poll() is None
    del ranks
    assert process.poll() == 0


@needs_mpi
def test_a_rank_that_fails_is_told_with_what_it_said(monkeypatch):
    served(monkeypatch, ECHO)
    ranks = RankProcesses(2)
    with pytest.raises(RuntimeError, match=r"2 rank\(s\) ended at 'fail': (.|\n)*why it failed"):
        ranks.ask("fail")
    assert ranks._process.poll() is not None


@needs_mpi
def test_ranks_that_take_too_long_are_ended(monkeypatch):
    served(monkeypatch, ECHO)
    ranks = RankProcesses(1)
    ranks._limit = 0.2
    with pytest.raises(RuntimeError, match=r"1 rank\(s\) ended at 'sleep'"):
        ranks.ask("sleep")
    assert ranks._process.poll() is not None


def test_single_processes_instead_of_ranks_are_told(monkeypatch, tmp_path):
    """As a launcher of another MPI starts them."""
    program = "import sys; print(1, flush=True); sys.stdin.read()"
    served(monkeypatch, program)
    fake = tmp_path / "mpiexec"
    fake.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(rank_processes, "launcher", lambda: str(fake))
    if sys.platform == "win32":
        pytest.skip("the made-up launcher is a shell script")
    with pytest.raises(RuntimeError, match=r"1 rank\(s\) each, not 3 together; expected the launc"):
        RankProcesses(3)


def test_what_is_missing_is_told(monkeypatch):
    monkeypatch.setattr(rank_processes, "find_spec", lambda name: None)
    assert why_no_ranks().startswith("mpi4py is not installed: pip install")
    monkeypatch.setattr(rank_processes, "find_spec", lambda name: True)
    monkeypatch.setattr(rank_processes, "launcher", lambda: None)
    assert why_no_ranks().startswith("mpiexec was not found")


def test_the_launcher_beside_python_comes_first(monkeypatch, tmp_path):
    for name in ("own", "system"):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "mpiexec"
        file.write_text("")
        file.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "own" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "system"))
    if sys.platform != "win32":
        assert launcher() == str(tmp_path / "own" / "mpiexec")
    (tmp_path / "own" / "mpiexec").unlink()
    if sys.platform != "win32":
        assert launcher() == str(tmp_path / "system" / "mpiexec")
