"""Which batch normalizations a GPU has run before, so that none of their code is missing.

The kernels that average the running statistics are launched before the one that writes y, and CuPy
and Numba compile each at its first launch. So the first time, running statistics are averaged in
copies, which reach the user's arrays only after y was written.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ...backend import Array, device_of
from .contract import BatchNormEngine, How

_WIDE = 1 << 31  # bytes of memory from which CuPy indexes in 64 bits
_compiled: set[Hashable] = set()


def new_code(
    engine: BatchNormEngine, x: Array, y: Array, how: How, mean: Array | None, var: Array | None
) -> Hashable:
    """What tells the machine code of a forward on a GPU from others; None if it has run before.

    CuPy's differs with the axes that are longer than 1 and the width of an index, and that of the
    copy into running statistics with their dtype and whether they have gaps.
    """
    if isinstance(x, np.ndarray) or mean is None or var is None:
        return None
    layout = how.layout
    code = (
        *(engine.name, device_of(x), x.dtype.name, how.relu),
        *(length > 1 for length in (layout.outer, layout.channels, layout.inner)),
        *((a if a.base is None else a.base).nbytes > _WIDE for a in (x, y)),
        *((a.dtype.name, a.strides == (a.itemsize,)) for a in (mean, var)),
    )
    return None if code in _compiled else code


def remember(code: Hashable) -> None:
    """That all of it was compiled."""
    _compiled.add(code)
