"""What training makes small."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import nan

import numpy as np

from ..backend import backend_of
from .types import Array


class Loss(ABC):
    """The mean over a batch of how wrong an output is, and its gradient."""

    @abstractmethod
    def check(self, labels: Array, rows: int, width: int) -> None:
        """Refuse `labels` that don't fit an output of shape (rows, width).

        Reads the values, and so waits for a GPU they lie on: `fit` calls it once for a data set,
        not once for a batch.
        """

    @abstractmethod
    def __call__(self, output: Array, labels: Array) -> tuple[Array, Array]:
        """(mean loss, 0-d float64; gradient, of the shape and dtype of `output`)."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class SoftmaxCrossEntropy(Loss):
    """Softmax, then cross-entropy, as one stable function of the logits.

        p = exp(z - max z) / sum of exp(z - max z), each row on its own
        J = mean over rows of -log p[k]
        dJ/dz = (p - onehot(k)) / n

    log p is (z - max z) - log(sum): nothing overflows, and no logarithm of a p that was rounded to
    zero is taken. float16 logits compute in float32; their gradient is float16 again.

    Args (of the call):
        output: logits z, shape (n, C), n and C at least 1, floating.
        labels: class numbers k, shape (n,), integers 0..C-1. NumPy labels are brought to the
            logits' device.

    Raises:
        TypeError: the labels are not integers.
        ValueError: a shape is another, or a NumPy label is outside 0..C-1.
        MixedBackendsError: the labels lie on another GPU than the logits, or the logits on none.

    Labels that lie on a GPU are not read back for the range check, which would stall every batch:
    one outside 0..C-1 makes the loss and its row of the gradient nan. `fit` checks the whole set
    once, before training.

    Source: Bishop 2006, Pattern Recognition and Machine Learning, eq. 4.108 and 4.109.
    """

    def check(self, labels: Array, rows: int, width: int) -> None:
        _check_form(labels, rows)
        for label in (int(labels.min()), int(labels.max())):
            if not 0 <= label < width:
                raise ValueError(f"labels hold {label}; expected 0..{width - 1} for {width} logits")

    def __call__(self, output: Array, labels: Array) -> tuple[Array, Array]:
        backend = backend_of(output, names=["output"])
        xp = backend.xp
        if output.ndim != 2 or 0 in output.shape:
            raise ValueError(f"output has shape {output.shape}; expected (n, C), both at least 1")
        if output.dtype.kind != "f":
            raise TypeError(
                f"output has dtype {output.dtype}; expected floating-point logits. Use "
                "output.astype('float32')"
            )
        rows, width = output.shape
        if isinstance(labels, np.ndarray):
            self.check(labels, rows, width)
            labels, one = backend.asarray(labels), 1.0
        else:
            backend_of(output, labels, names=["output", "labels"])
            _check_form(labels, rows)
            inside = (labels >= 0) & (labels < width)
            labels, one = xp.where(inside, labels, 0), xp.where(inside, 1.0, nan)

        chosen = xp.arange(rows), labels
        z = output.astype(np.promote_types(output.dtype, np.float32), copy=False)
        z = z - z.max(axis=1, keepdims=True)
        p = xp.exp(z)
        total = p.sum(axis=1, keepdims=True)
        loss = ((xp.log(total[:, 0]) - z[chosen]) * one).mean(dtype=np.float64)
        p /= total * rows
        p[chosen] -= one / rows
        return loss, p.astype(output.dtype, copy=False)


def _check_form(labels: Array, rows: int) -> None:
    """Refuse labels that are not one integer a row, by dtype and shape alone."""
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"labels have dtype {labels.dtype}; expected integers. Use labels.astype('int64')"
        )
    if labels.shape != (rows,):
        one_hot = ". For one-hot rows pass labels.argmax(axis=1)" if labels.ndim == 2 else ""
        raise ValueError(
            f"labels have shape {labels.shape}; expected ({rows},), a class number for each row"
            f"{one_hot}"
        )
