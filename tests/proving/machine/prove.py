"""`make gpu`: prove and measure everything on a machine with an NVIDIA GPU, without a network.

    PYTHONPATH=tests python3 -m proving.machine.prove [--out FOLDER] [--seconds 520] [--everything]

1. What the machine has, and what `nvidia-smi` says.
2. Every kernel once or a few times against its oracle: both engines, three dtypes.
3. Figures: the GPU's own time of every rule and operation beside a copy and PyTorch, what calls
   cost the host, a training step, many small tensors.
4. The tests marked `gpu`, in several processes: each kernel of the library must have been launched.
5. compute-sanitizer over every kernel: memcheck, racecheck, initcheck, synccheck.
6. With --everything: all other tests, and the rest of the benchmark; minutes more.

It runs the checkout as it is, with the Python that runs it and the packages that are there; what is
missing is taken from wheels in `.whl/`, or in the folder that --wheels names. It writes one JSON
and one Markdown file at the start, after each part and whatever happens, to bench/results/ if there
is a GPU; figures and tests are also written one by one, as they come, to files that begin with
"onepass-", in build/gpu/. --out names one folder for all of them. `onepass bench compare` and
`onepass bench page` read the JSON file as they read their own.

Without a GPU, --made-up rehearses all of it, small, on the made-up driver: its figures are those of
a CPU that plays a GPU, and worthless. The file says so, and the benchmark's commands refuse it.

Exit status: 0 if all was proven, 1 if something failed, 2 if something could not be run to its end.
"""

from __future__ import annotations

import argparse
import datetime
import os
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
    WHEELS,
    Machine,
    brought,
    commit,
    how_to_bring,
    look,
    missing_packages,
    optional_packages,
    uninstalled,
)
from proving.machine.stage import FAILED, NOT_RUN, WORTHLESS, Place, Stage, exit_status
from proving.machine.summary import summary

FORMAT = 1
KEPT, SCRATCH = ROOT / "bench" / "results", ROOT / "build" / "gpu"
_NOWHERE = Machine({"available": False, "reason": "not looked for", "remedy": ""}, {}, {}, "")
KIND = "onepass on a GPU"

# name -> its share of the seconds; what one leaves over, the next ones may use
WAVES = {"kernels": 95.0, "figures": 190.0, "tests on the GPU": 140.0, "sanitizers": 80.0}
MORE = {"all other tests": 240.0, "benchmark": 135.0}  # with --everything
_TO_LOOK = 15.0  # seconds for what comes before
SECONDS = sum(WAVES.values()) + _TO_LOOK
Run = Callable[[Machine, Place, float], Any]


def runs() -> dict[str, Run]:
    """What runs each wave; imported late, since it needs packages that may be missing."""
    from proving.machine.each_kernel import run_each_kernel
    from proving.machine.figures import run_benchmark, run_figures
    from proving.machine.sanitizers import run_sanitizers
    from proving.machine.suite import run_gpu_tests, run_other_tests

    return {
        "kernels": run_each_kernel,
        "figures": run_figures,
        "tests on the GPU": run_gpu_tests,
        "sanitizers": run_sanitizers,
        "all other tests": run_other_tests,
        "benchmark": run_benchmark,
    }


class Result:
    """What is written, as far as it has come.

    Attributes:
        stages: what has been judged.
        pending: the waves that have not; `why` is the reason, should it end here.
        report: of the figures, as `onepass bench` writes them.
    """

    def __init__(self, out: Path | None, waves: dict[str, float], made_up: bool = False) -> None:
        self.began, self.clock = datetime.datetime.now().astimezone(), time.monotonic()
        self.out, self.commit, self.machine = out, commit(), _NOWHERE
        self.waves, self.made_up = waves, made_up
        self.stages, self.pending, self.why = list[Stage](), list(waves), "it was not reached"
        self.report: dict[str, Any] | None = None
        self._written: list[Path] = []

    @property
    def all_stages(self) -> list[Stage]:
        return [*self.stages, *(Stage(name, NOT_RUN, self.why) for name in self.pending)]

    @property
    def status(self) -> int:
        return exit_status(self.all_stages)

    @property
    def streams(self) -> Path:
        """The folder of what is written one by one."""
        return self.out or SCRATCH

    def content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kind": WORTHLESS if self.made_up else KIND,
            "date": self.began.date().isoformat(),
            "began": self.began.isoformat(timespec="seconds"),
            "seconds": time.monotonic() - self.clock,
            "status": self.status,
            "commit": self.commit,
            "machine": asdict(self.machine),
            "stages": [asdict(stage) for stage in self.all_stages],
            "benchmark": None if self.made_up else self.report,
            **({"worthless": self.report} if self.made_up else {}),
        }

    def write(self) -> tuple[Path, Path]:
        """Both files, each whole or not at all; those of the same day and device are replaced."""
        gpu, content = self.machine.gpu, self.content()
        real = gpu["available"] and not self.made_up
        folder = self.out or (KEPT if real else SCRATCH)
        device = re.sub(r"[^a-z0-9]+", "-", gpu.get("name", "none").lower()).strip("-")
        stem = f"{content['date']}-gpu-{device}-proof"
        folder.mkdir(parents=True, exist_ok=True)
        to_json = run_path(str(ROOT / "bench" / "report" / "to_json.py"))["to_json"]
        texts = {".json": to_json(content), ".md": summary(content)}
        for suffix, text in texts.items():
            part = folder / f"{stem}{suffix}.part"
            part.write_text(text, encoding="utf-8")
            part.replace(folder / f"{stem}{suffix}")
        files = [folder / f"{stem}{suffix}" for suffix in texts]
        for old in self._written:  # of the time when the device had no name yet
            if old not in files:
                old.unlink(missing_ok=True)
        self._written = files
        return files[0], files[1]


def prove(result: Result, seconds: float, dry: bool, wheels: Path) -> None:
    """Run every wave and note its stages in `result`, which is written after each."""
    result.write()
    with uninstalled(result.made_up) as environment, TemporaryDirectory("-onepass-gpu") as folder:
        site = Path(environment["PYTHONPATH"].split(os.pathsep)[-1])
        carried = brought(wheels, [*missing_packages(), *optional_packages()], site)
        if carried:
            print(f"from {wheels}: {', '.join(carried)}", flush=True)
        if packages := missing_packages():
            result.why = how_to_bring(packages)
            return
        result.machine = machine = look(environment)
        result.write()
        if machine.why_no_gpu and not dry:
            remedy = machine.gpu["remedy"]
            result.why = f"{machine.why_no_gpu}. {remedy}." if remedy else machine.why_no_gpu
            return
        for name, what in machine.left_out.items():
            print(f"{name} is not installed: left out is {what}", flush=True)
        result.streams.mkdir(parents=True, exist_ok=True)
        place = Place(environment, Path(folder), result.streams, result.made_up)
        for name in result.waves:
            later = sum(result.waves[other] for other in result.pending if other != name)
            share = seconds / (sum(result.waves.values()) + _TO_LOOK)
            limit = seconds - later * share - (time.monotonic() - result.clock)
            print(f"{name}: {limit:.0f} s at most", flush=True)
            try:
                found = runs()[name](machine, place, limit)
            except Exception:  # the other waves still tell something
                found = [Stage(name, FAILED, traceback.format_exc(limit=-3))]
            _note(result, name, found)
            if place.stopped.is_set():
                raise KeyboardInterrupt


def _note(result: Result, name: str, found: Any) -> None:
    """A wave gives its stages, and those that measure their report too."""
    stages, report = found if isinstance(found, tuple) else (found, None)
    if report is not None:
        from proving.machine.figures import joined

        result.report = joined(result.report, report)
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

    numbers = signal.SIGTERM, signal.SIGINT  # a script's background jobs ignore the second one
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder; default: bench/results, or build/gpu")
    parser.add_argument("--seconds", type=float, help=f"for everything; default: {SECONDS:.0f}")
    parser.add_argument(
        "--wheels", type=Path, default=WHEELS, help="a folder of wheels of what may be missing"
    )
    parser.add_argument(
        "--everything",
        action="store_true",
        help=f"all other tests and the benchmark too: {sum(MORE.values()):.0f} s more",
    )
    without = parser.add_mutually_exclusive_group()
    without.add_argument(
        "--dry-run",
        action="store_true",
        help="without a GPU too: run what needs none, and end with 2",
    )
    without.add_argument(
        "--made-up",
        action="store_true",
        help="a small rehearsal on the made-up driver, whose figures are worthless",
    )
    options = parser.parse_args(arguments)
    waves = WAVES | (MORE if options.everything else {})
    result = Result(options.out, waves, options.made_up)
    seconds = options.seconds or sum(waves.values()) + _TO_LOOK
    with _stopped_by_term():
        try:
            prove(result, seconds, options.dry_run, options.wheels)
        except KeyboardInterrupt:
            result.why = "it was stopped"
        finally:
            json_file, page = result.write()
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten: {json_file}\nwritten: {page}")
    return result.status


if __name__ == "__main__":
    sys.exit(main())
