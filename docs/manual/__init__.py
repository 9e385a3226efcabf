"""What the manual is made with: formulas, docstrings, reference, READMEs, plots, gallery."""
