"""The learning rate of each epoch or mini-batch: one idea a file.

`schedule.py` has what all of them share, and how one follows another; `by_name.py` the table that
checkpoints are read by.
"""
