"""Matrix products on a GPU by NVIDIA's cuBLASLt, with the bias and its gradient in the same launch.

CuPy's own products go through cuBLAS, which it refuses to call while a stream is captured, and have
no place for a bias. So cuBLASLt is called here, past CuPy, with a handle for each device and memory
to work in for each stream. What it has no product for goes through CuPy and kernels of its own,
with the same results; `why_apart` tells why.

There is one library for products on a GPU, hence no choice of engines: this room has no contract.
On the CPU a product is NumPy's, or in programs ../program/'s.
"""

from .cupy_matmul import matmul, why_apart

__all__ = ["matmul", "why_apart"]
