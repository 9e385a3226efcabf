"""Files that are replaced as a whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from ..paths import expanded

if sys.platform != "win32":
    from fcntl import LOCK_EX, LOCK_NB, flock

_LONG = 100
"""Bytes of a name from which a temporary file does not repeat it: names have a limit too."""


def target_of(path: str | os.PathLike[str]) -> Path:
    """The file that `path` names, links followed, if it can be written or replaced there.

    That is found out by making a file in its folder, which is removed again: permissions, a
    read-only file system, a name too long and a disk without a free inode show in no other way.
    `path` itself is neither made nor touched.

    Raises:
        IsADirectoryError: it is a folder, or something else that is no file.
        FileNotFoundError: its folder is not there.
        OSError: no file can be made in its folder.
    """
    target = Path(os.path.realpath(expanded(path)))
    try:
        there = target.exists()
    except OSError as error:  # a name too long
        raise _no_file(path, target, error) from error
    if there and not target.is_file():
        raise IsADirectoryError(
            f"path is {str(path)!r}, which is no file; expected the name of a file to write"
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path is {str(path)!r}, but there is no folder {str(target.parent)!r}; make it first"
        )
    probe = _temporary(target)
    try:
        probe.open("xb").close()
        probe.unlink(missing_ok=True)  # another process may take it for a leftover
    except OSError as error:
        raise _no_file(path, target, error) from error
    return target


def _no_file(path: str | os.PathLike[str], target: Path, error: OSError) -> OSError:
    """`error` in words that name the argument."""
    expected = "a folder that can be written to"
    if error.errno == errno.ENAMETOOLONG:
        expected = "a shorter name"
    return type(error)(
        error.errno,
        f"path is {str(path)!r}, but no file can be made in {str(target.parent)!r} "
        f"({error.strerror}); expected {expected}",
    )


def write_atomically(target: Path, content: bytes) -> None:
    """Make `content` the file `target`, replacing what is there; when it returns, it is on disk.

    Whoever opens `target` finds the old file or the new one, whole, at every moment, and so after a
    process was killed or a machine has crashed: the new one is written beside it and synced to
    disk before it gets the name. It has the permissions of the file it replaces, from its first
    byte on, or a new file's. What a killed process has left beside `target` is removed.

    Raises:
        OSError: it can't be written: `target` is as before, and nothing is left beside it.
    """
    _remove_leftovers(target)
    temporary = _temporary(target)
    try:
        try:
            with open(temporary, "xb", opener=_with_permissions_of(target)) as file:
                with suppress(OSError):  # some network file systems have no locks
                    _lock(file.fileno())
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(
            error.errno, f"{target} was not saved ({error.strerror}); what was there is intact"
        ) from error
    _sync(target.parent)


def _with_permissions_of(target: Path) -> Callable[[str, int], int]:
    """Opens a new file for those who may open `target`; where it is not there, as `open` does."""

    def opener(path: str, flags: int) -> int:
        if sys.platform == "win32" or not target.exists():
            return os.open(path, flags, 0o666)
        mode = stat.S_IMODE(target.stat().st_mode)
        fd = os.open(path, flags, mode)
        with suppress(OSError):  # some file systems have no permissions
            os.fchmod(fd, mode)  # without what the umask takes away
        return fd

    return opener


def _temporary(target: Path) -> Path:
    return target.parent / f"{_prefix(target)}{token_hex(4)}.tmp"


def _prefix(target: Path) -> str:
    name = os.fsencode(target.name)
    return f".{target.name if len(name) < _LONG else f'{zlib.crc32(name):08x}'}.onepass-"


def _remove_leftovers(target: Path) -> None:
    """Remove what processes that are gone have begun; a live one holds the lock on its own."""
    with suppress(OSError):
        for path in list(target.parent.iterdir()):
            if path.name.startswith(_prefix(target)):
                with suppress(OSError), path.open("rb") as file:
                    _lock(file.fileno())
                    path.unlink()


def _lock(fd: int) -> None:
    """Hold an open file until it is closed; OSError where another process does."""
    if sys.platform != "win32":  # where a file that is open can't be removed anyway
        flock(fd, LOCK_EX | LOCK_NB)


def _sync(folder: Path) -> None:
    """Bring the new name to disk, where the file system can sync a folder."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
