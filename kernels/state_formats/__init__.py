"""Optimizer states in 16 and 8 bits: formats written once, and a rule's step on arrays of them."""
