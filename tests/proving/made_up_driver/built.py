"""What g++ makes, kept in build/ under a name that tells what it was made of."""

from __future__ import annotations

import hashlib
import os
import shutil
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

    It is made once: until a source, the command or the compiler differs. Several processes may
    ask for it at a time.
    """
    said = "\0".join([compiler(), *command, *(part for item in sources.items() for part in item)])
    key = hashlib.sha256(said.encode()).hexdigest()[:24]
    made = FOLDER / f"{name}-{key}" / f"{next(iter(sources))}{suffix}"
    if made.exists():
        return made
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
        workshop = Path(temporary) / "made"
        for file, text in sources.items():
            (workshop / file).parent.mkdir(parents=True, exist_ok=True)
            (workshop / file).write_text(text, encoding="utf-8")
        first = next(iter(sources))
        done = subprocess.run(
            [*command, "-o", f"{first}{suffix}", first],
            cwd=workshop, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RefusedError(done.stderr)
        try:
            os.replace(workshop, made.parent)
        except OSError:  # another process was first
            shutil.rmtree(workshop)
    return made
