"""A report: its file, what is derived from it, its tables."""
