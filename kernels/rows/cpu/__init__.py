"""The CPU's fused engine, "numba": the loops of operations over rows, and how threads share them."""
