"""The CUDA kernels of activations in Python, for Numba.

They are compiled once for every formula and dtype: the names in capitals and `cuda` are replaced
then (numba_cuda.py).
"""

from __future__ import annotations

from typing import Any

COMPUTED: Any = float  # what is computed in
FORMULA: Any = None  # one of formula.py, by ../python_calls.py
cuda: Any = None


def forward(x: Any, first: Any, second: Any, y: Any) -> None:
    """y = f(x)."""
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        (value,) = FORMULA(COMPUTED(x[i]), first, second)
        y[i] = value


def forward_biased(x: Any, bias: Any, first: Any, second: Any, y: Any) -> None:
    """y = f(x + bias), in rows of the bias' length."""
    width = bias.size
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        (value,) = FORMULA(COMPUTED(x[i]) + COMPUTED(bias[i % width]), first, second)
        y[i] = value


def gradient(dy: Any, y: Any, first: Any, second: Any, dz: Any) -> None:
    """dz = dy f'(z)."""
    for i in range(cuda.grid(1), dz.size, cuda.gridsize(1)):
        (value,) = FORMULA(COMPUTED(dy[i]), COMPUTED(y[i]), COMPUTED(0), first, second)
        dz[i] = value


def gradient_biased(dy: Any, y: Any, bias: Any, first: Any, second: Any, dz: Any) -> None:
    """The same, told from y and the bias, in rows of its length."""
    width = bias.size
    for i in range(cuda.grid(1), dz.size, cuda.gridsize(1)):
        added = COMPUTED(bias[i % width])
        (value,) = FORMULA(COMPUTED(dy[i]), COMPUTED(y[i]), added, first, second)
        dz[i] = value
