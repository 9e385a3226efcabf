"""Files that are replaced as a whole or not at all."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

if sys.platform != "win32":
    from fcntl import LOCK_EX, LOCK_NB, flock


def target_of(path: str | os.PathLike[str]) -> Path:
    """The file that `path` names, links followed, if it can be written or replaced there.

    Raises:
        IsADirectoryError: it is a folder, or something else that is no file.
        FileNotFoundError: its folder is not there.
    """
    target = Path(os.path.realpath(Path(path).expanduser()))
    if target.exists() and not target.is_file():
        raise IsADirectoryError(
            f"path is {str(path)!r}, which is no file; expected a file's name, such as "
            f"{str(target / 'model.safetensors')!r}"
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"path is {str(path)!r}, but there is no folder {str(target.parent)!r}; make it first"
        )
    return target


def write_atomically(target: Path, content: bytes) -> None:
    """Make `content` the file `target`, replacing what is there; when it returns, it is on disk.

    Whoever opens `target` finds the old file or the new one, whole, at every moment, and so after a
    process was killed or a machine has crashed: the new one is written beside it and synced to
    disk before it gets the name. Its permissions are a new file's. What a killed process has left
    beside `target` is removed.

    Raises:
        OSError: it can't be written: `target` is as before, and nothing is left beside it.
    """
    _remove_leftovers(target)
    temporary = target.parent / f"{_prefix(target)}{token_hex(4)}.tmp"
    try:
        try:
            with temporary.open("xb") as file:
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


def _prefix(target: Path) -> str:
    return f".{target.name}.onepass-"


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
