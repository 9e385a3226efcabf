"""Sums over the batches of an epoch: a device is waited for at the end, not at each batch."""

from __future__ import annotations

from ...backend import Backend
from ..types import Array

MANY = 1 << 12  # figures of a device that are kept one by one


class Total:
    """The sum of figures times factors, in float64.

    Figures are numbers, or 0-d arrays on the device. Those stay there until `sum`, or until there
    are MANY, which are then read together: only there is anything launched, and waited for.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self._sum = backend, 0.0
        self._figures: list[Array] = []
        self._factors: list[float] = []

    def add(self, figure: Array, factor: float = 1) -> None:
        """Add figure times factor."""
        if isinstance(figure, (float, int)):  # as NumPy's float64 is
            self._sum += figure * factor
            return
        self._figures.append(figure)
        self._factors.append(factor)
        if len(self._figures) == MANY:
            self._collect()

    def sum(self) -> float:
        """All of them."""
        self._collect()
        return float(self._sum)

    def _collect(self) -> None:
        if self._figures:
            with self._backend.scope():
                stacked = self._backend.xp.stack(self._figures)
                figures = self._backend.to_numpy(stacked).tolist()
            for figure, factor in zip(figures, self._factors, strict=True):
                self._sum += figure * factor
            self._figures.clear()
            self._factors.clear()
