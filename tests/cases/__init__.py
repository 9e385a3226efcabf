"""Inputs that several tests draw, and the checks that hold a result to an oracle."""
