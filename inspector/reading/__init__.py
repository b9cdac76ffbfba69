"""The reading side: one file per thing that is looked at. Each takes open stores and returns what was seen."""
