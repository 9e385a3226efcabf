"""Processes that keep a machine busy while something is measured beside them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

LOOP = "while True: pass"
"""A bare loop of Python."""

PRODUCTS = """
import numpy
left, right = numpy.random.default_rng(0).random((2, 1500, 1500))
while True: left @ right
"""
"""Products of large NumPy matrices without pause, on as many threads as NumPy takes."""

_READY = b"ready\n"
_UNTIL_ALONE = """
import os, threading
def end_with_its_parent():
    os.read(0, 1)
    os._exit(0)
threading.Thread(target=end_with_its_parent, daemon=True).start()
"""


@contextmanager
def beside(*programs: str) -> Iterator[None]:
    """Within the block a process runs each of these; none is left after it, however it ends.

    They run from the start of the block on: what a program does before its loop is done by then.
    They don't get the terminal's Ctrl-C, and end by themselves where this process is killed.

    Raises:
        RuntimeError: one ended before it came to its loop; the message holds what it said.
    """
    with ExitStack() as stack:
        started = [stack.enter_context(_running(program)) for program in programs]
        for process in started:
            _wait_for(process)
        yield


@contextmanager
def _running(program: str) -> Iterator[subprocess.Popen[bytes]]:
    before, loop, rest = program.rpartition("while True:")
    told = f"{_UNTIL_ALONE}{before}\nprint('ready', flush=True)\n{loop}{rest}"
    process = subprocess.Popen(
        [sys.executable, "-c", told],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _wait_for(process: subprocess.Popen[bytes]) -> None:
    """Until it is ready."""
    if _open(process.stdout).readline() != _READY:
        said = _open(process.stderr).read().decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"a busy process ended at once: {said[-1] if said else 'in silence'}")


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
