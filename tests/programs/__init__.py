"""Programs that tests run in a process of their own."""

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent

PYTHONPATH = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
"""For such a process: what these tests import, it imports."""

IDLE = {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"}
"""For ranks, of which there are more than cores: in MPICH those that wait sleep, not poll."""


def alive(process: int) -> bool:
    """Whether there is such a process that has not ended; on Linux."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
