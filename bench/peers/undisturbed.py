"""Running somebody's code so that it prints nothing and leaves the process as it was."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO


@contextmanager
def undisturbed(**environment: str) -> Iterator[None]:
    """Within the block the environment holds `environment` too, and nothing is printed.

    After it these are what they were: environment, warning filters, the root logger, the class of
    new loggers, and PyTorch's number of threads. Output is caught below Python as well, where
    subprocesses and C write it. A logger that the block makes for sys.stdout stays silent.
    """
    with ExitStack() as stack:
        stack.enter_context(_environment(environment))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(_logging())
        stack.enter_context(_threads())
        for descriptor in (1, 2):
            stack.enter_context(_silent(descriptor))
        kept = StringIO()  # stays open: loggers made in the block hold it
        stack.enter_context(redirect_stdout(kept))
        stack.enter_context(redirect_stderr(kept))
        yield


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(
            {name: value for name, value in before.items() if os.environ.get(name) != value}
        )


@contextmanager
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, kind = list(root.handlers), root.level, logging.getLoggerClass()
    disabled = root.manager.disable
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.setLoggerClass(kind)
        logging.disable(disabled)


@contextmanager
def _threads() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


@contextmanager
def _silent(descriptor: int) -> Iterator[None]:
    """What is written to a file descriptor goes nowhere."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        copy = os.dup(descriptor)
    except OSError:  # closed, as under pythonw: nothing can be printed there
        yield
        return
    with tempfile.TemporaryFile() as nowhere:
        os.dup2(nowhere.fileno(), descriptor)
        try:
            yield
        finally:
            os.dup2(copy, descriptor)
            os.close(copy)
