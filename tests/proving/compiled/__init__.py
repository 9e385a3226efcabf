"""Machine code of every kernel for every GPU generation, and its registers."""
