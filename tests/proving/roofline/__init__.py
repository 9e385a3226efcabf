"""What the kernels of the engine "cupy" are predicted to take on some GPUs: README.md, a page made
from machine code and a table of devices."""
