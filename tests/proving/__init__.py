"""How code for GPUs is proven: README.md tells the rungs."""
