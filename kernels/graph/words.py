"""What kernels look at in the GPU's memory while a step is captured, beside their arguments."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ...backend import Array
from ..compiling.gpu.cuda_launch import NULL


class Words(NamedTuple):
    """Arrays of one int64 each.

    Attributes:
        draws: what is added to the number of a dropout's draw.
        stop: not 0 where the step is not to be taken: nothing that stays is to be written.
    """

    draws: Array
    stop: Array


_NONE = Words(NULL, NULL)
_of_thread = threading.local()


def words() -> Words:
    """Those of the step that this thread captures; null pointers where it captures none."""
    found: Words = getattr(_of_thread, "words", _NONE)
    return found


@contextmanager
def captured(words: Words) -> Iterator[None]:
    """This thread captures a step in this context."""
    _of_thread.words = words
    try:
        yield
    finally:
        _of_thread.words = _NONE
