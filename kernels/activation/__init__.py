"""Activations with the bias before them, forward and backward, in one pass: one file an engine.

The formulas stand once, in formula.py; "array" alone spells them out again, as the reference. What
shaped the engine on the CPU ("numba"):

- Rows of a batch are short, so what each one costs beside its elements counts: slices of memory
  that is counted by references cost as much as a row of 256, and rows below 256 are joined.
- The gradient of the bias is summed from four rows of dz at a time, which are still in the nearest
  cache, so that the sums go through it once for four.
- The exponential, tanh, log1p and the normal distribution's function are polynomials (../simd/),
  which SIMD takes.
"""

from .backward import activation_backward
from .formula import KINDS as ACTIVATIONS
from .forward import activation_forward

__all__ = ["ACTIVATIONS", "activation_backward", "activation_forward"]
