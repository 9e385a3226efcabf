"""Programs side by side under one time limit; nothing that they start outlives it, nor us.

They are process groups of their own, which are ended as one. Should this process be killed without
a word, a small one beside it sees its pipe close and ends them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

GRACE = 3.0  # seconds from being asked to end to being ended
_GUARD = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""


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


class _Guard:
    """The process that ends what is running when we are gone; it is told each group."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # what ends our group leaves it
        )

    def tell(self, sign: str, group: int) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):  # somebody has ended it
            self.process.stdin.write(f"{sign}{group}\n")
            self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.wait()


@contextmanager
def _guarded() -> Iterator[_Guard]:
    guard = _Guard()
    try:
        yield guard
    finally:
        guard.close()


class _Running:
    def __init__(self, program: Program, folder: Path, cwd: Path, guard: _Guard) -> None:
        self.program, self.began, self.guard = program, time.monotonic(), guard
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
        guard.tell("+", self.process.pid)

    def ended(self, status: int | None) -> Ended:
        output = self.log.read_text(encoding="utf-8", errors="replace")
        return Ended(status, time.monotonic() - self.began, output)

    def signal(self, number: int) -> None:
        """To all of its group; what has ended is no error."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End what is left of its group, for good."""
        self.signal(signal.SIGKILL)
        self.guard.tell("-", self.process.pid)


def run_all(
    programs: Sequence[Program],
    seconds: float,
    folder: Path,
    cwd: Path,
    at_once: int = 1 << 16,
    stopped: Event | None = None,
) -> dict[str, Ended]:
    """Run `programs`, `at_once` at a time, in `seconds` together; what became of each, by name.

    Args:
        folder: for what they print, a file each.
        cwd: where they run.
        stopped: is set where a KeyboardInterrupt came, which ends all as the time's end does; once
            it is set, nothing is begun. None: the interrupt goes on when all have ended.
    """
    deadline = time.monotonic() + seconds
    waiting, running, found = list(programs), list[_Running](), dict[str, Ended]()
    with _guarded() as guard:
        try:
            while (waiting or running) and time.monotonic() < deadline:
                if stopped is not None and stopped.is_set():
                    break
                while waiting and len(running) < at_once:
                    running.append(_Running(waiting.pop(0), folder, cwd, guard))
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    found[one.program.name] = one.ended(one.process.returncode)
                    one.kill()  # what it left behind
                time.sleep(0.02)
        except KeyboardInterrupt:
            if stopped is None:
                raise
            stopped.set()
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
        one.kill()
        one.process.wait()
