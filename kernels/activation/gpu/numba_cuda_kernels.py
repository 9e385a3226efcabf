"""The CUDA kernels of activations in Python, for Numba.

They are compiled once for every formula and dtype: the names in capitals and `cuda` are replaced
then (numba_cuda.py).
"""

from __future__ import annotations

from typing import Any

COMPUTED: Any = float  # what is computed in
FORMULA: Any = None  # one of formula.py
cuda: Any = None


def forward(x: Any, slope: Any, y: Any) -> None:
    """y = f(x)."""
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        (value,) = FORMULA(COMPUTED(x[i]), slope, COMPUTED(0), COMPUTED(1))
        y[i] = value


def forward_biased(x: Any, bias: Any, slope: Any, y: Any) -> None:
    """y = f(x + bias), in rows of the bias' length."""
    width = bias.size
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        z = COMPUTED(x[i]) + COMPUTED(bias[i % width])
        (value,) = FORMULA(z, slope, COMPUTED(0), COMPUTED(1))
        y[i] = value


def gradient(dy: Any, y: Any, slope: Any, dz: Any) -> None:
    """dz = dy f'(z)."""
    for i in range(cuda.grid(1), dz.size, cuda.gridsize(1)):
        (value,) = FORMULA(COMPUTED(dy[i]), COMPUTED(y[i]), slope, COMPUTED(0), COMPUTED(1))
        dz[i] = value
