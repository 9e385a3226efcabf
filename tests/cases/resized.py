"""An array whose memory shrinks or grows behind the back of whoever keeps it."""

from __future__ import annotations

import warnings

import numpy as np


def resize(array: np.ndarray, shape: tuple[int, ...]) -> None:
    """`array.resize`, which NumPy 2.5 deprecates: while it is there, it must be noticed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        array.resize(shape, refcheck=False)
