"""What the engines of activations on a GPU share: dz by one launch, its sums by another."""

from __future__ import annotations

from abc import abstractmethod

from ....backend import Array, backend_of
from ..contract import ActivationEngine


class GpuActivation(ActivationEngine):
    """Runs on CuPy arrays."""

    @abstractmethod
    def differentiate(self, dy: Array, y: Array, dz: Array, kind: str, slope: float) -> None:
        """Launch what writes dz."""

    def backward(
        self,
        dy: Array,
        y: Array,
        dz: Array,
        bias_grad: Array | None,
        kind: str,
        slope: float,
        fresh: bool,
    ) -> None:
        """Where bias_grad is wanted, dz stays in new memory until its sums are there.

        The sum may be compiled at its launch, or find no memory; nothing is written by then. What
        follows is a transfer.
        """
        if bias_grad is None:
            self.differentiate(dy, y, dz, kind, slope)
            return
        result = dz
        if not fresh:
            result = backend_of(dz).empty_like(dz)
            if dz.strides != result.strides:
                dz[...] = dz.copy()  # its own values: what copies to this layout is compiled now
        self.differentiate(dy, y, result, kind, slope)
        add_rows(result, bias_grad)
        if not fresh:
            dz[...] = result


def add_rows(dz: Array, bias_grad: Array) -> None:
    """bias_grad = sum of dz over all rows; CuPy adds float16 up in float32."""
    dz.reshape(-1, bias_grad.size).sum(axis=0, out=bias_grad)
