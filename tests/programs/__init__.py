"""Programs that tests run in a process of their own."""

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent

PYTHONPATH = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
"""For such a process: what these tests import, it imports."""
