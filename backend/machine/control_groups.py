"""What control groups of Linux (v1 and v2) allow this process: containers have limits of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

T = TypeVar("T", int, float)


def least_limit(controller: str, limit: Callable[[Path], T | None], proc: str) -> T | None:
    """The least that `limit` finds in `group_folders`; None where no group has one."""
    found = map(limit, group_folders(controller, proc))
    return min((each for each in found if each is not None), default=None)


def group_folders(controller: str, proc: str = "/proc/self") -> list[Path]:
    """The folders of this process's groups and of those above them, as far as they are mounted.

    A group has no more than each group above it. Empty where there is no Linux, or /proc is closed.

    Args:
        controller: what v1 calls it: "cpu", "memory". v2 has all controllers in one folder.
        proc: the folder that tells of a process.
    """
    try:
        groups = (Path(proc) / "cgroup").read_text(encoding="utf-8")
        mounts = (Path(proc) / "mountinfo").read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return []
    return list(_folders(groups, mounts, controller))


def _folders(groups: str, mounts: str, controller: str) -> Iterator[Path]:
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        wanted = "" if kind[0] == "cgroup2" else controller
        if wanted and wanted not in kind[2].split(","):
            continue
        root, mount = PurePosixPath(fields[3]), Path(fields[4])
        for group in groups.splitlines():
            _, controllers, path = (group.split(":", 2) + [""] * 2)[:3]
            if path and wanted in controllers.split(","):
                folder = mount / _inside(PurePosixPath(path), root)
                yield folder
                yield from (above for above in folder.parents if above.is_relative_to(mount))


def _inside(path: PurePosixPath, root: PurePosixPath) -> PurePosixPath:
    """`path` as seen from the mounted `root`; a group that lies outside is seen as the root."""
    if ".." in path.parts or not path.is_relative_to(root):
        return PurePosixPath()
    return path.relative_to(root)
