"""How many cores this process may use: in containers fewer than the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

from .control_groups import least_limit


def usable_cores() -> int:
    """Cores this process may run on, or fewer where a quota gives it less time than theirs.

    The affinity mask says which (`taskset`, a cpuset; PYTHON_CPU_COUNT overrides it since Python
    3.13), a control group for how long (`docker run --cpus`, a limit of Kubernetes, CPUQuota of
    systemd).
    """
    quota = cpu_quota()
    cores = allowed_cores()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def allowed_cores() -> int:
    """Cores of the affinity mask, all of the machine's where the system has none."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(proc: str = "/proc/self") -> float | None:
    """Seconds of CPU a second that control groups (Linux, v1 and v2) allow; None for no limit.

    A group has no more than each group above it, up to the root that is mounted here.

    Args:
        proc: the folder that tells of a process.
    """
    return least_limit("cpu", _quota, proc)


def _quota(folder: Path) -> float | None:
    """The limit of one group: v2's cpu.max, or v1's pair of files."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            words = " ".join((folder / name).read_text(encoding="ascii") for name in names).split()
            quota, period = map(int, words)
        except (OSError, ValueError):  # not there; or "max", for no limit
            continue
        if quota > 0 and period > 0:  # -1: no limit
            return quota / period
    return None
