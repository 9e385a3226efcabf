"""Softmax cross-entropy and its gradient, as one function of the logits."""

from __future__ import annotations

from ...backend import Array, backend_of
from ...backend.failures import Explained
from ..batchnorm.quick import asks_for_cpu
from .arguments import check_gradient, check_logits, checked_labels
from .engines import choose, get


def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    *,
    out: Array | None = None,
    engine: str = "auto",
) -> tuple[Array, Array]:
    """Softmax, then cross-entropy, of each row; returns (loss, gradient), which may replace logits.

    With z = logits, k = labels:

        p = exp(z - max z) / sum of exp(z - max z), each row on its own
        J = mean over rows of -log p[k]
        dJ/dz = (p - onehot(k)) / n

    log p is (z - max z) - log(sum): nothing overflows, and no logarithm of a p that was rounded to
    zero is taken.

    Args:
        logits: z, (n, C), n and C at least 1, float16/32/64; left untouched unless they are `out`.
        labels: class numbers k, (n,), integers 0..C-1; left untouched. NumPy labels are brought to
            the logits' device.
        out: where the gradient goes, of the logits' shape and dtype; may be the logits themselves.
        engine: "auto", "array" or "numba"; on a GPU "auto" takes "array".

    Returns:
        J, 0-d float64, and dJ/dz, of the logits' shape and dtype: `out` if given.

    Raises:
        TypeError, ValueError, MixedBackendsError, EngineUnavailableError: an argument breaks these
            conditions; it is named, and nothing was written.

    Conventions: a row that holds NaN or inf makes the loss and its row of the gradient nan; -inf
        is a class of probability 0. Labels that lie on a GPU are not read back for the range
        check, which would stall every batch: one outside 0..C-1 makes the loss and its row of the
        gradient nan. float16 computes in float32. "numba" copies logits that are not contiguous.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, eq. 4.108 and 4.109.
    """
    if asks_for_cpu(engine):
        done = get("numba").quick(logits, labels, out)
        if done is not None:
            return done
    check_logits("logits", logits)
    labels = checked_labels(labels, logits)
    if out is not None:
        check_gradient(out, logits, labels)
    chosen, backend = choose(engine, logits), backend_of(logits)
    with backend.scope(), Explained("softmax_cross_entropy", logits, "array"):
        gradient = backend.xp.empty(logits.shape, logits.dtype) if out is None else out
        return chosen.run(logits, labels, gradient), gradient
