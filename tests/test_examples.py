"""Every example runs as a user runs it, says what it found, and writes a picture."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import onepass
import pytest

FOLDER = Path(onepass.__file__).parent / "examples"
PNG = b"\x89PNG\r\n\x1a\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.exists(), reason="examples are not part of an installed wheel"),
]


def run(name, folder):
    """What the example prints, and its picture."""
    for package in ("matplotlib", "sklearn"):
        pytest.importorskip(package, reason=f"examples need {package}")
    picture = folder / "picture.png"
    command = [sys.executable, "-W", "error", str(FOLDER / name), "--device", "cpu"]
    done = subprocess.run(
        [*command, "--out", str(picture)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, picture.read_bytes()


def test_batch_norm_widens_what_can_be_trained(tmp_path):
    text, picture = run("batch_norm.py", tmp_path)
    assert picture.startswith(PNG)
    assert len(picture) > 20_000
    without, with_norm = map(int, re.findall(r"norm: (\d+) of 36 settings reach 90%", text))
    assert with_norm >= 20 > 3 * without


def test_every_example_is_run():
    tested = re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text(encoding="utf-8"))
    assert {path.name for path in FOLDER.glob("*.py")} == set(tested)
