"""AMSGrad."""

from __future__ import annotations

from .adam import Adam


class AMSGrad(Adam):
    """Adam whose steps are divided by the largest second moment so far.

    v_max = max(v_max, vhat); p -= lr mhat / (sqrt(v_max) + eps). PyTorch takes the maximum before
    the bias correction, and so differs in its first steps.

    Source: Reddi, Kale and Kumar 2018, algorithm 2.
    """

    __slots__ = ()
    rule = "amsgrad"
    states = ("m", "v", "v_max")
