"""Steps on the CPU: the loops that Numba compiles, and what formats are made of there."""
