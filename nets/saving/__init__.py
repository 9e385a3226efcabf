"""Networks and runs in files: written as a whole, read without trust."""
