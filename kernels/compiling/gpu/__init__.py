"""For GPUs: loading Numba CUDA, launches, and the CUDA C and Numba CUDA that operations share."""
