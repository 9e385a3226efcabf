"""Operations over rows: sums over a row, numbers of the row made of them, elements made of these.

`Rows` (skeleton.py) says what is computed, in functions of scalars, as a rule does for elements.
"array" calls them on whole arrays; "numba" makes loops of them (cpu/), "cupy" and "numba-cuda"
kernels (gpu/), compiled once for each operation and dtype, and on a GPU for each way in which rows
are shared out. To write an operation, make its `Rows` and call `run` of an engine from
engines.py; norms/ are the example.
"""
