"""The GPU's fused engines, "cupy" and "numba-cuda", in both kernel languages."""
