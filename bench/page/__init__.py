"""A report as one HTML page, and its plots."""
