"""What is measured on a GPU alone: its own time, by events, and the host's, without a wait."""
