"""Reading bias and variance off the errors of a model."""

from __future__ import annotations

from dataclasses import dataclass

from ...backend.checks.numbers import fraction

_ADVICE = {
    "high bias": (
        "it doesn't even fit the training set: try a larger network, train longer or with another "
        "optimizer, or regularize less"
    ),
    "high variance": (
        "it fits the training set better than new data: get more data or augment it, regularize "
        "(L2, dropout, early stopping), or try a smaller network"
    ),
    "both": (
        "first mend the bias (a larger network, longer training), then the variance (more data, "
        "regularization)"
    ),
    "neither": (
        "it does about as well as it can on both; look at the test set, and if that disagrees get "
        "a larger dev set"
    ),
}


@dataclass(frozen=True)
class BiasVariance:
    """What `bias_variance` found.

    Attributes:
        bias: training error - base error, the avoidable part.
        variance: dev error - training error.
        verdict: "high bias", "high variance", "both" or "neither".
        advice: what to try next, in words.
    """

    bias: float
    variance: float
    verdict: str
    advice: str

    def __str__(self) -> str:
        return f"bias {self.bias:.2%}, variance {self.variance:.2%}: {self.verdict}; {self.advice}"


def bias_variance(
    train_error: float, dev_error: float, base_error: float = 0.0, tolerance: float = 0.02
) -> BiasVariance:
    """Say whether a model has high bias, high variance, both or neither.

        bias = train_error - base_error        variance = dev_error - train_error

    Each is high where it is more than `tolerance`. A negative one is not high.

    Args:
        train_error, dev_error: shares of wrong answers, 1 - accuracy, in [0, 1].
        base_error: the least error anyone could have (the Bayes error), for which people's often
            stands in: without it, blurred pictures look like a fault of the model.
        tolerance: what still counts as low, in [0, 1].

    Raises:
        TypeError, ValueError: an argument is no number in [0, 1] (15 % is 0.15).

    Example:
        >>> print(bias_variance(0.01, 0.11).verdict)
        high variance
        >>> print(bias_variance(0.15, 0.16, base_error=0.14).verdict)
        neither
    """
    train, dev = fraction("train_error", train_error), fraction("dev_error", dev_error)
    base, limit = fraction("base_error", base_error), fraction("tolerance", tolerance)
    bias, variance = train - base, dev - train
    limit += 1e-12  # 0.16 - 0.15 is a rounding error more than 0.01
    verdict = {
        (True, True): "both",
        (True, False): "high bias",
        (False, True): "high variance",
        (False, False): "neither",
    }[bias > limit, variance > limit]
    return BiasVariance(bias, variance, verdict, _ADVICE[verdict])
