"""What pages need besides Sphinx' own files, copied into the site: MathJax in one file."""

from __future__ import annotations

import hashlib
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

MATHJAX = "mathjax/tex-svg.js"
SHA256 = "2af9375000b5a3669be94d436ae1c61159855283cd18b3ee9817fb71c8f94c84"
"""Of the file in django-static-mathjax 3.2.2.1, which readers' browsers run."""


def copy_mathjax(site: Path) -> None:
    """Put MathJax into the site's static files.

    Raises:
        ValueError: the package holds another file.
    """
    source = files("mathjax") / "static" / "mathjax" / "es5" / "tex-svg.js"
    content = source.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise ValueError(f"tex-svg.js has the SHA-256 {found}; expected {SHA256}")
    folder = site / "_static" / "mathjax"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tex-svg.js").write_bytes(content)
    shutil.copy(str(files("mathjax") / "static" / "mathjax" / "LICENSE"), folder / "LICENSE")


def connect(app: Any) -> None:
    def copy(app: Any, error: Exception | None) -> None:
        if error is None and app.builder.format == "html":
            copy_mathjax(Path(app.outdir))

    app.connect("build-finished", copy)
