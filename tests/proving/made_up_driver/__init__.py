"""Real CuPy on a made-up CUDA driver: host memory, and kernels that g++ compiles."""
