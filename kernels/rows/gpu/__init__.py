"""The GPU's fused engines, "cupy" and "numba-cuda": operations over rows in both languages."""
