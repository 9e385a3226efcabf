"""Run each file of tests that runs.json does not know as it is now, in a process of its own, and
keep it where it passes: `PYTHONPATH=tests python -m proving.kept_runs.update`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from programs import PYTHONPATH

from proving.kept_runs import record, recording
from proving.kept_runs.record import Run

ROOT = Path(__file__).resolve().parents[3]
_BESIDE = (".h", ".cpp", ".c")  # what g++ reads, and Python does not


def run(root: Path, test: str) -> Run | str:
    """What came out of a file of tests; or why it can't be kept."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "told.json")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        environment |= {recording.WHERE: str(told), "PYTHONPATH": PYTHONPATH}
        command = [sys.executable, "-m", "pytest", "-q", "-p", recording.__name__]
        command += ["-p", "no:cacheprovider", test]
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode or not told.exists():
            return f"it does not pass:\n{done.stdout}{done.stderr}"
        found = json.loads(told.read_text("utf-8"))
    if found["others"]:
        return f"not all of it has passed: {', '.join(found['others'])}"
    more = [each for each in (root / test).parent.iterdir() if each.suffix in _BESIDE]
    more += [root / each / "conftest.py" for each in Path(test).parents]  # there or not
    read = frozenset([*found["read"], *(each.relative_to(root).as_posix() for each in more)])
    return Run(record.key_of(root, test, read), found["passed"], read, found["proven"])


def update(root: Path, everything: bool = False) -> list[str]:
    """Renew the record; a line for each file that can't be kept, with the reason."""
    here = record.tests_of(root)
    known = {} if everything else record.valid(root)
    runs = {test: known[test] for test in here if test in known}
    record.write(root, runs)
    refused = []
    for test in here:
        if test in runs:
            continue
        found = run(root, test)
        if isinstance(found, Run):
            print(f"{test}: {found.passed} tests have passed", flush=True)
            runs[test] = found
            record.write(root, runs)  # now: who stops this has what has passed so far
        else:
            refused.append(f"{test} is not kept: {found}")
    return refused


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--everything", action="store_true", help="run what is kept, too")
    refused = update(ROOT, parser.parse_args(arguments).everything)
    for line in refused:
        print(line, file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
