"""Matrix products on a GPU by NVIDIA's cuBLASLt, with the bias and its gradient in the same launch.

CuPy's own products go through cuBLAS, which it refuses to call while a stream is captured, and have
no place for a bias. So cuBLASLt is called here, past CuPy, with a handle for each device and memory
to work in for each stream. What it has no product for goes through CuPy and kernels of its own,
with the same results; `why_apart` tells why.

There is one library for products on a GPU, hence no choice of engines: this room has no contract.
On the CPU a product is NumPy's, or in programs ../program/'s.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ...backend import Array

__all__ = ["matmul", "why_apart"]


def matmul(
    a: Array,
    b: Array,
    out: Array | None = None,
    *,
    bias: Array | None = None,
    bias_grad: Array | None = None,
    activation: str = "linear",
    **options: Any,
) -> Array:
    """out = f(a b + bias), for networks on a GPU: in one launch where cuBLASLt can; returns out.

    Arrays are CuPy's, or NumPy's by the slow way, all of one dtype; lists and other libraries'
    tensors are not taken in.

        y = f(x W + b):    y = matmul(x, W, bias=b, activation="relu")
        dW = x.T dz, db = sum of dz over rows:
                           matmul(x.T, dz, out=dW, bias_grad=db)

    Args:
        a, b: (m, k) and (k, n), both float16, float32 or float64; views such as x.T are taken as
            they are, without a copy.
        out: where the result goes, (m, n), C-contiguous to be quick; None: new memory.
        bias: (n,), added to every row.
        bias_grad: (n,), where the sums of b's columns go: sum over its k rows.
        activation: f, as `activation_forward` calls it. Only "linear" and "relu" come with the
            product; others are a launch of their own, with the bias.
        options: of f: slope, alpha, beta and threshold, as `activation_forward` takes them.

    Raises:
        TypeError, ValueError, MixedBackendsError: an argument breaks these conditions; it is
            named, and nothing was written.
        KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out.

    Conventions: float16 adds up in float32, float32 is not cut to TF32. A product is run once in
        the ordinary way before a stream that runs it is captured.
    """
    run = _matmul()
    return run(a, b, out, bias=bias, bias_grad=bias_grad, activation=activation, **options)


@cache
def _matmul() -> Callable[..., Array]:
    """Looked up once; not at import, when nothing of the library is needed yet."""
    from .cupy_matmul import matmul

    return matmul


def why_apart(
    a: Array,
    b: Array,
    out: Array | None = None,
    *,
    bias: Array | None = None,
    bias_grad: Array | None = None,
    activation: str = "linear",
) -> str:
    """Why `matmul` of such arrays is not one launch of cuBLASLt's; "" if it is."""
    from .cupy_matmul import why_apart

    return why_apart(a, b, out, bias=bias, bias_grad=bias_grad, activation=activation)
