"""Calls that return when their work is done: on a GPU a launch returns before it."""

from __future__ import annotations

from ...backend import Backend
from .candidate import Call


def waited(call: Call, backend: Backend) -> Call:
    """`call`, and then a wait for the whole device, whoever launched: us, CuPy, PyTorch.

    On the CPU, `call` itself.
    """
    if backend.device == "cpu":
        return call

    def run() -> object:
        result = call()
        backend.synchronize()
        return result

    return run
