"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path` with "~" and "~name" as home folders, where there are such; else as it stands.

    A file may be called "~draft": `Path.expanduser` raises RuntimeError for it.

    Raises:
        TypeError: it is no path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path is {path!r} ({type(path).__name__}); expected a string or a Path")
    return Path(os.path.expanduser(path))
