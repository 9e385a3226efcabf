"""Measuring on though a path fails: where a machine is there for minutes, the rest still counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .measurement import Measurement
from .timing import Effort
from .workload import Workload, measure


def measure_what_works(
    workload: Workload, paths: Iterable[str], effort: Effort, failures: list[str]
) -> list[Measurement]:
    """As `measure`, but paths that fail are left out, and told in `failures`.

    Where they fail only together, or all do, the workload has no measurements.
    """
    paths = list(paths)
    try:
        return measure(workload, paths, effort)
    except Exception as error:
        broken = dict(_broken(workload, paths))
        works = [path for path in paths if path not in broken]
        what = f"{workload.section} {workload.id}"
        failures += (f"{what} by {path}: {reason}" for path, reason in broken.items())
        if not broken:
            failures.append(f"{what}: {_short(error)}")
        if not broken or not works:
            return []
    return measure_what_works(workload, works, effort, failures)


def _broken(workload: Workload, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each path that fails without the others, or beside the first one, and how."""
    paths = list(paths)
    for path in paths:
        try:
            workload.prepare(dict.fromkeys((paths[0], path)))[path].call()
        except Exception as error:
            yield path, _short(error)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
