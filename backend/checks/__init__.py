"""What arguments are held to: arrays, numbers, classes; and whether arrays share memory."""
