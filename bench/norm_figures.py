"""The figures of batch normalization: PyTorch, NumPy's expressions, channels-last, the limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backend import get_backend
from .norm_cases import CHANNELS_LAST, DENSE, IMAGES, LARGE, NormCase, assert_same_norm, idiomatic
from .norm_peers import torch_norm
from .numba_norm_limits import movers
from .row import Row, row
from .timing import Timing, interleaved

FORWARD, BOTH = "forward", "forward+backward"


def norm_figures() -> Iterator[Row]:
    """Yield one row a figure."""
    cpu = get_backend("cpu")
    for case in (*IMAGES, *CHANNELS_LAST, *DENSE):
        assert_same_norm(case, "float32", cpu, "numba")
    yield from _against_torch()
    yield from _against_numpy()
    yield from _channels_last()
    yield from _against_limit()


def _against_torch() -> Iterator[Row]:
    try:
        import torch  # noqa: F401
    except ImportError:
        return
    for case in (*IMAGES, *DENSE, *CHANNELS_LAST):
        arrays = case.arrays("float32", get_backend("cpu"))
        ours, theirs = case.calls(arrays), torch_norm(arrays, case.axis)
        for what in (FORWARD, BOTH):
            _assert_alike(case, ours[what](), theirs[what]())
            times = interleaved({"onepass": ours[what], "torch": theirs[what]}, rounds=15)
            need: float | None = 3.0 if what == FORWARD else 2.5
            if case in DENSE:
                need = None if what == FORWARD else 3.0
            if case in CHANNELS_LAST:
                need = None
            yield _ratio(f"{case.name} {what}: PyTorch / onepass", "torch", "onepass", need, times)


def _against_numpy() -> Iterator[Row]:
    for case in IMAGES:
        arrays = case.arrays("float32", get_backend("cpu"))
        ours = case.calls(arrays)
        forward, both = idiomatic(arrays, case.axis)
        for what, plain in ((FORWARD, forward), (BOTH, both)):
            np.testing.assert_allclose(ours[what]()[0], plain()[0], rtol=1e-3, atol=1e-3)
            times = interleaved({"onepass": ours[what], "numpy": plain}, rounds=5)
            yield _ratio(f"{case.name} {what}: NumPy / onepass", "numpy", "onepass", 8.0, times)


def _channels_last() -> Iterator[Row]:
    for first, last in zip(IMAGES, CHANNELS_LAST, strict=True):
        cpu = get_backend("cpu")
        a, b = first.calls(first.arrays("float32", cpu)), last.calls(last.arrays("float32", cpu))
        for what in (FORWARD, BOTH):
            times = interleaved({"first": a[what], "last": b[what]}, rounds=15)
            ratio = times["last"].median / times["first"].median
            yield row(f"{last.name} {what}: last / first", ratio, 1.3, times, True)


def _against_limit() -> Iterator[Row]:
    """Where a slab fits a core's cache, the second read is spared, and the limit can be passed."""
    for case in (*LARGE, *IMAGES):
        need = 0.8 if case in LARGE else None
        arrays = case.arrays("float32", get_backend("cpu"))
        ours, limits = case.calls(arrays), movers(arrays["x"], arrays["dy"])
        for what in ("forward", "backward"):
            times = interleaved({"onepass": ours[what], "limit": limits[what]}, rounds=9)
            yield _ratio(f"{case.name} {what}: limit / onepass", "limit", "onepass", need, times)


def _ratio(what: str, above: str, below: str, need: float | None, times: dict[str, Timing]) -> Row:
    return row(what, times[above].median / times[below].median, need, times, False)


def _assert_alike(case: NormCase, ours: Any, theirs: Any) -> None:
    """y and, after a backward, the three gradients."""
    tensors = theirs if isinstance(theirs, tuple) else (theirs,)
    arrays: list[np.ndarray] = [ours[0]] if len(tensors) == 1 else list(ours)
    for array, tensor in zip(arrays, tensors, strict=True):
        found = tensor.numpy()
        if found.ndim == 4 and case.axis == -1:
            found = found.transpose(0, 2, 3, 1)
        scale = max(1.0, float(np.abs(found).max()))
        np.testing.assert_allclose(array, found, rtol=1e-4, atol=1e-5 * scale)
