"""Sums over the batches of an epoch, which wait for a device as rarely as can be."""

from __future__ import annotations

from array import array
from math import fsum, isfinite

from ...backend import Backend
from ..types import Array

MANY = 1 << 12  # figures that are left on a device


class Total:
    """The sum of figures times factors, rounded once: whatever the order in which they come.

    Figures are numbers, or 0-d arrays on the device, which stay there until there are many, or
    `sum` is asked for.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self._terms = backend, array("d")
        self._figures: list[Array] = []
        self._factors: list[float] = []

    def add(self, figure: Array, factor: float = 1) -> None:
        """Add figure times factor."""
        if isinstance(figure, (float, int)):  # as NumPy's float64 is
            self._terms.append(figure * factor)
            return
        self._figures.append(figure)
        self._factors.append(factor)
        if len(self._figures) == MANY:
            self._collect()

    def sum(self) -> float:
        """All of them."""
        self._collect()
        return fsum(self._terms) if all(map(isfinite, self._terms)) else sum(self._terms)

    def _collect(self) -> None:
        """Bring what is on the device here."""
        if not self._figures:
            return
        with self._backend.scope():
            figures = self._backend.to_numpy(self._backend.xp.stack(self._figures))
        terms = zip(figures.tolist(), self._factors, strict=True)
        self._terms.extend(figure * factor for figure, factor in terms)
        self._figures, self._factors = [], []
