"""What calls return, brought to NumPy and compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...backend import Backend


def in_numpy(found: Any, backend: Backend) -> np.ndarray:
    """An array of ours or of CuPy, or a tensor of PyTorch, as a NumPy array."""
    return np.asarray(found.cpu() if hasattr(found, "cpu") else backend.to_numpy(found))


def assert_close(
    found: Iterable[np.ndarray], wanted: Iterable[np.ndarray], rtol: float, what: str
) -> None:
    """Raise AssertionError, with `what`, unless each array found is the one wanted.

    Errors may be `rtol` of the element, and of the largest one (of 1, if that is smaller).
    """
    for mine, reference in zip(found, wanted, strict=True):
        scale = max(1.0, float(np.abs(reference).max()))
        np.testing.assert_allclose(mine, reference, rtol, rtol * scale, err_msg=what)
