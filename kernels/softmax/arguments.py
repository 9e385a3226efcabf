"""The arguments of softmax cross-entropy, checked before anything is written."""

from __future__ import annotations

import numpy as np

from ...backend import Array, backend_of
from ..array_arguments import check_out, check_overlap, same_memory


def check_logits(name: str, logits: Array) -> None:
    """`logits`, called `name`, are (n, C) floating-point numbers, n and C at least 1."""
    backend_of(logits, names=[name])
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f"{name} has shape {logits.shape}; expected (n, C), both at least 1")
    if logits.dtype.char not in "efd":
        raise TypeError(
            f"{name} has dtype {logits.dtype}; expected floating-point logits: float16, float32 "
            f"or float64. Use {name}.astype('float32')"
        )


def check_labels(labels: Array, rows: int) -> None:
    """Refuse labels that are not one integer a row, by dtype and shape alone."""
    if labels.shape != (rows,):
        remedy = ""
        if labels.ndim == 2:
            one_hot = labels.shape[1] != 1
            remedy = ". " + (
                "For one-hot rows pass labels.argmax(axis=1)" if one_hot else "Use labels.ravel()"
            )
        raise ValueError(
            f"labels have shape {labels.shape}; expected ({rows},), a class number for each row"
            f"{remedy}"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"labels have dtype {labels.dtype}; expected integers. {numbering(labels.dtype.kind)}"
        )


def numbering(kind: str) -> str:
    """How labels of this kind of dtype become class numbers."""
    if kind in "biuf":
        return "Use labels.astype('int64')" + (", if they are whole numbers" * (kind == "f"))
    return "Number the classes: numpy.unique(labels, return_inverse=True) gives names and numbers"


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
