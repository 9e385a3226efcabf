"""The layers, and how their weights start."""
