"""What this machine, or a limit on this process, has: cores and memory."""
