"""One stream of all runs."""
