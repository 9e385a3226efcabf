"""Losses in a program: loss, metric and gradient of a batch."""
