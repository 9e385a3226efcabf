"""Pieces of SIMD loops on the CPU, compiled into those of every operation."""
