"""The sections of the suite, a file each: what they measure, and the paths that do it."""
