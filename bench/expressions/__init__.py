"""The same work in array expressions, and in a loop of Python's."""
