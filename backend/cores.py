"""How many cores this process may use: in containers fewer than the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


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
    try:
        groups = (Path(proc) / "cgroup").read_text(encoding="utf-8")
        mounts = (Path(proc) / "mountinfo").read_text(encoding="utf-8")
    except (OSError, UnicodeError):  # no Linux, or a /proc that is closed
        return None
    limits = [_quota(folder) for folder in _folders(groups, mounts)]
    return min((limit for limit in limits if limit is not None), default=None)


def _folders(groups: str, mounts: str) -> Iterator[Path]:
    """The folders of this process's groups that can limit its CPU time, and those above them."""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controller = "" if kind[0] == "cgroup2" else "cpu"
        if controller and controller not in kind[2].split(","):
            continue
        root, mount = PurePosixPath(fields[3]), Path(fields[4])
        for group in groups.splitlines():
            _, controllers, path = (group.split(":", 2) + [""] * 2)[:3]
            if path and controller in controllers.split(","):
                folder = mount / _inside(PurePosixPath(path), root)
                yield folder
                yield from (above for above in folder.parents if above.is_relative_to(mount))


def _inside(path: PurePosixPath, root: PurePosixPath) -> PurePosixPath:
    """`path` as seen from the mounted `root`; a group that lies outside is seen as the root."""
    if ".." in path.parts or not path.is_relative_to(root):
        return PurePosixPath()
    return path.relative_to(root)


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
