"""A training step captured: written down once for a batch size, then run without Python."""
