"""The arguments of softmax cross-entropy, checked before anything is written."""

from __future__ import annotations

import numpy as np

from ...backend import Array, backend_of
from ...backend.checks.arrays import check_writeable
from ...backend.checks.classes import check_labels
from ..array_arguments import check_out, check_overlap, same_memory


def check_range(labels: Array, rows: int, width: int) -> None:
    """Refuse labels outside 0..width-1 too. Reads them, and so waits for a GPU they lie on."""
    check_labels(labels, rows)
    for label in (int(labels.min()), int(labels.max())):
        if not 0 <= label < width:
            raise ValueError(f"labels hold {label}; expected 0..{width - 1} for {width} logits")


def check_labels_beside(logits: Array, labels: Array) -> None:
    """Labels are NumPy's, or on the logits' device; right as far as telling waits for no GPU."""
    rows, width = logits.shape
    if isinstance(labels, np.ndarray):
        backend_of(labels, names=["labels"])
        check_range(labels, rows, width)
    else:
        backend_of(logits, labels, names=["logits", "labels"])
        check_labels(labels, rows)


def check_weights_beside(logits: Array, weights: Array) -> None:
    """The same of weights."""
    rows, on_host = len(logits), isinstance(weights, np.ndarray)
    if on_host:
        backend_of(weights, names=["weights"])
    else:
        backend_of(logits, weights, names=["logits", "weights"])
    if weights.dtype.char not in "efd":
        raise TypeError(
            f"weights have dtype {weights.dtype}; expected floating-point numbers: float16, "
            "float32 or float64. Use weights.astype('float32')"
        )
    if weights.shape != (rows,):
        raise ValueError(
            f"weights have shape {weights.shape}; expected ({rows},), a factor for each row. For "
            "one factor for each class pass factors[labels]"
        )
    if on_host and not (right := np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"weights hold {weights[~right][0]}; expected finite numbers >= 0")


def check_gradient(out: Array, logits: Array, labels: Array, weights: Array | None) -> None:
    """`out` can take the gradient."""
    check_out("logits", out, logits)
    other = None if same_memory(out, logits) else logits
    check_overlap([("out", out)], [("logits", other), ("labels", labels), ("weights", weights)])


def check_correct(
    correct: Array, logits: Array, labels: Array, weights: Array | None, out: Array | None
) -> None:
    """`correct` can take the number of rows that are right."""
    backend_of(logits, correct, names=["logits", "correct"])
    if correct.dtype.str != np.dtype("int64").str or correct.shape != ():
        raise ValueError(
            f"correct has shape {correct.shape} and dtype {correct.dtype}; expected (), int64, "
            "such as numpy.zeros((), 'int64') on the logits' device"
        )
    check_writeable("correct", correct)
    read = [("logits", logits), ("labels", labels), ("weights", weights), ("out", out)]
    check_overlap([("correct", correct)], read)
