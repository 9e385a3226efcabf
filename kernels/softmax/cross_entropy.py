"""Softmax cross-entropy and its gradient, as one function of the logits."""

from __future__ import annotations

from ...backend import Array, backend_of
from ...backend.checks.classes import check_logits
from ...backend.checks.numbers import share
from ...backend.failures import Explained
from ...backend.foreign import taken_in
from .arguments import (
    check_correct,
    check_gradient,
    check_labels_beside,
    check_weights_beside,
)
from .engines import at_once, choose


def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    *,
    weights: Array | None = None,
    label_smoothing: float = 0.0,
    out: Array | None = None,
    correct: Array | None = None,
    engine: str = "auto",
) -> tuple[Array, Array]:
    """Softmax, then cross-entropy, of each row; returns (loss, gradient), which may replace logits.

    With z = logits, k = labels, w = weights, s = label_smoothing:

        p = exp(z - max z) / sum of exp(z - max z), each row on its own
        t = (1 - s) onehot(k) + s / C
        J = sum over rows of -w (t . log p) / n
        dJ/dz = w (p - t) / n

    log p is (z - max z) - log(sum): nothing overflows, and no logarithm of a p that was rounded to
    zero is taken.

    Args:
        logits: z, (n, C), n and C at least 1, float16/32/64; left untouched unless they are `out`.
        labels: class numbers k, (n,), integers 0..C-1; left untouched. NumPy labels are brought to
            the logits' device.
        weights: w, (n,), a factor on each row's loss, finite and >= 0, float16/32/64; left
            untouched. NumPy weights are brought to the logits' device. None: 1 for every row.
        label_smoothing: s, in [0, 1): that share of each label goes to all C classes alike. 0: t is
            onehot(k), and no work is added.
        out: where the gradient goes, of the logits' shape and dtype; may be the logits themselves.
        correct: where the number of rows goes whose largest logit, the first of equals, is that of
            their class: (), int64. A row whose loss is nan is none of them.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Returns:
        J, 0-d float64, and dJ/dz, of the logits' shape and dtype: `out` if given. NumPy or CuPy
        arrays, where `as_array` took in another library's too.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out; nothing was
            written.

    Conventions: a row that holds NaN or inf makes the loss and its row of the gradient nan; -inf
        is a class of probability 0, which with smoothed labels makes the loss inf. Labels that lie
        on a GPU are not read back for the range check, which would stall every batch: one outside
        0..C-1 makes the loss and its row of the gradient nan; nor are weights there, which count as
        they are. The sum is divided by n, not by the sum of the weights, as PyTorch does with the
        weights of classes; and a row's weight is a factor on all of its smoothed loss, where
        PyTorch weighs the part of each class by that class's own. float16 computes in float32.
        Engines other than "array" copy logits that are not contiguous; theirs is the same result at
        every run, to the last bit. "numba-cuda" smooths labels by array expressions.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, eq. 4.108 and 4.109; Szegedy et
        al. (2016), Rethinking the Inception Architecture for Computer Vision, section 7.
    """
    if type(label_smoothing) is not float or label_smoothing != 0.0:
        label_smoothing = share("label_smoothing", label_smoothing)
    quick = at_once(engine, logits)
    if quick is not None:
        done = quick.quick(logits, labels, weights, out, correct, label_smoothing)
        if done is not None:
            return done
    names = "logits", "labels", "weights", "out", "correct"
    logits, labels, weights, out, correct = taken_in(names, (logits, labels, weights, out, correct))
    check_logits("logits", logits)
    check_labels_beside(logits, labels)
    if weights is not None:
        check_weights_beside(logits, weights)
    if out is not None:
        check_gradient(out, logits, labels, weights)
    if correct is not None:
        check_correct(correct, logits, labels, weights, out)
    chosen, backend = choose(engine, logits), backend_of(logits)
    with backend.scope(), Explained("softmax_cross_entropy", logits, chosen.name):
        labels = backend.asarray(labels)
        weights = None if weights is None else backend.asarray(weights)
        gradient = backend.empty(logits.shape, logits.dtype) if out is None else out
        given = (logits, labels, weights, gradient, correct, label_smoothing)
        return chosen.run(*given), gradient
