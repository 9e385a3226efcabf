"""`onepass bench`: measure, print, write; and the page of what was measured before."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from ..backend import get_backend
from ..nets import load_mnist
from ..nets.saving.atomic_write import target_of
from .cases.data_sets import data_sets, missing_data
from .cases.sizes import ESTIMATORS
from .machine import hardware, versions
from .measuring.despite_failures import measure_what_works
from .measuring.rank_processes import RankGroups
from .measuring.workload import Workload, measure
from .promises.promises import judged
from .report.record import Curve, Fitted, Ranked, Report, Skipped, read_report
from .report.terminal import print_report
from .suite import EFFORTS, LONG, SECTIONS, Choice, estimator_tables, workloads
from .workloads.training.epochs import train_curves, why_no_training
from .workloads.training.estimators import PATHS, STARTS, scores, why_no_estimators
from .workloads.training.ranks import COUNTED, OfRanks, counted

EPOCHS = {"small": 1, "quick": 5, "default": 20, "full": 40}
"""Of the training curves on digits; a quarter as many on MNIST."""


def bench(
    mode: str = "default",
    device: str = "auto",
    only: Sequence[str] = (),
    mnist: str | None = None,
    json: str | None = None,
    page: str | None = None,
    png: str | None = None,
    console: Console | None = None,
    seconds: float = math.inf,
    failures: list[str] | None = None,
) -> Report:
    """Measure, print a table, and write what was asked for.

    Args:
        mode: "small", "quick", "default" or "full".
        device: "auto", "cpu", "cuda", "cuda:N".
        only: sections; all of them if empty, without `suite.LONG` unless the run is full.
        mnist: the folder of the four MNIST files; None leaves MNIST out.
        json, page: files to write, the first after each workload; png: a folder for figures.
        console: where to print.
        seconds: after which no further workload is begun; those are told among what was skipped.
        failures: takes what goes wrong in a path, which is then left out; None: it ends the run.

    Raises:
        ValueError: a mode or a section that does not exist.
        DeviceUnavailableError, OSError, ImportError: what was asked for is not there; before
            anything is measured.
    """
    console = console or Console()
    chosen = _sections(only, mode)
    backend = get_backend(device)
    choice = Choice(mode, backend.device, mnist)
    _check_writeable((json, page), png)
    if mnist is not None:
        load_mnist(mnist)  # whatever is measured, and wherever: a wrong folder is told first
    if page or png:
        _require_matplotlib()
    report = Report(datetime.date.today().isoformat(), mode, versions(), hardware())
    start = time.perf_counter()
    works = [work for name in chosen for work in workloads(name, choice)]
    curves = list(_curves(choice)) if "training" in chosen else []
    fits = list(_fits(choice)) if "estimators" in chosen else []
    counts = list(_counts(choice, works)) if "ranks" in chosen else []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(works) + len(curves) + len(fits) + len(counts))
        for workload in works:
            progress.update(task, description=f"{workload.section} {workload.operation}")
            if time.perf_counter() - start < seconds:
                _measure(workload, mode, report, failures)
                if json:  # what there is outlives a run that is ended
                    _judge(report, start)
                    report.write(json)
            else:
                reason = f"not begun: {seconds:.0f} s were over"
                report.skipped.append(Skipped(workload.section, workload.id, reason))
            progress.advance(task)
        for path, draw in curves:
            progress.update(task, description=f"training curve by {path}")
            report.curves.append(draw())
            progress.advance(task)
        for what, train in fits:
            progress.update(task, description=f"estimators {what}")
            report.fits.append(train())
            progress.advance(task)
        for what, tell in counts:
            progress.update(task, description=f"what {what} send")
            if (sent := tell()) is not None:
                report.ranks.append(sent)
            progress.advance(task)
    for section in ("training", "estimators"):
        if section in chosen and choice.device == "cpu":
            report.skipped += [Skipped(section, *pair) for pair in missing_data(mnist).items()]
    _judge(report, start)
    print_report(report, console)
    _write(report, json, page, png, console)
    return report


def write_page_of(result: str, page: str, console: Console) -> None:
    """Write the page of a result file, and say so.

    Args:
        result: a file that `--json` or `make gpu` wrote.
        page: the file to write.
        console: where to print.

    Raises:
        OSError, ImportError: the page can't be written, or drawn; before `result` is read.
        OSError, ValueError: as `read_report` does; ValueError also where both are one file.
    """
    if target_of(page) == Path(result).resolve():
        raise ValueError(f"the page would replace its results, {result!r}; expected another name")
    _require_matplotlib()
    _write(read_report(result), None, page, None, console)


def _judge(report: Report, start: float) -> None:
    report.seconds = time.perf_counter() - start
    report.figures = judged(report)


def _measure(
    workload: Workload, mode: str, report: Report, failures: list[str] | None = None
) -> None:
    reasons = {path: workload.missing(path) or left_out(path, mode) for path in workload.paths}
    found = [Skipped(workload.section, path, reason) for path, reason in reasons.items() if reason]
    report.skipped += [skipped for skipped in found if skipped not in report.skipped]
    paths = [path for path, reason in reasons.items() if not reason]
    if not paths:
        return
    if failures is None:
        report.measurements += measure(workload, paths, EFFORTS[mode])
    else:
        report.measurements += measure_what_works(workload, paths, EFFORTS[mode], failures)


def left_out(path: str, mode: str) -> str:
    """Why a run of that length does without a path; "" if it does not."""
    slow = mode == "quick" and path.startswith(("jax", "torch compile"))
    return "it compiles for seconds: not in a quick run" if slow else ""


def _curves(choice: Choice) -> Iterator[tuple[str, Callable[[], Curve]]]:
    """Each path's training curves, to be drawn later."""
    if choice.device != "cpu":
        return
    for data in data_sets(choice.mnist):
        epochs = EPOCHS[choice.mode]
        batch, epochs = (16, epochs) if data.name == "digits" else (128, epochs // 4)
        for path in ("onepass", "torch fused"):
            if not why_no_training(path):
                yield path, partial(train_curves, data, path, max(1, epochs), batch)


def _fits(choice: Choice) -> Iterator[tuple[str, Callable[[], Fitted]]]:
    """The trainings of each estimator on each table, to be run later."""
    if why_no_estimators():
        return
    for case in estimator_tables(choice):
        for path in (*PATHS, *(STARTS if case.name in ESTIMATORS else ())):
            yield f"{case.name} by {path}", partial(scores, case, path)


def _counts(
    choice: Choice, works: Iterable[Workload]
) -> Iterator[tuple[str, Callable[[], Ranked | None]]]:
    """What ranks send and hold, to be counted later, by those that are timed."""
    if choice.on_a_gpu:
        return
    groups = next((work.groups for work in works if isinstance(work, OfRanks)), RankGroups())
    for ranks, sharded in COUNTED:
        yield f"{ranks} ranks", partial(counted, groups, ranks, sharded)


def _sections(only: Sequence[str], mode: str = "full") -> list[str]:
    for name in only:
        if name not in SECTIONS:
            raise ValueError(f"section is {name!r}; expected {', '.join(map(repr, SECTIONS))}")
    left_out = () if mode in ("small", "full") else LONG
    return [name for name in SECTIONS if name in only or not (only or name in left_out)]


def _require_matplotlib() -> None:
    if find_spec("matplotlib") is None:
        raise ImportError('the page and its figures need matplotlib: pip install "onepass[plot]"')


def _check_writeable(files: Iterable[str | None], png: str | None) -> None:
    """Tell of what can't be written, or is in the way, before minutes are spent."""
    for path in filter(None, files):
        target_of(path)
    if not png:
        return
    folder = Path(png)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{png!r} is a file; expected a folder for the figures")
    target_of(folder / "figure.png" if folder.is_dir() else folder)


def _write(
    report: Report, json: str | None, page: str | None, png: str | None, console: Console
) -> None:
    if json:
        report.write(json)
    if page:
        from .page.page import write_page

        write_page(report, page)
    if png:
        from .page.page import write_pngs

        write_pngs(report, png)
    for what, path in (("results", json), ("page", page), ("figures", png)):
        if path:
            console.print(f"{what}: {path}", highlight=False, soft_wrap=True)
