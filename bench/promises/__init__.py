"""What this library promises of its speed, and whether a report keeps it."""
