"""The training loop, and all that takes part in a run."""
