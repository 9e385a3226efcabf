"""The crew of threads that share a large loop."""
