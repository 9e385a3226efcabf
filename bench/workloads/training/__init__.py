"""Sections that time training: epochs, their parts, estimators, ranks; and the network trained."""
