"""The commands: one file per group. Each says what to look at and how to draw it."""
