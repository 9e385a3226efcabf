"""Losses of numbers by their formulas, element by element with Python's floats.

Each returns (J, dJ/d(output)) for outputs and targets of shape (n, k) and weights of shape (n,).
The gradient is the formula of the derivative, written down apart; nothing of the library is
imported.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np


def binary_cross_entropy(z, y, weights=None):
    """-(y log a + (1 - y) log(1 - a)), a = 1 / (1 + exp(-z)), where exp does not overflow; those of
    a row added up."""
    n, k = z.shape
    losses, gradient = [], np.empty(z.shape)
    for i in range(n):
        w = 1.0 if weights is None else float(weights[i])
        for j in range(k):
            logit, label = float(z[i, j]), float(y[i, j])
            a = 1 / (1 + math.exp(-logit))
            rest = 1 / (1 + math.exp(logit))  # 1 - a, without cancellation
            first = label * math.log(a) if label else 0.0
            second = (1 - label) * math.log(rest) if label != 1 else 0.0
            losses.append(-w * (first + second))
            gradient[i, j] = w * ((1 - label) * a - label * rest) / n
    return math.fsum(losses) / n, gradient


def mean_squared_error(output, y, weights=None):
    """The mean over all elements of (output - y)^2, rows weighted."""
    n, k = output.shape
    losses, gradient = [], np.empty(output.shape)
    for i in range(n):
        w = 1.0 if weights is None else float(weights[i])
        for j in range(k):
            difference = float(output[i, j]) - float(y[i, j])
            losses.append(w * difference * difference)
            gradient[i, j] = 2 * w * difference / (n * k)
    return math.fsum(losses) / (n * k), gradient


def huber(delta):
    """The loss of that delta: the mean of d^2 / 2 up to it and delta (|d| - delta / 2) beyond."""

    def loss(output, y, weights=None):
        n, k = output.shape
        losses, gradient = [], np.empty(output.shape)
        for i in range(n):
            w = 1.0 if weights is None else float(weights[i])
            for j in range(k):
                d = float(output[i, j]) - float(y[i, j])
                if abs(d) <= delta:
                    losses.append(w * d * d / 2)
                    gradient[i, j] = w * d / (n * k)
                else:
                    losses.append(w * delta * (abs(d) - delta / 2))
                    gradient[i, j] = w * math.copysign(delta, d) / (n * k)
        return math.fsum(losses) / (n * k), gradient

    return loss


def poisson(z, y, weights=None):
    """The mean of y log(y / p) - y + p, p = exp(z), in numbers of 50 digits."""
    n, k = z.shape
    losses, gradient = [], np.empty(z.shape)
    with localcontext(prec=50):
        for i in range(n):
            w = Decimal(1.0 if weights is None else float(weights[i]))
            for j in range(k):
                rate, count = Decimal(float(z[i, j])).exp(), Decimal(float(y[i, j]))
                own = count * (count / rate).ln() if count else Decimal(0)
                losses.append(w * (own - count + rate))
                gradient[i, j] = float(w * (rate - count) / (n * k))
        return float(sum(losses) / (n * k)), gradient


def softmax_cross_entropy(z, labels, weights=None):
    """-log p[k] of each row, p = exp(z) / sum of exp(z), where exp does not overflow."""
    n = len(z)
    losses, gradient = [], np.empty(z.shape)
    for i, (row, label) in enumerate(zip(z.tolist(), labels.tolist(), strict=True)):
        w = 1.0 if weights is None else float(weights[i])
        total = math.fsum(map(math.exp, row))
        losses.append(-w * math.log(math.exp(row[label]) / total))
        for j, logit in enumerate(row):
            gradient[i, j] = w * (math.exp(logit) / total - (j == label)) / n
    return math.fsum(losses) / n, gradient
