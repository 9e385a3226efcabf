"""GPUs that are missing, broken, out of memory: made up."""
