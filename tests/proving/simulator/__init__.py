"""Numba CUDA in its simulator, a script an operation."""
