"""The CPU's fused engine, "numba": its loops, and how threads share them."""
