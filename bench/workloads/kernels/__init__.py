"""Sections that time calls of kernels: steps, norms, activations, dropout, state formats."""
