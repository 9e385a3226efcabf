"""The optimizers, one a file, and the schedules of their learning rate.

What all of them share is told at `Optimizer`. In their formulas, g is the gradient after scaling,
clipping and L2 weight decay, and t counts steps from 1.
"""
