"""What asking a model over HTTP costs, against the same package called in a process."""
