"""The edge: HTTP in, response out. Knows no rule of the books."""
