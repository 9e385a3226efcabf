"""Programs that tests run in a process of their own."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
"""What such a process needs on its path: the folder of this one."""
