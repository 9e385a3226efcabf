"""What is measured: arrays, calls, sizes, data sets."""
