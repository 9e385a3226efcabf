"""Steps on a GPU: CUDA C text for CuPy, and kernels that Numba compiles."""
