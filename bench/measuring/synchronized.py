"""Calls that return when their work is done: on a GPU a launch returns before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ...backend import Backend
from .candidate import Call

_waits: ContextVar[bool] = ContextVar("waits", default=True)


@contextmanager
def not_waited() -> Iterator[None]:
    """What is made in the block does not wait: its caller does, or looks at another clock."""
    before = _waits.set(False)
    try:
        yield
    finally:
        _waits.reset(before)


def waited(call: Call, backend: Backend) -> Call:
    """`call`, and then a wait for the whole device, whoever launched: us, CuPy, PyTorch.

    On the CPU, and where it is made in `not_waited`, `call` itself.
    """
    if backend.device == "cpu" or not _waits.get():
        return call

    def run() -> object:
        result = call()
        backend.synchronize()
        return result

    return run
