"""Runs of kernels on the host and under sanitizers, which are kept until something changes."""
