"""Run mypy on the package: python tests/typecheck.py

The repository root is the package `onepass`, and mypy wants to find it under that name; so it looks
in a folder that holds a link of that name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "onepass").symlink_to(ROOT, target_is_directory=True)
        packages = ["backend", "kernels", "nets", "bench"]
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
        for package in packages:
            command += ["-p", f"onepass.{package}"]
        command += ["-p", "manual"]
        path = os.pathsep.join((folder, str(ROOT / "docs")))
        return subprocess.run(command, cwd=folder, env={**os.environ, "MYPYPATH": path}).returncode


if __name__ == "__main__":
    sys.exit(main())
