"""Processes that a launcher of MPI has started together, asked for one thing after another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Any

LAUNCHER = "mpiexec"
SERVE = "from onepass.bench.workloads.training.rank_program import serve; serve()"
_LIMIT = 120.0  # seconds that an answer may take; the first one compiles
_OVERSUBSCRIBE = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
"""Open MPI starts more processes than there are cores where these say so; others ignore them."""


def launcher() -> str | None:
    """The file of mpiexec: of Python's own environment, as the wheel of MPICH brings it, or of the
    system; None where there is none."""
    own = shutil.which(LAUNCHER, path=str(Path(sys.executable).parent))
    return own or shutil.which(LAUNCHER)


def why_no_ranks() -> str:
    """Why ranks can't be started here; "" if they can."""
    if find_spec("mpi4py") is None:
        return 'mpi4py is not installed: pip install "onepass[mpi]"'
    if launcher() is None:
        return f'{LAUNCHER} was not found: pip install "onepass[mpi]" brings one'
    return ""


class RankProcesses:
    """Some ranks that run `rank_program.serve`; they sleep while nothing is asked of them.

    They end with `close()`, with the object, and with this process.

    Args:
        ranks: how many.
        limit: seconds that an answer may take.

    Raises:
        RuntimeError: they don't start, or as many single ones do, as where mpiexec belongs to
            another MPI than mpi4py; the message holds what they said.
    """

    def __init__(self, ranks: int, limit: float = _LIMIT) -> None:
        self.ranks, self._limit = ranks, limit
        command = [launcher() or LAUNCHER, "-n", str(ranks), sys.executable, "-c", SERVE]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the processes
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=_OVERSUBSCRIBE | os.environ,
            start_new_session=True,  # Ctrl-C is this process's
        )
        self._end = weakref.finalize(self, _close, self._process, self._said)
        there = self._answer("start")
        if there != ranks:
            self.close()
            raise RuntimeError(
                f"{command[0]} started processes that are {there} rank(s) each, not {ranks} "
                "together; expected the launcher of the MPI that mpi4py finds"
            )

    def ask(self, what: str, **given: Any) -> Any:
        """What all ranks do together, and rank 0 answers: a function of `rank_program`.

        Raises:
            RuntimeError: one of them failed, or they took too long; all have ended.
        """
        assert self._process.stdin is not None
        with suppress(OSError):  # where they have ended, they have said why
            self._process.stdin.write(json.dumps({"what": what, **given}) + "\n")
            self._process.stdin.flush()
        return self._answer(what)

    def close(self) -> None:
        """End them."""
        self._end()

    def _answer(self, what: str) -> Any:
        assert self._process.stdout is not None
        alarm = Timer(self._limit, self._process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
        if line:
            return json.loads(line)
        self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()[-2000:]
        self.close()
        raise RuntimeError(f"{self.ranks} rank(s) ended at {what!r}: {said or 'in silence'}")


class RankGroups:
    """Ranks by their number, started where they are first needed."""

    def __init__(self) -> None:
        self._started: dict[int, RankProcesses] = {}
        self._failed: dict[int, str] = {}

    def why_not(self, ranks: int) -> str:
        """Why so many can't be started here; "" if they can: they are, then."""
        if reason := why_no_ranks() or self._failed.get(ranks, ""):
            return reason
        try:
            self.of(ranks)
        except RuntimeError as error:
            self._failed[ranks] = " ".join(str(error).split())[-300:]
        return self._failed.get(ranks, "")

    def of(self, ranks: int) -> RankProcesses:
        """Those of this number."""
        if ranks not in self._started:
            self._started[ranks] = RankProcesses(ranks)
        return self._started[ranks]

    def close(self) -> None:
        """End all of them."""
        for processes in self._started.values():
            processes.close()
        self._started.clear()


def _close(process: subprocess.Popen[str], said: Any) -> None:
    """End by the end of what is asked; by force where that takes long."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    said.close()
