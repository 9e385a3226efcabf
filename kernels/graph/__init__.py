"""Graphs: a training step on a GPU, captured from its stream and launched as a whole.

What changes from step to step lies in the GPU's memory: the number of the step, the rows of its
batch, the optimizer's coefficients, dropout's draws, and whether to go on.
"""

from __future__ import annotations

from typing import Any

from ...backend import Backend
from ..engine_table import get_engine


def why_no_graphs() -> str:
    """Why no step can be captured on a GPU, or ""."""
    return get_engine("cupy").missing()[0]


def new_graph(backend: Backend, most: int, columns: int) -> Any:
    """A new `Graph` of at most so many steps a run, whose rule takes so many coefficients."""
    from .cupy_graph import Graph

    return Graph(backend, most, columns)
