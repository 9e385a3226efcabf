"""Random search of hyperparameters, from coarse to fine."""
