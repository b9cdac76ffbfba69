"""What changes something, and nothing else in this package does: each only after `--yes`."""
