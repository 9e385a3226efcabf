"""`make gpu`: prove and measure everything on a machine with an NVIDIA GPU, without a network.

    PYTHONPATH=tests python3 -m proving.machine.prove [--out FOLDER] [--seconds 470] [--dry-run]

1. Every test, those marked `gpu` among them: each kernel of the library must have been launched.
2. compute-sanitizer over every kernel: memcheck, racecheck, initcheck, synccheck.
3. The benchmark on the GPU beside CuPy's expressions, PyTorch and a copy on the device.

It runs the checkout as it is, with the Python that runs it and the packages that are there. It
writes one JSON and one Markdown file, anew after each part and whatever happens: to bench/results/
if there is a GPU. `onepass bench compare` reads the JSON file as it reads its own.

Exit status: 0 if all was proven, 1 if something failed, 2 if something could not be run to its end.
"""

from __future__ import annotations

import argparse
import datetime
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from runpy import run_path
from tempfile import TemporaryDirectory
from typing import Any

from proving.machine.machine import (
    ROOT,
    Machine,
    commit,
    how_to_bring,
    look,
    missing_packages,
    uninstalled,
)
from proving.machine.stage import FAILED, NOT_RUN, Place, Stage, exit_status
from proving.machine.summary import summary

FORMAT = 1
SECONDS = 470.0
KEPT, SCRATCH = ROOT / "bench" / "results", ROOT / "build" / "gpu"
_NOWHERE = Machine({"available": False, "reason": "not looked for", "remedy": ""}, {}, {}, "")

# name -> its share of the seconds; what one leaves over, the next ones may use
WAVES = {"tests": 235.0, "sanitizers": 95.0, "benchmark": 135.0}
Run = Callable[[Machine, Place, float], Any]


def runs() -> dict[str, Run]:
    """What runs each wave; imported late, since it needs packages that may be missing."""
    from proving.machine.benchmark import run_benchmark
    from proving.machine.sanitizers import run_sanitizers
    from proving.machine.suite import run_tests

    return {"tests": run_tests, "sanitizers": run_sanitizers, "benchmark": run_benchmark}


class Result:
    """What is written, as far as it has come.

    Attributes:
        stages: what has been judged.
        pending: the waves that have not; `why` is the reason, should it end here.
        benchmark: the report of `onepass bench`.
    """

    def __init__(self, out: Path | None) -> None:
        self.began, self.clock = datetime.datetime.now().astimezone(), time.monotonic()
        self.out, self.commit, self.machine = out, commit(), _NOWHERE
        self.stages, self.pending, self.why = list[Stage](), list(WAVES), "it was not reached"
        self.benchmark: dict[str, Any] | None = None

    @property
    def all_stages(self) -> list[Stage]:
        return [*self.stages, *(Stage(name, NOT_RUN, self.why) for name in self.pending)]

    @property
    def status(self) -> int:
        return exit_status(self.all_stages)

    def content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kind": "onepass on a GPU",
            "date": self.began.date().isoformat(),
            "began": self.began.isoformat(timespec="seconds"),
            "seconds": time.monotonic() - self.clock,
            "status": self.status,
            "commit": self.commit,
            "machine": asdict(self.machine),
            "stages": [asdict(stage) for stage in self.all_stages],
            "benchmark": self.benchmark,
        }

    def write(self) -> tuple[Path, Path]:
        """Both files, each whole or not at all; those of the same day and device are replaced."""
        gpu, content = self.machine.gpu, self.content()
        folder = self.out or (KEPT if gpu["available"] else SCRATCH)
        device = re.sub(r"[^a-z0-9]+", "-", gpu.get("name", "none").lower()).strip("-")
        stem = f"{content['date']}-gpu-{device}-proof"
        folder.mkdir(parents=True, exist_ok=True)
        to_json = run_path(str(ROOT / "bench" / "report" / "to_json.py"))["to_json"]
        texts = {".json": to_json(content), ".md": summary(content)}
        for suffix, text in texts.items():
            part = folder / f"{stem}{suffix}.part"
            part.write_text(text, encoding="utf-8")
            part.replace(folder / f"{stem}{suffix}")
        return folder / f"{stem}.json", folder / f"{stem}.md"


def prove(result: Result, seconds: float, dry: bool) -> None:
    """Run every wave and note its stages in `result`, which is written after each."""
    if packages := missing_packages():
        result.why = how_to_bring(packages)
        return
    with uninstalled() as environment, TemporaryDirectory(prefix="onepass-gpu-") as folder:
        result.machine = machine = look(environment)
        if machine.why_no_gpu and not dry:
            remedy = machine.gpu["remedy"]
            result.why = f"{machine.why_no_gpu}. {remedy}." if remedy else machine.why_no_gpu
            return
        place = Place(environment, Path(folder))
        for name, run in runs().items():
            later = sum(WAVES[other] for other in result.pending if other != name)
            limit = seconds - later * seconds / SECONDS - (time.monotonic() - result.clock)
            print(f"{name}: {limit:.0f} s at most", flush=True)
            try:
                found = run(machine, place, limit)
            except Exception:  # the other waves still tell something
                found = [Stage(name, FAILED, traceback.format_exc(limit=-3))]
            _note(result, name, found)


def _note(result: Result, name: str, found: Any) -> None:
    """A wave gives its stages, and the benchmark its report too."""
    stages, result.benchmark = found if isinstance(found, tuple) else (found, result.benchmark)
    result.stages += stages
    result.pending.remove(name)
    for stage in stages:
        print(f"  {stage.name}: {stage.outcome}. {stage.reason}".rstrip(" ."), flush=True)
    result.write()


@contextmanager
def _stopped_by_term() -> Iterator[None]:
    """A request to end is heard as Ctrl-C is, so that children end and results are written."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder; default: bench/results, or build/gpu")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for everything")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="without a GPU too: run what needs none, and end with 2",
    )
    options = parser.parse_args(arguments)
    result = Result(options.out)
    with _stopped_by_term():
        try:
            prove(result, options.seconds, options.dry_run)
        except KeyboardInterrupt:
            result.why = "it was stopped"
        finally:
            json_file, page = result.write()
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten: {json_file}\nwritten: {page}")
    return result.status


if __name__ == "__main__":
    sys.exit(main())
