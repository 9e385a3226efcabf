"""The GPU's fused engines, "cupy" and "numba-cuda": how work is cut, and both kernel languages."""
