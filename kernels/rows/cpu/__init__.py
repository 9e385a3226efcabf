"""The CPU's fused engine, "numba": loops of operations over rows, and how threads share them."""
