"""Section "first-call": import and first step in a new process, cold and from the compile cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from ..measuring.candidate import Candidate
from ..measuring.timing import Effort
from ..measuring.workload import Workload

_ADAM = """
import numpy as np
from onepass import kernels
p, g, m, v = (np.ones(1000, "float32") for _ in range(4))
kernels.adam_step(p, g, m, v, step=1)
"""
_TORCH_ADAM = """
import torch
p = torch.nn.Parameter(torch.ones(1000))
p.grad = torch.ones(1000)
torch.optim.Adam([p], fused=True).step()
"""
_NORM = """
import numpy as np
from onepass import kernels
x, c = np.ones((64, 32), "float32"), np.ones(32, "float32")
y, saved = kernels.batch_norm_forward(x, c, c)
kernels.batch_norm_backward(x, saved)
"""
_TORCH_NORM = """
import torch
x = torch.ones(64, 32, requires_grad=True)
torch.nn.functional.batch_norm(x, None, None, training=True).sum().backward()
"""
PROGRAMS = {
    "import": {"onepass": "import onepass", "numpy": "import numpy", "torch": "import torch"},
    "import and adam step": {"onepass": _ADAM, "torch": _TORCH_ADAM},
    "import and batch norm": {"onepass": _NORM, "torch": _TORCH_NORM},
}
"""Operation -> path -> program."""


class FirstCall(Workload):
    """A whole process, from its start to its end."""

    section = "first-call"
    label, dtype, device = "new process", "float32", "cpu"
    warm = False
    size = 1
    bytes = 0

    def __init__(self, what: str, cold: bool = False) -> None:
        self.what, self.cold = what, cold
        self.operation = f"{what}, nothing compiled" if cold else what

    @property
    def paths(self) -> tuple[str, ...]:
        return ("onepass",) if self.cold else tuple(PROGRAMS[self.what])

    def effort(self, given: Effort) -> Effort:
        """A process of each where it is only to be seen that they run."""
        return given if given.rounds == 1 else super().effort(given)

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        """Each path's code is compiled once, unless this is about doing so."""
        folder = Path(tempfile.mkdtemp(prefix="onepass-bench-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        made = {}
        for path in paths:
            program = PROGRAMS[self.what][path]
            if not self.cold:
                _run(program, folder)
            made[path] = Candidate(
                partial(_run, program, folder),
                before=partial(shutil.rmtree, folder, ignore_errors=True) if self.cold else None,
            )
        return made


def _run(program: str, cache: Path) -> None:
    """Run a program in a new interpreter whose compile cache is `cache`."""
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
    )
