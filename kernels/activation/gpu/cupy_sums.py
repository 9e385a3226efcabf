"""What the engines of activations on a GPU share: dz by one launch, its sums by another."""

from __future__ import annotations

from abc import abstractmethod

from ....backend import Array
from ...compiling.gpu.cuda_columns import column_sums
from ..contract import ActivationEngine, Numbers


class GpuActivation(ActivationEngine):
    """Runs on CuPy arrays."""

    @abstractmethod
    def differentiate(
        self, dy: Array, y: Array, dz: Array, bias: Array | None, kind: str, numbers: Numbers
    ) -> None:
        """Launch what writes dz."""

    def backward(
        self,
        dy: Array,
        y: Array,
        dz: Array,
        bias: Array | None,
        bias_grad: Array | None,
        kind: str,
        numbers: Numbers,
        fresh: bool,
    ) -> None:
        """Where bias_grad is wanted, its launch is made ready before that which writes dz.

        What has gaps gets dz by a transfer, once the sums are there.
        """
        from cupy import empty

        if bias_grad is None:
            self.differentiate(dy, y, dz, bias, kind, numbers)
            return
        result = dz
        if not dz.flags.c_contiguous:
            result = empty(dz.shape, dz.dtype)
            dz[...] = dz.copy()  # its own values: what copies to this layout is compiled now
        add_up = column_sums(result, bias_grad)
        self.differentiate(dy, y, result, bias, kind, numbers)
        add_up()
        if result is not dz:
            dz[...] = result
