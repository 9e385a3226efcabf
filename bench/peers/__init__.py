"""Other libraries on the same arrays."""
