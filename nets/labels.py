"""Classes as people name them, and as numbers."""

from __future__ import annotations

import numpy as np

from .types import HostArray


def numbered(labels: HostArray) -> tuple[HostArray, HostArray]:
    """The classes in `labels`, (n,), each once and sorted; and the number of each row's, (n,).

    Raises:
        TypeError: they are of kinds that have no order among each other: None, or nan, beside
            names.
    """
    try:
        return np.unique(labels, return_inverse=True)
    except TypeError as error:
        kinds = sorted({type(each).__name__ for each in labels.tolist()})
        raise TypeError(
            f"y holds labels of types {' and '.join(kinds)}, which can't be sorted; expected one "
            "type. Fill in what is missing, or leave such rows out"
        ) from error
