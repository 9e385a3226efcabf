"""Which batch normalizations a GPU has run before, so that none of their code is missing.

The launches, or transfers, that average the running statistics may come before the one that writes
y, or after it. So the first time, running statistics are averaged in copies, which reach the user's
arrays only after y was written, and which were put once where they came from.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ....backend import Array, device_of
from ...compiling.gpu.first_launch import index_widths, is_new
from ..channel_vectors import computed, fits
from ..contract import BatchNormEngine, How


def new_gate_code(engine: BatchNormEngine, x: Array) -> Hashable:
    """What tells the machine code of a backward with a gate from others; None if it has run before,
    or if the engine compiles all of it ahead.

    Until it has run, dz goes through new memory: it is written before dx.
    """
    if isinstance(x, np.ndarray) or engine.together:
        return None
    code = "gate of batch norm", engine.name, device_of(x), x.dtype.name
    return code if is_new(code) else None


def new_code(
    engine: BatchNormEngine,
    x: Array,
    y: Array,
    how: How,
    mean: Array | None,
    var: Array | None,
    residual: bool = False,
) -> Hashable:
    """What tells the machine code of a forward on a GPU from others; None if it has run before, or
    if one launch writes y and the running statistics.

    CuPy's differs with the axes that are longer than 1 and the width of an index, and that of the
    copy into running statistics with their dtype and whether they have gaps.
    """
    if isinstance(x, np.ndarray) or mean is None or var is None:
        return None
    if engine.together and all(fits(each, computed(x)) for each in (mean, var)):
        return None
    layout = how.layout
    code = (
        *("batch norm", engine.name, device_of(x), x.dtype.name, how.relu, residual),
        *(length > 1 for length in (layout.outer, layout.channels, layout.inner)),
        *index_widths((x, y)),
        *((a.dtype.name, a.strides == (a.itemsize,)) for a in (mean, var)),
    )
    return code if is_new(code) else None
