"""Every failure in turn on a made-up GPU: memory that runs out, a compiler that fails."""

from __future__ import annotations

import itertools

import pytest
from onepass import DeviceMemoryError, KernelError

from proving.absence.made_up_gpu import Machine
from proving.host import elementwise as hostcuda

on_host = pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING)
ENGINES = ["array", pytest.param("cupy", marks=[pytest.mark.hostcuda, on_host]), "numba-cuda"]
FAILURES = {"memory": DeviceMemoryError, "compile": KernelError}


def check_every_failure(make, seen, call, *words):
    """Let the first, second, ... taking of memory fail, and each compilation, until none is left.

    Args:
        make: what a call works on, made on a machine.
        seen: all of it that a user sees, as something that compares.
        call: what is tried; repeated after a failure, when nothing fails any more.
        words: what every message says.

    Returns:
        How many failures of each kind there were.
    """
    with Machine().installed() as machine:
        things = make(machine)
        call(things)
        complete = seen(things)
    tried = {}
    for what, error in FAILURES.items():
        for n in itertools.count(1):
            with Machine().installed() as machine:
                things = make(machine)
                before = seen(things)
                assert before != complete
                machine.fail(what, n)
                raised = failure(call, things)
                if raised:
                    assert seen(things) == before, f"half done where {what} {n} failed: {raised}"
                    assert isinstance(raised, error), raised
                    for word in (*words, "Nothing was written", "Remedy: "):
                        assert word in str(raised)
                    machine.recover()
                    call(things)
                assert seen(things) == complete
            if not raised:
                break
        tried[what] = n - 1
    return tried


def failure(call, *args):
    """What `call` raises, or None."""
    try:
        call(*args)
    except Exception as error:
        return error
    return None


def strided(machine, shape, dtype):
    """A view with gaps between its rows, which a copy takes code for."""
    wide = machine.draw((2 * shape[0], *shape[1:], 2), dtype)
    return wide[::2, ..., 0]
