"""What is right, in float64 from the papers, by code that shares nothing with the library."""
