"""What the manual is made with: formulas, docstrings, the reference, READMEs, plots, the gallery."""
