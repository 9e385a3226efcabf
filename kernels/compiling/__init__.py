"""Compiling: with Numba for the CPU and a GPU, to text for CUDA C, and what is kept on disk."""
