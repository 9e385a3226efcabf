"""CUDA C on the host: g++ compiles it, the CPU runs it, sanitizers watch."""
