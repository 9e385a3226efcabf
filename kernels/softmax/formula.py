"""The arithmetic of softmax cross-entropy on a GPU, written once for both engines.

Numba compiles these functions, the CuPy engine translates them to C (c_text.py).
"""

from __future__ import annotations


def added(total, lost, value):
    """A sum to which a value is added, and what rounding took off it: Kahan (1965)."""
    step = value - lost
    after = total + step
    lost = (after - total) - step
    total = after
    return total, lost


def shares(weight, total, n):
    """What exp(z - max z) and the one-hot labels are multiplied by in the gradient."""
    share = weight / n
    factor = weight / (total * n)
    return share, factor


def smoothed_shares(share, smoothing, kept, width):
    """Of labels of which `kept` + `smoothing` = 1: what a row's class is left, and what each of all
    classes takes."""
    even = share * smoothing / width
    share = share * kept
    return share, even


def smoothed_below(below, mean, smoothing, kept):
    """z - max z as such labels weigh it: of a row's class, and the mean of all."""
    below = kept * below + smoothing * mean
    return (below,)


def row_loss(weight, log_total, below):
    """-w log p of a row's class, for below = z - max z of it."""
    loss = weight * (log_total - below)
    return (loss,)
