"""Which sources of the checkout a process reads, and the processes of Python that it starts.

A program that tests start in a process of its own is seen where it is started with `command()`; any
other that may read sources is named.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

NAME = "proving.kept_runs.seen"
WHERE = "ONEPASS_RECORDING"  # the file that the first process writes, and those it starts beside
_SUFFIXES = (".py", ".json", ".h", ".cpp", ".c")
_READ_MORE = ("python", "mpiexec", "sh", "bash", "env", "make", "taskset", "timeout")
_OURS = "tests/proving/kept_runs/"

_opened: set[str] = set()
_watched: list[str] = []
started: set[str] = set()
"""What reads unseen: names of programs."""


def watch() -> None:
    """From now on, to the end of the process."""
    sys.addaudithook(_see)


def command() -> list[str]:
    """What comes between Python's options and a program's file, so that it is seen what it reads;
    nothing where no run is recorded."""
    return ["-m", NAME] if WHERE in os.environ else []


def _see(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(args[0], str):
        _opened.add(args[0])
    elif event == "subprocess.Popen":
        words = [args[1]] if isinstance(args[1], str) else [*map(os.fsdecode, args[1]), ""]
        names = {os.fsdecode(each).rpartition("/")[2] for each in (args[0], words[0]) if each}
        if NAME in words and all(name.startswith("python") for name in names):
            _watched.append(" ".join(words))
        else:
            started.update(name for name in names if name.startswith(_READ_MORE))
    elif event == "os.fork":
        started.add("a fork of itself")


def sources(root: Path) -> list[str]:
    """What this process has read, and those that it has started; to be asked when they ended."""
    root = root.resolve()
    loaded = [getattr(module, "__file__", None) for module in [*sys.modules.values()]]
    files = {_source(name) for name in {*_opened, *filter(None, loaded)}}
    found = {
        file.relative_to(root)
        for file in files
        if file.is_relative_to(root) and file.suffix in _SUFFIXES and file.is_file()
    }
    hidden = {each for each in found if any(part.startswith(".") for part in each.parts)}
    names = {each.as_posix() for each in found - hidden if each.parts[0] != "build"}
    for each in _of_those_it_has_started():
        names |= {*each}
    return sorted(name for name in names if not name.startswith(_OURS))


def _source(name: str) -> Path:
    """The file itself, or the one that its bytecode was made of."""
    file = Path(name).resolve()
    if file.suffix == ".pyc" and file.parent.name == "__pycache__":
        return file.parent.parent / f"{file.name.partition('.')[0]}.py"
    return file


def _of_those_it_has_started() -> list[list[str]]:
    mine = Path(f"{os.environ[WHERE]}-{os.getpid()}")
    told = sorted(mine.iterdir()) if mine.is_dir() else []
    if len(told) != len(_watched):
        started.add(f"what ended untold, of {_watched}")
    return [json.loads(each.read_text("utf-8")) for each in told]


def _main() -> None:
    """Run the program that is the next argument, and tell the process that started it."""
    watch()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
    read = sources(Path.cwd())
    if not started:  # whose sources nobody knows
        folder = Path(f"{os.environ[WHERE]}-{os.getppid()}")
        folder.mkdir(exist_ok=True)
        (folder / f"{os.getpid()}").write_text(json.dumps(read), encoding="utf-8")


if __name__ == "__main__":
    _main()
