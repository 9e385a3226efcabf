"""The engines of rules, a file each, and the loops they compile around a rule."""
