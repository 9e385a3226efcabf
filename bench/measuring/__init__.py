"""How a path is timed, and what else is counted of it."""
