"""Softmax cross-entropy and its gradient in one walk over the logits: one file an engine.

At the sizes of training the NumPy expressions are twenty calls that cost more than their
arithmetic. "array" keeps them, as the reference; "numba" is one call of compiled code on one core,
which also checks labels and weights; "cupy" is one launch, whose last block adds up the losses of
all and counts the rows that are right; "numba-cuda" is two, the other for the losses.

Smoothed labels take the sum of a row's logits too, which is at hand in the same walk; code that
does not smooth is compiled without. "numba-cuda" leaves them to the expressions.

On the CPU, reading the loops' maxima as integers (numba_loops.py) and the exponential as a
polynomial (../simd/exp.py) is what lets them be SIMD on every processor. Taking one logarithm of
a product of many rows' sums, instead of one a row, brought nothing. Turning narrow rows into
columns, so that their maxima and sums are SIMD too, halves the time of 128 rows of 10 classes, but
changes nothing for 16 such rows and is slower from about 60 classes on; it would take a second set
of loops.
"""

from .cross_entropy import softmax_cross_entropy

__all__ = ["softmax_cross_entropy"]
