"""Whoever ends all ranks goes no further: MPI_Abort may return to it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from onepass.nets.parallel import mpi_communicator
from onepass.nets.parallel.mpi_communicator import MpiCommunicator


def test_a_rank_that_ends_all_ends_itself_though_mpi_returns(monkeypatch):
    done = []

    def leave(status):
        done.append(("exit", status))
        raise SystemExit(status)

    monkeypatch.setattr(mpi_communicator, "sleep", lambda seconds: done.append("rests"))
    monkeypatch.setattr(mpi_communicator.os, "_exit", leave)
    communicator = object.__new__(MpiCommunicator)
    communicator._comm = SimpleNamespace(Abort=lambda status: done.append(("abort", status)))
    with pytest.raises(SystemExit):
        communicator.abort()
    assert done == ["rests", ("abort", 1), ("exit", 1)]
