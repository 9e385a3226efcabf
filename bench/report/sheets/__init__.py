"""The tables of a report, a section a file; `all_sheets.py` lists them."""
