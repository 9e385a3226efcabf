"""Loading Numba CUDA, so that it compiles beside the NumPy that is there."""

from __future__ import annotations

from typing import Any

import numpy as np


def load_numba_cuda() -> Any:
    """`numba.cuda`.

    numba-cuda 0.30 names `numpy.row_stack` where it first compiles, which NumPy 2.5 has no more.
    It is in maintenance (its issue 902) and will not be changed (907); its successor,
    numba-cuda-mlir, has no simulator. So it is lent the function while the module loads that asks.

    Raises:
        Exception: what the import raises, where it is not installed or does not fit the others.
    """
    import numba_cuda  # noqa: F401
    from numba import config, cuda

    names = vars(np)
    if "row_stack" not in names and not config.ENABLE_CUDASIM:
        names["row_stack"] = np.vstack
        try:
            import numba.cuda.np.arrayobj  # noqa: F401
        finally:
            del names["row_stack"]
    return cuda
