"""What is told of training and to it: a bar, Ctrl-C, and what went wrong."""
