"""What g++ makes, kept in build/ under a name that tells what it was made of."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "build" / "made-up-gpu"


class RefusedError(Exception):
    """The compiler does not take the text; it tells why."""


@cache
def compiler() -> str:
    """The version of g++."""
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout


def built(name: str, sources: dict[str, str], command: list[str], suffix: str) -> Path:
    """The file, with this suffix, that `command` makes of the first of `sources`, with -o.

    It is made once: until a source, the command or the compiler differs. Of several processes that
    ask for it at a time, one makes it, and the others wait.
    """
    said = "\0".join([compiler(), *command, *(part for item in sources.items() for part in item)])
    key = hashlib.sha256(said.encode()).hexdigest()[:24]
    made = FOLDER / f"{name}-{key}" / f"{next(iter(sources))}{suffix}"
    if made.exists():
        return made
    locks = FOLDER / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / key[:2]).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make(made, sources, command)
    return made


def _make(made: Path, sources: dict[str, str], command: list[str]) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
        workshop = Path(temporary) / "made"
        for file, text in sources.items():
            (workshop / file).parent.mkdir(parents=True, exist_ok=True)
            (workshop / file).write_text(text, encoding="utf-8")
        done = subprocess.run(
            [*command, "-o", made.name, next(iter(sources))],
            cwd=workshop, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RefusedError(done.stderr)
        os.replace(workshop, made.parent)
