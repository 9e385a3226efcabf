"""The tests marked `gpu` that the made-up driver can't run: the one list, with the reasons. A run
leaves them out."""

from __future__ import annotations

_REASONS = {  # what the name of a test holds -> why only a GPU can run it
    "numba-cuda": "numba-cuda makes machine code of GPUs, which the CPU can't run",
}


def why(nodeid: str) -> str:
    """Why only a GPU can run this test; empty where the made-up driver can."""
    return next((reason for found, reason in _REASONS.items() if found in nodeid), "")


def reasons() -> list[str]:
    """All of them."""
    return [*_REASONS.values()]
