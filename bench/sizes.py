"""The sizes that benchmarks run at, in one place: numbers of elements."""

GAIN = {"1e3": 1_000, "1e5": 100_000, "1e7": 10_000_000}
"""Launch-bound, in cache, far beyond the last cache."""

SWEEP = {
    "1e2": 100,
    "1e3": 1_000,
    "1e4": 10_000,
    "1e5": 100_000,
    "1e6": 1_000_000,
    "1e7": 10_000_000,
    "5e7": 50_000_000,
}
"""For curves of time against size and for peers."""

BESIDE_PRODUCT = {"3e4": 30_000, "3e5": 300_000}
"""For steps that follow a matrix product."""
