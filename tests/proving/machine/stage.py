"""What the stages of the proof on a GPU share: their outcomes, and where their programs run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from proving.machine.children import Ended, Program, run_all
from proving.machine.machine import ROOT

PASSED, FAILED, NOT_RUN, OUT_OF_TIME = "passed", "failed", "not run", "ran out of time"
WORTHLESS = "a rehearsal on the made-up driver: no figure in it says anything about a GPU"


@dataclass
class Stage:
    """One part of the proof.

    Attributes:
        outcome: PASSED, FAILED, NOT_RUN or OUT_OF_TIME.
        reason: why it is not PASSED.
        seconds: that it took.
        details: what it found, by name.
    """

    name: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where children run: what their environment has beyond ours, and folders for what they write.

    Attributes:
        folder: for what nobody reads later.
        out: for what is written line by line, and is there whatever happens; `folder` by default.
        rehearsal: whether all is done small, on the made-up driver.
        stopped: whether the proof was asked to end.
        cores: that they may use together.
    """

    environment: Mapping[str, str]
    folder: Path
    out: Path | None = None
    rehearsal: bool = False
    stopped: Event = field(default_factory=Event)
    cores: int = field(
        default_factory=lambda: (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    )

    def stream(self, name: str) -> Path:
        """A file that is written line by line."""
        return (self.out or self.folder) / f"onepass-{'rehearsed-' * self.rehearsal}{name}"

    def python(self, name: str, *arguments: object, **environment: str) -> Program:
        """A program of the Python that runs this."""
        command = [sys.executable, *map(str, arguments)]
        return Program(name, command, {**self.environment, **environment})

    def run(self, programs: Sequence[Program], seconds: float) -> dict[str, Ended]:
        """All of them at once, two a core at most."""
        return run_all(programs, max(seconds, 0.0), self.folder, ROOT, 2 * self.cores, self.stopped)


def exit_status(stages: Sequence[Stage]) -> int:
    """0: all passed; 1: something failed; 2: something did not run, or not to its end."""
    outcomes = {stage.outcome for stage in stages}
    if FAILED in outcomes:
        return 1
    return 0 if outcomes == {PASSED} else 2
