"""The scale of a loss whose gradients float16 is to hold, and steps with it that a GPU decides on.

On the CPU there is nothing to wait for: `LossScaler` looks at the norm of the gradients itself.
"""

from __future__ import annotations

from typing import Any

from numpy import ndarray

from ..backend import Array
from ..backend.failures import Explained
from .engine_table import Kept, find_engine
from .launch import Columns
from .rule_engines.cuda_clock import LEAST as LEAST
from .rule_engines.cuda_clock import MOST as MOST
from .rule_engines.cuda_clock import Changes as Changes
from .rule_engines.cuda_clock import Report as Report


def tables_of_all(columns: Columns, engine: str, kept: Kept) -> Any:
    """What `PendingSteps.step` takes of these arrays, checked; None where another way is to be
    gone, which explains what does not fit."""
    first = columns[0][0]
    if type(first) is ndarray:
        return None
    return find_engine(engine, first, first.flags.c_contiguous).tables_each(columns, kept)


def pending_steps(like: Array, taken: int, scale: float, since: int) -> Any:
    """New `PendingSteps` on the GPU of `like`, where so many steps were taken."""
    from .rule_engines.cupy_pending import PendingSteps

    with Explained("a step of a scaled loss", like, "cupy"):
        return PendingSteps(like, taken, scale, since)
