"""Measuring: the gain of every fused path, how far it runs from the memory's limit, the peers."""
