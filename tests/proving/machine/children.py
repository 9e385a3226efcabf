"""Programs side by side under one time limit; nothing that they start outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

GRACE = 3.0  # seconds from being asked to end to being ended


@dataclass(frozen=True)
class Program:
    """A command, and what its environment has beyond ours."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """What became of a program.

    Attributes:
        status: its exit status, -N where signal N ended it; None where its time ran out.
        seconds: that it took; 0 where its turn never came.
        output: what it printed, errors too.
    """

    status: int | None
    seconds: float
    output: str

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.output.splitlines()[-lines:])


class _Running:
    def __init__(self, program: Program, folder: Path, cwd: Path) -> None:
        self.program, self.began = program, time.monotonic()
        self.log = folder / f"{program.name.replace(' ', '-').replace('/', '-')}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                program.command,
                cwd=cwd,
                env={**os.environ, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a process group of its own, to be ended as one
            )

    def ended(self, status: int | None) -> Ended:
        output = self.log.read_text(encoding="utf-8", errors="replace")
        return Ended(status, time.monotonic() - self.began, output)

    def signal(self, number: int) -> None:
        """To all of its group; what has ended is no error."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def run_all(
    programs: Sequence[Program], seconds: float, folder: Path, cwd: Path, at_once: int = 1 << 16
) -> dict[str, Ended]:
    """Run `programs`, `at_once` at a time, in `seconds` together; what became of each, by name.

    Args:
        folder: for what they print, a file each.
        cwd: where they run.
    """
    deadline = time.monotonic() + seconds
    waiting, running, found = list(programs), list[_Running](), dict[str, Ended]()
    try:
        while (waiting or running) and time.monotonic() < deadline:
            while waiting and len(running) < at_once:
                running.append(_Running(waiting.pop(0), folder, cwd))
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                found[one.program.name] = one.ended(one.process.returncode)
                one.signal(signal.SIGKILL)  # what it left behind
            time.sleep(0.02)
    finally:
        _stop(running)
    late = {one.program.name: one.ended(None) for one in running}
    never = {program.name: Ended(None, 0.0, "") for program in waiting}
    all_of_them = found | late | never
    return {program.name: all_of_them[program.name] for program in programs}


def _stop(running: Sequence[_Running]) -> None:
    """Ask them to end, then end them."""
    for one in running:
        one.signal(signal.SIGTERM)
    patience = time.monotonic() + GRACE
    for one in running:
        with suppress(subprocess.TimeoutExpired):
            one.process.wait(max(0.0, patience - time.monotonic()))
        one.signal(signal.SIGKILL)
        one.process.wait()
