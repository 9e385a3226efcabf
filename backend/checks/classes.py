"""Checks of logits and of labels that are class numbers: each raises naming the argument."""

from __future__ import annotations

from ..detect import backend_of
from ..types import Array


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
