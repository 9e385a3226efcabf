"""What is told of a training run while it goes on, and may end or change it: one callback a file.

`nets/saving/checkpoint.py` has one more, which saves it.
"""
