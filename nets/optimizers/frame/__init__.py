"""What all optimizers have in common: steps, hyperparameters, options and groups."""
