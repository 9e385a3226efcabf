"""What tells how a training goes: the gradient check, bias and variance, averages."""
