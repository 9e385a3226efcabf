"""`onepass train` and `onepass predict`: their options, their recipes, and tables from files."""
