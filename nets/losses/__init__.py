"""The losses: what training makes small."""
