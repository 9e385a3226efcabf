"""numba-cuda compiles beside a NumPy that has no `row_stack`, as 2.5 has none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from programs import PYTHONPATH

from proving.simulator import tools

PROGRAM = """
import sys
import numpy as np
if np.__dict__.pop("row_stack", None):
    np.__all__.remove("row_stack")
if "lent" in sys.argv:
    from onepass.kernels.compiling.gpu.load_numba_cuda import load_numba_cuda
    load_numba_cuda()
    assert not hasattr(np, "row_stack")
from proving.compiled.forms import lowered
for each in lowered("sgd", "float32").values():
    print(each.ptx("90")[:2000])
"""


def compiled(*arguments):
    environment = os.environ | {"PYTHONPATH": PYTHONPATH}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True, text=True, check=False, timeout=300, env=environment,
    )  # fmt: skip


@pytest.mark.slow
def test_it_compiles_where_it_is_lent_the_function():
    tools.needed()
    done = compiled("lent")
    assert done.returncode == 0, done.stderr
    assert ".visible .entry" in done.stdout


@pytest.mark.slow
def test_it_would_not_compile_otherwise():
    """Else nothing need be lent, and `load_numba_cuda` can go."""
    tools.needed()
    assert "has no attribute 'row_stack'" in compiled().stderr
