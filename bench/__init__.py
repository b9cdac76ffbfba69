"""What makes the claims of the README: the service measured beside a direct baseline, in one run."""
