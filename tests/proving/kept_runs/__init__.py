"""Runs of kernels on the host, the simulator and under sanitizers, kept until something changes."""
