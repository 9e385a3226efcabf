"""A network of layers: its parameters, what it says of data, and several of them together."""
