"""The CPU's fused engine, "numba": how work is cut, told to threads, and done."""
