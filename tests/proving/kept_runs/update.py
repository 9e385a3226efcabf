"""Run each file of tests that is not known as it is now, in a process of its own, and keep it where
it passes: `PYTHONPATH=tests python -m proving.kept_runs.update`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from programs import PYTHONPATH

from proving.kept_runs import record, recording, seen
from proving.kept_runs.record import KINDS, PROOFS, Kind, Run

ROOT = Path(__file__).resolve().parents[3]
_BESIDE = (".h", ".cpp", ".c")  # what g++ reads, and Python does not


_NO_TESTS = 5  # pytest's status


def run(root: Path, test: str, kind: Kind) -> Run | str:
    """What came out of a file of tests; or why it can't be kept, empty where it has none."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "told.json")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        environment |= {seen.WHERE: str(told), "PYTHONPATH": PYTHONPATH}
        command = [sys.executable, "-m", "pytest", "-q", "-p", recording.__name__]
        command += ["-p", "no:cacheprovider", *kind.options, test]
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode == _NO_TESTS:
            return ""
        found = json.loads(told.read_text("utf-8")) if told.exists() else {}
        if names := found.get("started"):
            return f"it starts {', '.join(names)}, and what that reads is not seen"
        if done.returncode or not found:
            return f"it does not pass:\n{done.stdout}{done.stderr}"
    if not kind.skips:
        found["others"] += found["skipped"]
    if found["others"]:
        return f"not all of it has passed: {', '.join(found['others'])}"
    more = [each for each in (root / test).parent.iterdir() if each.suffix in _BESIDE]
    more += [root / each / "conftest.py" for each in Path(test).parents]  # there or not
    read = frozenset([*found["read"], *(each.relative_to(root).as_posix() for each in more)])
    tests = found["passed"] + len(found["skipped"])
    return Run(record.key_of(root, test, read, kind), tests, read, found["proven"])


def update(root: Path, everything: bool = False, kind: Kind = PROOFS) -> list[str]:
    """Renew the record; a line for each file that can't be kept, with the reason."""
    here = record.tests_of(root, kind)
    known = {} if everything else record.valid(root, kind)
    runs = {test: known[test] for test in here if test in known}
    record.write(root, runs, kind)
    refused = []
    for test, found in _each(root, [test for test in here if test not in runs], kind):
        if isinstance(found, Run):
            print(f"{test}: {found.tests} tests have run", flush=True)
            runs[test] = found
            record.write(root, runs, kind)  # now: who stops this has what has passed so far
        elif found:
            refused.append(f"{test} is not kept: {found}")
    return refused


def _each(root: Path, tests: Iterable[str], kind: Kind) -> Iterator[tuple[str, Run | str]]:
    with ThreadPoolExecutor(2) as two:
        ran = [(test, two.submit(run, root, test, kind)) for test in tests]
        for test, result in ran:
            yield test, result.result()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--everything", action="store_true", help="run what is kept, too")
    parser.add_argument("--made-up-gpu", action="store_true", help="only the tests of the GPU")
    given = parser.parse_args(arguments)
    kinds = [record.MADE_UP] if given.made_up_gpu else KINDS
    refused = [line for kind in kinds for line in update(ROOT, given.everything, kind)]
    for line in refused:
        print(line, file=sys.stderr)
    return 1 if any("it does not pass" in line for line in refused) else 0


if __name__ == "__main__":
    sys.exit(main())
